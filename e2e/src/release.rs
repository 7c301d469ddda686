//! The operator on the shared cluster, as Helm installs it from the chart and the images of this build.

use std::path::PathBuf;

use tokio::sync::OnceCell;

use crate::cluster::Cluster;
use crate::control_plane::ControlPlane;
use crate::{Context, Failure, Result, site};

/// The namespace of the operator.
pub const NAMESPACE: &str = "binlog-system";
/// The operator's account, as the API server names it.
pub const OPERATOR: &str = "system:serviceaccount:binlog-system:binlog-operator";

/// The shared cluster with the operator running; the first caller installs it.
pub async fn installed() -> Result<&'static Cluster> {
    static INSTALLED: OnceCell<Result<()>> = OnceCell::const_new();
    let cluster = Cluster::shared().await?;
    let installed = INSTALLED
        .get_or_init(|| async {
            import_images(cluster).await?;
            install(cluster, "--wait --timeout 120s").await
        })
        .await;
    installed.as_ref().map_err(|failure| Failure::new(failure.to_string()))?;
    Ok(cluster)
}

/// Installs the chart, with more of Helm's flags.
pub async fn install(plane: &ControlPlane, flags: &str) -> Result<()> {
    install_chart(plane, "charts/binlog-operator", flags).await
}

/// Installs this chart, of some version, with more of Helm's flags.
pub async fn install_chart(plane: &ControlPlane, chart: &str, flags: &str) -> Result<()> {
    // Streams that checkpoint each few seconds may: their tests wait for it.
    let line = format!(
        "install binlog-operator {chart} -n {NAMESPACE} --create-namespace \
         --set minConfigMapIntervalSeconds=1 {flags}"
    );
    plane.helm(&line.split_whitespace().collect::<Vec<_>>()).await.map(drop)
}

/// Upgrades the release by these values, beside those it has, and waits until its pods are there.
pub async fn upgrade(plane: &ControlPlane, values: &[&str]) -> Result<()> {
    let line = format!(
        "upgrade binlog-operator charts/binlog-operator -n {NAMESPACE} --reuse-values --wait \
         --timeout 120s --set {}",
        values.join(",")
    );
    plane.helm(&line.split_whitespace().collect::<Vec<_>>()).await.map(drop)
}

/// Brings both images of this build to the node.
pub async fn import_images(cluster: &Cluster) -> Result<()> {
    for archive in images()? {
        cluster.import(&archive).await?;
    }
    Ok(())
}

/// The archives of both images of this build.
pub(crate) fn images() -> Result<[PathBuf; 2]> {
    let release = site::built("operator")?;
    let target = release.ancestors().nth(3).context(|| "find the target folder")?;
    let archives =
        ["operator", "worker"].map(|program| target.join(format!("images/binlog-{program}.tar")));
    match archives.iter().find(|archive| !archive.exists()) {
        Some(absent) => {
            Err(Failure::new(format!("{} is missing; run: e2e/images.sh", absent.display())))
        }
        None => Ok(archives),
    }
}
