//! A Kubernetes control plane: etcd, apiserver and controller manager on loopback ports.
//!
//! Bare, it is a second "cluster" for the tests of ownership; with [`Cluster`](crate::cluster::Cluster)
//! it also gets a scheduler and a node.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::pki::{Authority, signing_key};
use crate::process::Process;
use crate::wait::{Look, until};
use crate::{Context, Failure, Result, site};

/// Service addresses of every control plane.
const SERVICES: &str = "10.96.0.0/16";
/// Pod addresses.
pub(crate) const PODS: &str = "10.244.0.0/16";
const READY_LIMIT: Duration = Duration::from_mins(1);
/// What the API server lets in.
const ADMISSION: &str = "admission.json";

/// Every namespace takes pods of the restricted standard only.
fn admission() -> Value {
    let restricted = json!({"enforce": "restricted", "enforce-version": "latest"});
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": "PodSecurity", "configuration": {
            "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
            "defaults": restricted,
        }}],
    })
}

/// Flags beside the usual ones and after them, for a control plane that is to carry more than a test.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// Of etcd.
    pub etcd: Vec<String>,
    /// Of the API server.
    pub apiserver: Vec<String>,
    /// Of the controller manager.
    pub manager: Vec<String>,
}

/// A running control plane; dropped, it is killed.
#[derive(Debug)]
pub struct ControlPlane {
    folder: PathBuf,
    authority: Authority,
    port: u16,
    /// In order of start; dropped together.
    processes: Vec<Process>,
}

impl ControlPlane {
    /// Starts one and waits until the API answers and `default` has its service account.
    pub async fn start() -> Result<Self> {
        Self::start_with(&Flags::default()).await
    }

    /// The same with more flags.
    pub async fn start_with(flags: &Flags) -> Result<Self> {
        let folder = site::folder("control-plane")?;
        let pki = folder.join("pki");
        let authority = Authority::new(&pki, "kubernetes")?;
        let names = format!(
            "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
             IP:127.0.0.1,IP:{},IP:10.96.0.1",
            site::NODE_ADDRESS
        );
        authority.issue("apiserver", "/CN=kube-apiserver", &names)?;
        signing_key(&pki, "tokens")?;
        let mut plane = Self { folder, authority, port: site::free_port()?, processes: Vec::new() };
        plane.kubeconfig("admin", "/O=system:masters/CN=admin")?;
        plane.kubeconfig("manager", "/CN=system:kube-controller-manager")?;
        let etcd = plane.start_etcd(&flags.etcd)?;
        plane.start_apiserver(&etcd, &flags.apiserver)?;
        plane.await_api().await?;
        plane.start_manager(&flags.manager)?;
        Ok(plane)
    }

