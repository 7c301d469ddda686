//! `kubectl binlog` against a real API server, found by kubectl itself: it changes what it says and nothing else, and a
//! caller without the right is told so.

use std::process::Output;

use e2e::control_plane::ControlPlane;
use e2e::{Context, Failure, Result, site};
use serde_json::{Value, json};

const NAME: &str = "orders";

struct Api {
    plane: ControlPlane,
}

impl Api {
    /// With the resource, one stream of which an operator has said something, and somebody who may only read.
    async fn start() -> Result<Self> {
        let plane = ControlPlane::start().await?;
        plane.kubectl(&["apply", "--server-side", "-f", "crds/generated"]).await?;
        let stream = json!({
            "apiVersion": "binlogstream.io/v1alpha1", "kind": "BinlogStream",
            "metadata": {"name": NAME, "namespace": "default"},
            "spec": {
                "source": {"host": "db", "credentialsSecretRef": {"name": "source"}},
                "archive": {"s3": {"bucket": "history"}},
            },
        });
        let file = site::folder("plugin")?.join("stream.json");
        std::fs::write(&file, stream.to_string())?;
        let file = file.to_string_lossy();
        plane
            .kubectl(&["wait", "--for=condition=Established", "crd/binlogstreams.binlogstream.io"])
            .await?;
        plane.kubectl(&["create", "-f", &file]).await?;
        let status = json!({"status": {
            "observedGeneration": 1, "reason": "AuthFailed", "gapCount": 1, "openGapCount": 1,
            "conditions": [{"type": "Ready", "status": "False", "reason": "AuthFailed",
                "message": "check the password", "lastTransitionTime": "2026-11-27T10:00:00Z"}],
            "gaps": [{"id": "000002", "reason": "BinlogPurged", "from": "b.000001:4",
                "detectedAt": "2026-11-27T09:00:00Z"}],
        }})
        .to_string();
        let patch =
            ["patch", "stream", NAME, "--subresource=status", "--type=merge", "-p", &status];
        plane.kubectl(&patch).await?;
        plane.kubeconfig("reader", "/CN=reader")?;
        plane
            .kubectl(&[
                "create",
                "clusterrole",
                "see",
                "--verb=get,list",
                "--resource=binlogstreams.binlogstream.io",
            ])
            .await?;
        plane
            .kubectl(&["create", "clusterrolebinding", "see", "--clusterrole=see", "--user=reader"])
            .await?;
        Ok(Self { plane })
    }

    async fn run(&self, user: &str, arguments: &[&str]) -> Result<Output> {
        let plugin = site::built("kubectl-binlog")?;
        let folder = plugin.parent().context(|| "the plugin has no folder")?;
        tokio::process::Command::new(site::program("kubectl")?)
            .arg("binlog")
            .args(arguments)
            .env("PATH", folder)
            .env("KUBECONFIG", self.plane.kubeconfig_file(user))
            .env("HOME", folder)
            .output()
            .await
            .context(|| "run kubectl binlog")
    }

    async fn says(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run("admin", arguments).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(text) } else { Err(Failure::new(format!("{output:?}"))) }
    }

    async fn refused(&self, user: &str, arguments: &[&str]) -> Result<String> {
        let output = self.run(user, arguments).await?;
        assert!(!output.status.success(), "{arguments:?} went through: {output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    async fn stream(&self) -> Result<Value> {
        let text = self.plane.kubectl(&["get", "stream", NAME, "-o", "json"]).await?;
        Ok(serde_json::from_str(&text)?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_binlog_does_what_it_says_and_no_more() -> Result<()> {
    let api = Api::start().await?;
    let before = api.stream().await?;
    let all = api.says(&["status", "-A"]).await?;
    assert!(
        all.lines().any(|line| line.starts_with("default     orders   False   AuthFailed")),
        "{all}"
    );
    let one = api.says(&["status", NAME]).await?;
    assert!(one.contains("check the password") && one.contains("000002"), "{one}");
    assert_eq!(api.stream().await?, before, "looking changes nothing");

    for (command, state) in [("pause", "Paused"), ("stop", "Stopped"), ("resume", "Running")] {
        let said = api.says(&[command, NAME]).await?;
        assert_eq!(said, format!("orders: state {state}\n"));
        assert_eq!(api.stream().await?["spec"]["state"], state);
    }
    api.says(&["acknowledge-gap", NAME, "000002", "-n", "default"]).await?;
    api.says(&["restart", NAME]).await?;
    let said = api.says(&["commit-now", NAME]).await?;
    let after = api.stream().await?;
    let annotations = &after["metadata"]["annotations"];
    assert_eq!(annotations["binlogstream.io/acknowledge-gap"], "000002");
    let at = annotations["kubectl.kubernetes.io/restartedAt"].as_str().context(|| "no restart")?;
    assert!(at.parse::<jiff::Timestamp>().is_ok(), "{at}");
    let at =
        annotations["binlogstream.io/commit-now"].as_str().context(|| "no commit asked for")?;
    assert!(at.parse::<jiff::Timestamp>().is_ok() && said.contains(at), "{at}: {said}");
    assert_eq!((&after["spec"], &after["status"]), (&before["spec"], &before["status"]));

    let said = api.refused("reader", &["pause", NAME]).await?;
    assert!(said.contains("cannot patch") && said.contains("reader"), "{said}");
    let said = api.refused("admin", &["pause", "nobody"]).await?;
    assert!(said.contains("no BinlogStream nobody in namespace default"), "{said}");
    let said = api.refused("admin", &["status", "--context", "elsewhere"]).await?;
    assert!(said.contains("elsewhere"), "{said}");
    assert_eq!(api.stream().await?["spec"], before["spec"]);
    Ok(())
}
