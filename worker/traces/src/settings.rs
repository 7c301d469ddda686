//! What the environment asks for, by the variables that OpenTelemetry gives a meaning to. A variable that is set and
//! empty counts as not set; the one for traces alone comes before the general one.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use opentelemetry_sdk::trace::Sampler;

/// `OTEL_EXPORTER_OTLP_TIMEOUT`, if it is not set.
const USUAL_LIMIT: Duration = Duration::from_secs(10);
/// Longest limit, in milliseconds.
const LONGEST_LIMIT: u64 = 60_000;
/// What is added to the general endpoint.
const PATH: &str = "v1/traces";

/// A variable that cannot work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}{}: {mend}", value.as_ref().map(|value| format!(" is {value:?}")).unwrap_or_default())]
pub struct SettingsError {
    variable: String,
    /// None where it may hold a password.
    value: Option<String>,
    mend: &'static str,
}

/// A collector, and how it is spoken to.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where spans are posted.
    pub endpoint: Uri,
    /// Longest time of one request.
    pub limit: Duration,
    /// The authority that its certificate is checked by; none is the system's.
    pub ca: Option<PathBuf>,
    /// Which traces are kept.
    pub sampler: Sampler,
}

impl Settings {
    /// None: traces are off.
    pub(crate) fn of_environment() -> Result<Option<Self>, SettingsError> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, SettingsError> {
        let variables = Variables { variable };
        if variables.is_switched_off()? {
            return Ok(None);
        }
        let Some(endpoint) = variables.endpoint()? else { return Ok(None) };
        variables.only(
            "PROTOCOL",
            "http/protobuf",
            "only http/protobuf is spoken, on port 4318 of most collectors",
        )?;
        variables.only("COMPRESSION", "none", "nothing is compressed; remove it")?;
        let (limit, sampler) = (variables.limit()?, variables.sampler()?);
        let ca = variables.either("CERTIFICATE").map(|(_, path)| PathBuf::from(path));
        Ok(Some(Self { endpoint, limit, ca, sampler }))
    }
}

struct Variables<V> {
    variable: V,
}

impl<V: Fn(&str) -> Option<String>> Variables<V> {
    fn get(&self, name: &str) -> Option<String> {
        let value = (self.variable)(name)?.trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    /// The variable for traces alone, or the general one, with its name.
    fn either(&self, what: &str) -> Option<(String, String)> {
        let names =
            [format!("OTEL_EXPORTER_OTLP_TRACES_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    fn is_switched_off(&self) -> Result<bool, SettingsError> {
        const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
        if self.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(true);
        }
        match self.get(EXPORTER).as_deref() {
            None | Some("otlp") => Ok(false),
            Some("none") => Ok(true),
            Some(other) => Err(wrong(EXPORTER, other, "write otlp or none")),
        }
    }

    fn endpoint(&self) -> Result<Option<Uri>, SettingsError> {
        let Some((name, text)) = self.either("ENDPOINT") else { return Ok(None) };
        let endpoint = endpoint(&text).map_err(|mend| {
            let value = (!text.contains('@')).then(|| text.clone());
            SettingsError { variable: name.clone(), value, mend }
        })?;
        if name.contains("TRACES") {
            return Ok(Some(endpoint));
        }
        let whole = format!("{}/{PATH}", text.trim_end_matches('/'));
        whole.parse().map(Some).map_err(|_| wrong(&name, &text, NO_URL))
    }

    /// A setting that can have one value only.
    fn only(&self, what: &str, value: &str, mend: &'static str) -> Result<(), SettingsError> {
        match self.either(what) {
            Some((name, other)) if other != value => Err(wrong(&name, &other, mend)),
            _ => Ok(()),
        }
    }

    fn limit(&self) -> Result<Duration, SettingsError> {
        let Some((name, text)) = self.either("TIMEOUT") else { return Ok(USUAL_LIMIT) };
        match text.parse() {
            Ok(limit @ 1..=LONGEST_LIMIT) => Ok(Duration::from_millis(limit)),
            _ => Err(wrong(&name, &text, "write milliseconds, from 1 to 60000")),
        }
    }

    fn sampler(&self) -> Result<Sampler, SettingsError> {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        const RATIO: &str = "OTEL_TRACES_SAMPLER_ARG";
        let name = self.get(NAME).unwrap_or_else(|| "parentbased_always_on".to_owned());
        let (kind, of_parent) = match name.strip_prefix("parentbased_") {
            Some(kind) => (kind, true),
            None => (&*name, false),
        };
        let sampler = match kind {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => {
                let text = self.get(RATIO).unwrap_or_else(|| "1".to_owned());
                Sampler::TraceIdRatioBased(ratio(&text).map_err(|mend| wrong(RATIO, &text, mend))?)
            }
            _ => {
                let mend = "write always_on, always_off or traceidratio, or one of these behind parentbased_";
                return Err(wrong(NAME, &name, mend));
            }
        };
        Ok(if of_parent { Sampler::ParentBased(Box::new(sampler)) } else { sampler })
    }
}

fn wrong(variable: &str, value: &str, mend: &'static str) -> SettingsError {
    SettingsError { variable: variable.to_owned(), value: Some(value.to_owned()), mend }
}

const NO_URL: &str =
    "write the URL of a collector, as http://collector.example:4318 or https://...";

fn endpoint(text: &str) -> Result<Uri, &'static str> {
    if text.contains('@') {
        return Err(
            "a URL with a user or a password is shown in too many places; use OTEL_EXPORTER_OTLP_HEADERS",
        );
    }
    let uri: Uri = text.parse().map_err(|_| NO_URL)?;
    let speaks_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if !speaks_http
        || uri.host().is_none_or(str::is_empty)
        || uri.query().is_some()
        || text.contains('#')
    {
        return Err(NO_URL);
    }
    Ok(uri)
}

fn ratio(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("write a part of all traces, from 0 to 1"),
    }
}