    fn start_etcd(&mut self, more: &[String]) -> Result<String> {
        let client = format!("http://127.0.0.1:{}", site::free_port()?);
        let peer = format!("http://127.0.0.1:{}", site::free_port()?);
        self.run("etcd", |command| {
            command
                .args(["--data-dir", "etcd", "--unsafe-no-fsync", "--log-level=warn"])
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &format!("default={peer}")])
                .args(more);
        })?;
        Ok(client)
    }

    fn start_apiserver(&mut self, etcd: &str, more: &[String]) -> Result<()> {
        let port = self.port;
        std::fs::write(self.folder.join(ADMISSION), admission().to_string())?;
        self.run("kube-apiserver", |command| {
            command
                .arg(format!("--admission-control-config-file={ADMISSION}"))
                .arg(format!("--etcd-servers={etcd}"))
                .arg(format!("--secure-port={port}"))
                .arg(format!("--service-cluster-ip-range={SERVICES}"))
                .arg(format!("--advertise-address={}", site::NODE_ADDRESS))
                .args([
                    "--authorization-mode=Node,RBAC",
                    "--allow-privileged=true",
                    "--client-ca-file=pki/ca.crt",
                    "--tls-cert-file=pki/apiserver.crt",
                    "--tls-private-key-file=pki/apiserver.key",
                    "--service-account-key-file=pki/tokens.pub",
                    "--service-account-signing-key-file=pki/tokens.key",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    "--kubelet-client-certificate=pki/admin.crt",
                    "--kubelet-client-key=pki/admin.key",
                    "--kubelet-certificate-authority=pki/ca.crt",
                    "--kubelet-preferred-address-types=InternalIP",
                ])
                .args(more);
        })
    }

    fn start_manager(&mut self, more: &[String]) -> Result<()> {
        let port = site::free_port()?;
        self.run("kube-controller-manager", |command| {
            command
                .arg(format!("--secure-port={port}"))
                .arg(format!("--cluster-cidr={PODS}"))
                .args([
                    "--kubeconfig=pki/manager.kubeconfig",
                    "--service-account-private-key-file=pki/tokens.key",
                    "--root-ca-file=pki/ca.crt",
                    "--allocate-node-cidrs=true",
                    "--use-service-account-credentials=true",
                    "--leader-elect=false",
                ])
                .args(more);
        })
    }

    async fn await_api(&self) -> Result<()> {
        let admin = self.kubeconfig_file("admin");
        until("the API is ready", READY_LIMIT, || async {
            if let Err(ended) = self.check_runs() {
                return Ok(Look::Never(ended.to_string()));
            }
            let ready = http_get("/readyz")?;
            let answer = client(&admin).await?.request_text(ready).await?;
            Ok::<_, Failure>(Look::holds(answer == "ok", || answer))
        })
        .await
    }

    /// Starts a program of the Kubernetes binary in this control plane's folder.
    pub fn run(&mut self, program: &str, arguments: impl FnOnce(&mut Command)) -> Result<()> {
        let mut command = Command::new(site::program(program)?);
        command.current_dir(&self.folder);
        arguments(&mut command);
        let log = self.folder.join(format!("{program}.log"));
        self.processes.push(Process::spawn(program, command, &log)?);
        Ok(())
    }

    /// Ties the life of a process to this control plane's.
    pub(crate) fn adopt(&mut self, process: Process) {
        self.processes.push(process);
    }

    /// An error with a log's end if a process of it has ended.
    pub fn check_runs(&self) -> Result<()> {
        self.processes.iter().try_for_each(Process::check_runs)
    }

    /// Makes a certificate for a subject and the kubeconfig that uses it; gives its path.
    pub fn kubeconfig(&self, name: &str, subject: &str) -> Result<PathBuf> {
        let leaf = self.authority.issue(name, subject, "")?;
        let file = self.kubeconfig_file(name);
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{"name": "e2e", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority": self.authority.certificate(),
            }}],
            "users": [{"name": name, "user": {
                "client-certificate": leaf.certificate, "client-key": leaf.key,
            }}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": name}}],
        });
        std::fs::write(&file, serde_yaml::to_string(&config)?).context(|| "write a kubeconfig")?;
        Ok(file)
    }

    /// The kubeconfig that [`kubeconfig`](Self::kubeconfig) makes for a name.
    pub fn kubeconfig_file(&self, name: &str) -> PathBuf {
        self.folder.join("pki").join(format!("{name}.kubeconfig"))
    }

    /// The administrator's kubeconfig.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig_file("admin")
    }

    /// A client with all rights. A client belongs to the runtime it was made in.
    pub async fn client(&self) -> Result<Client> {
        client(&self.admin_kubeconfig()).await
    }

    /// The API's port on loopback and on the node's address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder: logs, keys, kubeconfigs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The authority of all its certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Runs kubectl as the administrator and gives what it prints.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.tool("kubectl", arguments).await
    }

    /// Runs helm as the administrator and gives what it prints.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.tool("helm", arguments).await
    }

    async fn tool(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = tokio::process::Command::new(site::program(program)?)
            .args(arguments)
            .env("KUBECONFIG", self.admin_kubeconfig())
            .env("HOME", &self.folder)
            .current_dir(site::tree())
            .output()
            .await
            .context(|| format!("run {program}"))?;
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        if output.status.success() {
            return Ok(out);
        }
        Err(Failure::new(format!("{program} {}: {out}{err}", arguments.join(" "))))
    }
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let read =
        Kubeconfig::read_from(kubeconfig).context(|| format!("read {}", kubeconfig.display()))?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .context(|| format!("use {}", kubeconfig.display()))?;
    Ok(Client::try_from(config)?)
}

fn http_get(path: &str) -> Result<hyper::Request<Vec<u8>>> {
    hyper::Request::get(path).body(Vec::new()).context(|| format!("build GET {path}"))
}
