//! The files of a pod that runs as a process: its file system is a folder, and texts that name paths
//! of the pod are rewritten to name those below the folder.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, KeyToPath, PodSpec, Secret, Volume, VolumeMount,
};
use kube::Client;
use kube::api::Api;

use crate::{Context, Result, site};

/// What the programs are told to listen on in a pod of their own.
const EVERY_ADDRESS: &str = "[::]:8080";

type Files = BTreeMap<String, Vec<u8>>;

/// What is mounted into a pod.
pub(super) struct Mounts {
    maps: Api<ConfigMap>,
    secrets: Api<Secret>,
    root: PathBuf,
    address: SocketAddr,
    volumes: Vec<(VolumeMount, Volume)>,
}

impl Mounts {
    /// The mounts of a container, below a fresh folder.
    pub(super) fn new(
        client: Client,
        namespace: &str,
        spec: &PodSpec,
        container: &Container,
        address: SocketAddr,
    ) -> Result<Self> {
        let mut mounts = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name);
            let volume = volume.context(|| format!("{} names no volume", mount.name))?;
            mounts.push((mount.clone(), volume.clone()));
        }
        Ok(Self {
            maps: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client, namespace),
            root: site::folder(&container.name)?,
            address,
            volumes: mounts,
        })
    }

    /// The folder that is the pod's file system.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A text with the paths and the address of the pod made those of the process.
    pub(super) fn as_seen_here(&self, text: &str) -> String {
        let mut text = text.replace(EVERY_ADDRESS, &self.address.to_string());
        for (mount, _) in &self.volumes {
            text = text.replace(&mount.mount_path, &self.folder(mount).display().to_string());
        }
        text
    }

    fn folder(&self, mount: &VolumeMount) -> PathBuf {
        self.root.join(mount.mount_path.trim_start_matches('/'))
    }

    /// Writes what is not there yet or has changed.
    pub(super) async fn bring(&self) -> Result<()> {
        for (mount, volume) in &self.volumes {
            let folder = self.folder(mount);
            std::fs::create_dir_all(&folder).context(|| format!("make {}", folder.display()))?;
            for (path, bytes) in self.contents(volume).await? {
                replace(&folder.join(path), &bytes)?;
            }
        }
        Ok(())
    }

    /// Maps and Secrets; an emptyDir stays empty, and the account's token is left out: the process
    /// has a kubeconfig.
    async fn contents(&self, volume: &Volume) -> Result<Files> {
        let mut files = Files::new();
        if let Some(map) = &volume.config_map {
            files.extend(pick(self.map(&map.name).await?, map.items.as_deref()));
        }
        for source in volume.projected.iter().flat_map(|all| all.sources.iter().flatten()) {
            if let Some(secret) = &source.secret {
                files.extend(pick(self.secret(&secret.name).await?, secret.items.as_deref()));
            }
            if let Some(map) = &source.config_map {
                files.extend(pick(self.map(&map.name).await?, map.items.as_deref()));
            }
        }
        Ok(files)
    }

    async fn map(&self, name: &str) -> Result<Files> {
        let data = self.maps.get_opt(name).await?.and_then(|map| map.data).unwrap_or_default();
        let here = |(key, text): (String, String)| (key, self.as_seen_here(&text).into_bytes());
        Ok(data.into_iter().map(here).collect())
    }

    async fn secret(&self, name: &str) -> Result<Files> {
        let data = self.secrets.get_opt(name).await?.and_then(|secret| secret.data);
        Ok(data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect())
    }
}

/// All keys, or those that are asked for, under the paths that are asked for.
fn pick(data: Files, items: Option<&[KeyToPath]>) -> Files {
    let Some(items) = items else { return data };
    let picked = |item: &KeyToPath| Some((item.path.clone(), data.get(&item.key)?.clone()));
    items.iter().filter_map(picked).collect()
}

/// Replaces a file in one step, so that whoever reads it sees the old text or the new.
fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    let doing = || format!("write {}", file.display());
    if std::fs::read(file).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).context(doing)?;
    }
    let new = file.with_extension("new");
    std::fs::write(&new, bytes).context(doing)?;
    std::fs::rename(&new, file).context(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_for_keys_get_their_paths_and_missing_ones_no_file() {
        let data = || Files::from([("username".into(), b"u".to_vec()), ("b".into(), Vec::new())]);
        let item =
            |key: &str, path: &str| KeyToPath { key: key.into(), path: path.into(), mode: None };
        let items = [item("username", "source/username"), item("token", "s3/token")];
        let picked = pick(data(), Some(&items));
        assert_eq!(picked, Files::from([("source/username".into(), b"u".to_vec())]));
        assert_eq!(pick(data(), None), data());
    }
}
