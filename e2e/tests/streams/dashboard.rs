//! A real Prometheus reads operator and worker: every query of the dashboard has an answer, every alert rule is evaluated,
//! and none fires for a stream that is well.

use std::net::SocketAddr;
use std::process::Command;

use e2e::http;
use e2e::process::Process;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);
/// Long enough for a rate of two scrapes.
const SCRAPED: Duration = Duration::from_secs(120);
/// In seconds.
const MONTH: u32 = 30 * 24 * 3600;
const RULES: &str = "charts/binlog-operator/monitoring/alerts.yaml";
const DASHBOARD: &str = "charts/binlog-operator/monitoring/dashboard.json";

/// A Prometheus with one target each, labelled as the chart's monitors label them.
struct Prometheus {
    address: SocketAddr,
    process: Process,
}

impl Prometheus {
    fn start(operator: &str, worker: &str, stream: &str) -> Result<Self> {
        let folder = site::folder("prometheus")?;
        let target = |name: &str, address: &str, labels: Value| {
            json!({"job_name": name, "honor_labels": true,
                "static_configs": [{"targets": [format!("{address}:8080")], "labels": labels}]})
        };
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [site::tree().join(RULES)],
            "scrape_configs": [
                target("operator", operator, json!({})),
                target("worker", worker, json!({"namespace": stream, "stream": stream})),
            ],
        });
        let file = folder.join("prometheus.json");
        std::fs::write(&file, config.to_string())?;
        let address = SocketAddr::from(([127, 0, 0, 1], site::free_port()?));
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::spawn("prometheus", command, &folder.join("prometheus.log"))
            .context(|| "start prometheus; install it with: sudo apt-get install prometheus")?;
        Ok(Self { address, process })
    }

    async fn api(&self, path: &str) -> Result<Value> {
        self.process.check_runs()?;
        let (status, text) = http::get(self.address, &format!("/api/v1/{path}"), LIMIT).await?;
        let answer: Value = serde_json::from_str(&text).context(|| format!("{status}: {text}"))?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].clone()),
            _ => Err(Failure::new(format!("{path}: {text}"))),
        }
    }

    /// The values of a query, in no order.
    async fn values(&self, query: &str) -> Result<Vec<f64>> {
        let data = self.api(&format!("query?query={}", escaped(query))).await?;
        let series = data["result"].as_array().into_iter().flatten();
        Ok(series.filter_map(|one| one["value"][1].as_str()?.parse().ok()).collect())
    }
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            let plain = byte.is_ascii_alphanumeric();
            if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        })
        .collect()
}

/// Every query with its panel's title, the variables filled in as Grafana does for "all".
fn queries() -> Result<Vec<(String, String)>> {
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(site::tree().join(DASHBOARD))?)?;
    let panels = dashboard["panels"].as_array().context(|| "the dashboard has no panels")?;
    let filled = |text: &str| {
        [("$namespace", ".*"), ("$stream", ".*"), ("$__rate_interval", "20s")]
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    };
    let queries = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap_or_default();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.filter_map(move |target| Some((title.to_owned(), filled(target["expr"].as_str()?))))
    });
    Ok(queries.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_has_an_answer_and_no_alert_fires_for_a_stream_that_is_well()
-> Result<()> {
    let cluster = installed().await?;
    // Else it purges nothing by age, and there is no headroom to show.
    let server = Server::builder(ServerKind::MySql97).option("binlog_expire_logs_seconds", MONTH);
    let (server, s3) = (server.start().await?, S3::start().await?);
    workload::prepare(&server).await?;
    let stream = StreamResource::new(cluster, "dashboard", &server, &s3).await?;
    stream.create().await?;
    stream.ready().await?;
    burst(&server, 11).await?;
    stream.archived_all_of(&server, ARCHIVED).await?;

    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, e2e::release::NAMESPACE);
    let address = |pod: Pod| pod.status.and_then(|status| status.pod_ip);
    let mut operators = pods.list(&ListParams::default()).await?.items.into_iter();
    let operator = operators.find_map(address).context(|| "the operator has no address")?;
    let worker = address(stream.pod().await?).context(|| "the worker has no address")?;
    let prometheus = Prometheus::start(&operator, &worker, &stream.name)?;

    let queries = queries()?;
    assert!(queries.len() >= 30, "only {} queries", queries.len());
    until("every query has an answer", SCRAPED, || async {
        for (title, query) in &queries {
            let values = prometheus.values(query).await.unwrap_or_default();
            if values.is_empty() || values.iter().any(|value| value.is_nan()) {
                return Ok(Look::NotYet(format!("{title}: {values:?} for {query}")));
            }
        }
        Ok::<_, Failure>(Look::Yes(()))
    })
    .await?;

    let groups = prometheus.api("rules").await?["groups"].clone();
    let rules: Vec<&Value> = groups
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| group["rules"].as_array())
        .flatten()
        .collect();
    assert!(rules.len() >= 20, "only {} rules", rules.len());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        let alerts = rule["alerts"].as_array().into_iter().flatten();
        let ours = alerts.filter(|alert| alert["labels"]["stream"] == stream.name.as_str());
        let firing: Vec<_> = ours.filter(|alert| alert["state"] == "firing").collect();
        assert!(firing.is_empty(), "{firing:?}");
    }
    Ok(())
}
