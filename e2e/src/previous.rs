//! The version before this one, as `e2e/previous.sh` makes it: images under a tag of their own, and its chart.

use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::{Context, Failure, Result, site};

/// What was made of it.
#[derive(Debug)]
pub struct Previous {
    /// Tag of both images.
    pub tag: String,
    folder: PathBuf,
}

impl Previous {
    /// Finds what was made of the commit that `e2e/previous` names.
    pub fn find() -> Result<Self> {
        let file = site::tree().join("e2e/previous");
        let text = std::fs::read_to_string(&file)?;
        let named = text.lines().find(|line| !line.starts_with('#'));
        let parts = named.and_then(|line| line.split_once(' '));
        let tag =
            parts.and_then(|(commit, version)| Some(format!("{version}-{}", commit.get(..7)?)));
        let tag = tag.context(|| format!("read commit and version in {}", file.display()))?;
        let folder = site::cache()?.join(format!("store/previous-{tag}"));
        if folder.join(".done").exists() {
            return Ok(Self { tag, folder });
        }
        Err(Failure::new(format!("{} is missing; run: e2e/previous.sh", folder.display())))
    }

    /// Its chart.
    pub fn chart(&self) -> String {
        self.folder.join("chart").display().to_string()
    }

    /// Brings both images to the node.
    pub async fn import(&self, cluster: &Cluster) -> Result<()> {
        for program in ["operator", "worker"] {
            cluster.import(&self.folder.join(format!("binlog-{program}.tar"))).await?;
        }
        Ok(())
    }
}
