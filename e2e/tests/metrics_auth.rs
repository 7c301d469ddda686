//! The operator's metrics with authentication, installed by the chart: whom the API server lets read them, and nobody
//! else.

use std::time::Duration;

use e2e::elsewhere::Elsewhere;
use e2e::{Context, Result, http};
use http_body_util::Full;
use hyper::{Request, StatusCode};

const LIMIT: Duration = Duration::from_secs(15);
const SWITCHED_ON: &str = "--set metrics.authentication.enabled=true";

async fn scrape(cluster: &Elsewhere, authorization: Option<&str>) -> Result<(StatusCode, String)> {
    let mut request = Request::get("/metrics").header("host", "operator");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let request = request.body(Full::default()).context(|| "build GET /metrics")?;
    let answer = http::send(cluster.operator().address(), request, LIMIT).await?;
    Ok((answer.status(), String::from_utf8_lossy(answer.body()).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_read_by_those_who_may_and_by_nobody_else() -> Result<()> {
    let cluster = Elsewhere::start_with(SWITCHED_ON).await?;
    let plane = cluster.plane();
    for account in ["scraper", "stranger"] {
        plane.kubectl(&["create", "serviceaccount", account]).await?;
    }
    let role = "--clusterrole=binlog-operator-metrics-reader";
    let who = "--serviceaccount=default:scraper";
    plane.kubectl(&["create", "clusterrolebinding", "scraper", role, who]).await?;
    let token = async |account| {
        let token = plane.kubectl(&["create", "token", account]).await?;
        Ok::<_, e2e::Failure>(format!("Bearer {}", token.trim()))
    };

    let (status, text) = scrape(&cluster, Some(&token("scraper").await?)).await?;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("binlog_operator_leader"), "{text}");
    for (authorization, refused) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some("Bearer nonsense".to_owned()), StatusCode::UNAUTHORIZED),
        (Some(token("stranger").await?), StatusCode::FORBIDDEN),
    ] {
        let (status, text) = scrape(&cluster, authorization.as_deref()).await?;
        assert_eq!(status, refused, "{text}");
        assert!(!text.contains("binlog_operator"), "{text}");
    }
    Ok(())
}
