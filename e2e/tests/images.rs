//! Both images: made twice from one binary they are one image; small, static, without root.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Context, Failure, Result, site};
use serde_json::Value;

const IMAGES: [(&str, u64); 2] = [("operator", 30_000_000), ("worker", 45_000_000)];

/// Makes the image of a program with the project's own script.
fn make(program: &str, folder: &Path) -> Result<PathBuf> {
    let archive = folder.join(format!("{program}.tar"));
    let output = Command::new(site::tree().join("e2e/image.sh"))
        .arg(site::built(program)?)
        .arg(format!("docker.io/library/binlog-{program}:test"))
        .arg(&archive)
        .output()
        .context(|| "run e2e/image.sh")?;
    if output.status.success() {
        return Ok(archive);
    }
    Err(Failure::new(String::from_utf8_lossy(&output.stderr)))
}

/// A JSON file of an OCI archive.
fn part(archive: &Path, name: &str) -> Result<Value> {
    let output = Command::new("tar").args(["-xOf"]).arg(archive).arg(name).output()?;
    serde_json::from_slice(&output.stdout).context(|| format!("read {name} of the image"))
}

fn blob(digest: &Value) -> String {
    format!("blobs/{}", digest.as_str().unwrap_or_default().replace(':', "/"))
}

#[test]
fn one_binary_gives_one_digest_and_a_small_image_without_root() -> Result<()> {
    for (program, most) in IMAGES {
        let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
        let (first, second) =
            (make(program, folders[0].path())?, make(program, folders[1].path())?);
        let index = part(&first, "index.json")?;
        let digest = &index["manifests"][0]["digest"];
        assert!(digest.is_string(), "{index}");
        assert_eq!(digest, &part(&second, "index.json")?["manifests"][0]["digest"], "{program}");

        let size = std::fs::metadata(&first).context(|| "measure the image")?.len();
        assert!(size <= most, "{program}: {size} bytes, at most {most}");

        let manifest = part(&first, &blob(digest))?;
        let config = part(&first, &blob(&manifest["config"]["digest"]))?;
        assert_eq!(config["config"]["User"], "65532:65532", "{program}");
        assert_eq!(config["config"]["Entrypoint"][0], format!("/{program}").as_str());
    }
    Ok(())
}