/// Whether a text can be the endpoint of a collector; else what it should be.
pub fn check_endpoint(text: &str) -> Result<(), &'static str> {
    endpoint(text).map(drop)
}

/// Whether a text is a part of all traces; else what it should be.
pub fn check_ratio(text: &str) -> Result<(), &'static str> {
    ratio(text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
        Settings::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn nothing_is_exported_unless_a_collector_is_named() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap().is_none());
        let beside = [("OTEL_TRACES_SAMPLER", "nonsense"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")];
        assert!(read(&beside).unwrap().is_none(), "what is off is not looked at");
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert!(read(&[ENDPOINT, off]).unwrap().is_none(), "{off:?}");
        }
        let settings = read(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!(settings.limit, Duration::from_secs(10));
        assert_eq!(settings.ca, None);
    }

    #[test]
    fn the_path_is_added_to_the_general_endpoint_only() {
        let of =
            |variables: &[(&str, &str)]| read(variables).unwrap().unwrap().endpoint.to_string();
        let general = "OTEL_EXPORTER_OTLP_ENDPOINT";
        for (base, whole) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("https://[fd00::1]:4318/", "https://[fd00::1]:4318/v1/traces"),
            ("https://otlp.example/in/", "https://otlp.example/in/v1/traces"),
        ] {
            assert_eq!(of(&[(general, base)]), whole);
        }
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/as/it/is");
        assert_eq!(of(&[ENDPOINT, own]), own.1);
    }

    #[test]
    fn the_variable_for_traces_alone_comes_first() {
        let own = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500");
        let general = ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000");
        let ca = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.crt");
        let settings = read(&[ENDPOINT, general, own, ca]).unwrap().unwrap();
        assert_eq!(settings.limit, Duration::from_millis(500));
        assert_eq!(settings.ca, Some(PathBuf::from("/etc/ca.crt")));
    }

    #[test]
    fn a_variable_that_cannot_work_is_named_with_its_value_and_the_mend() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http:///v1/traces"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318?key=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a b"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
        ] {
            // The one that is tried comes first, so that it is the one that is found.
            let error = read(&[(name, value), ENDPOINT]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} is {value:?}: ")), "{error}");
        }
        let ratio = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "1.5")];
        let error = read(&[ENDPOINT, ratio[0], ratio[1]]).unwrap_err().to_string();
        assert!(error.starts_with("OTEL_TRACES_SAMPLER_ARG is \"1.5\": "), "{error}");
    }

    #[test]
    fn a_password_in_the_endpoint_is_refused_and_not_shown() {
        let url = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://tenant:hunter2@collector");
        let error = read(&[url]).unwrap_err().to_string();
        assert!(
            !error.contains("hunter2") && error.contains("OTEL_EXPORTER_OTLP_HEADERS"),
            "{error}"
        );
    }

    #[test]
    fn samplers_are_known_by_their_usual_names() {
        let of = |name: &str, ratio: &str| {
            let variables = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", ratio)];
            format!("{:?}", read(&[ENDPOINT, variables[0], variables[1]]).unwrap().unwrap().sampler)
        };
        assert_eq!(of("", ""), "ParentBased(AlwaysOn)");
        assert_eq!(of("always_off", ""), "AlwaysOff");
        assert_eq!(of("traceidratio", "0.25"), "TraceIdRatioBased(0.25)");
        assert_eq!(of("parentbased_traceidratio", ""), "ParentBased(TraceIdRatioBased(1.0))");
    }
}
