//! Metrics as text: the two forms in which both programs serve them, and the tables that tell of them.
//!
//! Both programs write OpenMetrics. A scraper that does not ask for that form gets the older one, in which
//! a counter is named as its sample is: who reads OpenMetrics by its rules misses the help of every counter.

/// Content type of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of the older form.
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The exposition in the form that an `Accept` header asks for, behind its content type.
pub fn negotiate(open_metrics: String, accept: &str) -> (&'static str, String) {
    if accept.contains("application/openmetrics-text") {
        (OPEN_METRICS, open_metrics)
    } else {
        (CLASSIC, classic(&open_metrics))
    }
}

/// The older form of an OpenMetrics exposition.
pub fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        match Line::read(line) {
            Line::Help(words) => help = words,
            Line::Type(name, kind) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    _ => ("", kind),
                };
                text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
                text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            Line::Sample(sample) => text.extend([sample, "\n"]),
            Line::Other => {}
        }
    }
    text
}

/// One metric of an exposition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name; a histogram's is that before `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// counter, gauge or histogram.
    pub kind: String,
    /// Its labels but `le`, in order. Known only where there is a sample.
    pub labels: Vec<String>,
    /// What it tells.
    pub meaning: String,
}

/// The metrics of an exposition in the older form.
pub fn describe(classic: &str) -> Vec<Described> {
    let mut all: Vec<Described> = Vec::new();
    let mut help = "";
    for line in classic.lines() {
        match Line::read(line) {
            Line::Help(words) => help = words,
            Line::Type(name, kind) => all.push(Described {
                name: name.to_owned(),
                kind: kind.to_owned(),
                labels: Vec::new(),
                meaning: help.trim_end_matches('.').to_owned(),
            }),
            Line::Sample(sample) => {
                if let Some(metric) = all.last_mut() {
                    metric.labels = labels(sample);
                }
            }
            Line::Other => {}
        }
    }
    all
}

/// The table of an exposition in the older form, as the README has it.
pub fn table(classic: &str) -> String {
    let mut rows =
        vec!["| Metric | Type | Labels | What it tells |".to_owned(), "|---|---|---|---|".into()];
    rows.extend(describe(classic).into_iter().map(|metric| {
        let Described { name, kind, labels, meaning } = metric;
        format!("| `{name}` | {kind} | {} | {meaning} |", labels.join(", "))
    }));
    rows.join("\n")
}

/// A line of either form.
enum Line<'a> {
    Help(&'a str),
    Type(&'a str, &'a str),
    Sample(&'a str),
    /// A unit, the end, a comment.
    Other,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Self {
        let Some(comment) = line.strip_prefix("# ") else { return Self::Sample(line) };
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(_), Some(text)) => Self::Help(text),
            (Some("TYPE"), Some(name), Some(kind)) => Self::Type(name, kind),
            _ => Self::Other,
        }
    }
}

/// The names of a sample's labels. A value may hold anything but a bare quote.
fn labels(sample: &str) -> Vec<String> {
    let Some((_, pairs)) = sample.split_once('{') else { return Vec::new() };
    let mut names = Vec::new();
    let mut rest = pairs;
    while let Some((name, value)) = rest.split_once("=\"") {
        let name = name.trim_start_matches(',');
        if name != "le" {
            names.push(name.to_owned());
        }
        let mut escaped = false;
        let end = value.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        rest = end.and_then(|end| value.get(end + 1..)).unwrap_or_default();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "# HELP faults Faults by reason.\n# TYPE faults counter\n\
        faults_total{reason=\"Auth,=\\\"Failed\",kind=\"a\"} 1\n\
        # HELP lag_seconds Seconds behind.\n# TYPE lag_seconds gauge\n# UNIT lag_seconds seconds\nlag_seconds 3\n\
        # HELP build The program.\n# TYPE build info\nbuild_info{version=\"0.1.0\"} 1\n# EOF\n";

    #[test]
    fn a_counter_is_named_as_its_sample_in_the_older_form_and_nothing_but_samples_and_their_help_is_left()
     {
        assert_eq!(
            classic(OPEN),
            "# HELP faults_total Faults by reason.\n# TYPE faults_total counter\n\
             faults_total{reason=\"Auth,=\\\"Failed\",kind=\"a\"} 1\n\
             # HELP lag_seconds Seconds behind.\n# TYPE lag_seconds gauge\nlag_seconds 3\n\
             # HELP build_info The program.\n# TYPE build_info gauge\nbuild_info{version=\"0.1.0\"} 1\n"
        );
    }

    #[test]
    fn the_form_is_the_one_that_was_asked_for() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1";
        assert_eq!(negotiate(OPEN.to_owned(), prometheus), (OPEN_METRICS, OPEN.to_owned()));
        for accept in ["", "*/*", "text/plain;version=0.0.4"] {
            assert_eq!(negotiate(OPEN.to_owned(), accept), (CLASSIC, classic(OPEN)));
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_metric() {
        let table = table(&classic(OPEN));
        let lines = table.lines().skip(2).collect::<Vec<_>>();
        assert_eq!(
            lines,
            [
                "| `faults_total` | counter | reason, kind | Faults by reason |",
                "| `lag_seconds` | gauge |  | Seconds behind |",
                "| `build_info` | gauge | version | The program |",
            ]
        );
    }
}
