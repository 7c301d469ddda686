//! Where the run takes place: the cache with the programs, the folder of this run, free ports.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Context, Failure, Result};

/// The node's address inside the namespace: servers listen here for pods.
pub const NODE_ADDRESS: &str = "10.88.0.1";

/// The cache that `e2e/setup.sh` fills.
pub fn cache() -> Result<PathBuf> {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = given("BINLOG_CACHE") {
        return Ok(cache);
    }
    let base = given("XDG_CACHE_HOME")
        .or_else(|| given("HOME").map(|home| home.join(".cache")))
        .context(|| "neither BINLOG_CACHE, XDG_CACHE_HOME nor HOME is set")?;
    Ok(base.join("binlog-operator"))
}

/// A file of the cache; its absence names the command that makes it.
pub fn cached(path: &str) -> Result<PathBuf> {
    let file = cache()?.join(path);
    if file.exists() {
        return Ok(file);
    }
    Err(Failure::new(format!("{} is missing; run: e2e/setup.sh", file.display())))
}

/// A program of the cache's `bin`.
pub fn program(name: &str) -> Result<PathBuf> {
    cached(&format!("bin/{name}"))
}

/// A binary of this workspace, built beside the running test or program.
pub fn built(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context(|| "find the running program")?;
    let folder = running.parent().context(|| "the running program has no folder")?;
    // Tests stand one folder below the programs.
    let release = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    let binary = release.context(|| "the running test has no target folder")?.join(name);
    if binary.exists() {
        return Ok(binary);
    }
    Err(Failure::new(format!(
        "{} is missing; run: cargo build --release -p {name}",
        binary.display()
    )))
}

/// The root of the source tree.
pub fn tree() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// A fresh folder of this run with `name` in its name; `ns.sh` removes it with all others.
pub fn folder(name: &str) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let run = std::env::var_os("BINLOG_E2E_DIR").context(
        || "this test starts servers: run it as e2e/ns.sh cargo test --release -p e2e --test NAME",
    )?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(run).join(format!("{name}-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&folder).context(|| format!("make folder {}", folder.display()))?;
    Ok(folder)
}

/// The name of this run's cgroups.
pub fn cgroup() -> Result<String> {
    std::env::var("BINLOG_E2E_CGROUP").context(|| "BINLOG_E2E_CGROUP is not set; use e2e/ns.sh")
}

/// A port nothing listens on, never given twice by this process.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..100 {
        let listener = TcpListener::bind(("0.0.0.0", 0)).context(|| "find a free port")?;
        let port = listener.local_addr().context(|| "find a free port")?.port();
        if !given.contains(&port) {
            given.push(port);
            return Ok(port);
        }
    }
    Err(Failure::new("no free port in 100 tries"))
}

/// Gives the bridge one more address.
pub async fn give_address(address: &str) -> Result<()> {
    let output = tokio::process::Command::new("ip")
        .args(["address", "replace", &format!("{address}/32"), "dev", "node0"])
        .output()
        .await
        .context(|| "run ip (install it with: sudo apt-get install iproute2)")?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::new(format!("give node0 address {address}: {error}")))
}

/// How much larger than the short run this one is: 1 in `make test`, 10 in `make test-long`.
pub fn scale() -> Result<u32> {
    match std::env::var("SCALE") {
        Err(_) => Ok(1),
        Ok(text) => match text.parse() {
            Ok(scale @ 1..=1000) => Ok(scale),
            _ => Err(Failure::new(format!("SCALE={text}: give a whole number from 1 to 1000"))),
        },
    }
}

/// Copies a folder with all it holds, sharing blocks where the file system can.
pub async fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let status = tokio::process::Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .args([from, to])
        .status()
        .await
        .context(|| "run cp")?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("copy {} to {}: {status}", from.display(), to.display())))
}
