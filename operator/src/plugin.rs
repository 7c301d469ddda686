//! `kubectl binlog`: what a person would otherwise patch, annotate and read by hand.
//!
//! It speaks to the API with the caller's own kubeconfig and rights, and only about BinlogStreams: it changes
//! `spec.state`, adds an annotation, or reads. The operator and the worker do the rest.

mod show;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use crds::{annotations, v1alpha1::BinlogStream};
use jiff::Timestamp;
use kube::{
    Api, Client, Config,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::api_error::{code, words};

/// Limit of one request.
const REQUEST: Duration = Duration::from_secs(30);
/// Streams of one page of a list.
const PAGE: u32 = 500;
/// Field manager of the changes.
const MANAGER: &str = "kubectl-binlog";

/// Looks at BinlogStreams and tells them what to do.
#[derive(Debug, Parser)]
#[command(name = "kubectl-binlog", bin_name = "kubectl binlog", version, about)]
pub struct Cli {
    /// Namespace of the stream; default: that of the context.
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// Context of the kubeconfig; default: the current one.
    #[arg(long, global = true)]
    context: Option<String>,
    /// The kubeconfig; default: $KUBECONFIG, then ~/.kube/config, then the pod's own account.
    #[arg(long, global = true)]
    kubeconfig: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What streams do; of one stream also what is wrong and what mends it
    Status {
        /// The stream; default: all of the namespace.
        name: Option<String>,
        /// All namespaces.
        #[arg(short = 'A', long, conflicts_with = "name")]
        all_namespaces: bool,
    },
    /// Close the connection to the source; the pod stays
    Pause {
        /// The stream.
        name: String,
    },
    /// End the worker's pod; archive and checkpoint stay
    Stop {
        /// The stream.
        name: String,
    },
    /// Run again, from where it ended
    Resume {
        /// The stream.
        name: String,
    },
    /// Start a new pod
    Restart {
        /// The stream.
        name: String,
    },
    /// Make durable at once what the worker holds
    CommitNow {
        /// The stream.
        name: String,
    },
    /// Agree to a gap: events are missing from the archive, and that is known
    AcknowledgeGap {
        /// The stream.
        name: String,
        /// Its id, as `status` shows it, or `all` for those that are open now.
        gap: String,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be used.
    #[error("read the kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Neither a kubeconfig nor a pod's account.
    #[error("find a cluster: {0}; give --kubeconfig")]
    Infer(#[from] kube::config::InferConfigError),
    /// The API refused or failed.
    #[error("{doing}: {}", words(.error))]
    Api {
        /// What was being done.
        doing: String,
        /// What the API said.
        error: Box<kube::Error>,
    },
    /// There is no such stream.
    #[error(
        "there is no BinlogStream {name} in namespace {namespace}; `kubectl binlog status -A` lists all"
    )]
    NoStream {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// No answer in time.
    #[error("{doing}: no answer within {} s", REQUEST.as_secs())]
    TimedOut {
        /// What was being done.
        doing: String,
    },
}

/// Carries the command out and gives what is to be printed.
///
/// # Errors
/// See [`Error`].
pub async fn run(cli: &Cli) -> Result<String, Error> {
    let config = config(cli).await?;
    let namespace = cli.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let doing = || "connect to the Kubernetes API".to_owned();
    let client = Client::try_from(config).map_err(|error| api(doing(), error))?;
    let streams = Streams { api: Api::namespaced(client.clone(), &namespace), namespace };
    match &cli.command {
        Command::Status { name: Some(name), .. } => {
            Ok(show::one(&streams.get(name).await?, Timestamp::now()))
        }
        Command::Status { name: None, all_namespaces } => {
            let api = if *all_namespaces { Api::all(client) } else { streams.api };
            Ok(show::table(&list(&api).await?, *all_namespaces))
        }
        Command::Pause { name } => streams.set_state(name, "Paused").await,
        Command::Stop { name } => streams.set_state(name, "Stopped").await,
        Command::Resume { name } => streams.set_state(name, "Running").await,
        Command::Restart { name } => {
            let now = Timestamp::now().to_string();
            streams.annotate(name, annotations::RESTARTED_AT, &now, "is restarted").await
        }
        Command::CommitNow { name } => {
            let now = Timestamp::now().to_string();
            let said =
                format!("is to commit; `kubectl binlog status {name}` names {now} when it is done");
            streams.annotate(name, annotations::COMMIT_NOW, &now, &said).await
        }
        Command::AcknowledgeGap { name, gap } => {
            let said =
                format!("acknowledges {gap}; `kubectl binlog status {name}` shows when it is done");
            streams.annotate(name, annotations::ACKNOWLEDGE_GAP, gap, &said).await
        }
    }
}

async fn config(cli: &Cli) -> Result<Config, Error> {
    let options =
        KubeConfigOptions { context: cli.context.clone(), ..KubeConfigOptions::default() };
    match &cli.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            Ok(Config::from_custom_kubeconfig(file, &options).await?)
        }
        None if cli.context.is_some() => Ok(Config::from_kubeconfig(&options).await?),
        None => Ok(Config::infer().await?),
    }
}

/// The streams of a namespace.
struct Streams {
    api: Api<BinlogStream>,
    namespace: String,
}

impl Streams {
    async fn get(&self, name: &str) -> Result<BinlogStream, Error> {
        self.found(name, within(format!("read stream {name}"), self.api.get(name)).await)
    }

    async fn set_state(&self, name: &str, state: &str) -> Result<String, Error> {
        self.patch(name, json!({"spec": {"state": state}})).await?;
        Ok(format!("{name}: state {state}\n"))
    }

    async fn annotate(
        &self,
        name: &str,
        key: &str,
        value: &str,
        said: &str,
    ) -> Result<String, Error> {
        self.patch(name, json!({"metadata": {"annotations": {key: value}}})).await?;
        Ok(format!("{name} {said}\n"))
    }

    async fn patch(&self, name: &str, change: Value) -> Result<(), Error> {
        let params =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(change);
        let request = self.api.patch(name, &params, &patch);
        self.found(name, within(format!("change stream {name}"), request).await).map(drop)
    }

    fn found<T>(&self, name: &str, answer: Result<T, Error>) -> Result<T, Error> {
        match answer {
            Err(Error::Api { error, .. }) if code(&error) == Some(404) => {
                Err(Error::NoStream { name: name.to_owned(), namespace: self.namespace.clone() })
            }
            answer => answer,
        }
    }
}

async fn list(api: &Api<BinlogStream>) -> Result<Vec<BinlogStream>, Error> {
    let (mut all, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = within("list the streams".to_owned(), api.list(&params)).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(all),
        }
    }
}

async fn within<T>(
    doing: String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(answer) => answer.map_err(|error| api(doing, error)),
        Err(_) => Err(Error::TimedOut { doing }),
    }
}

fn api(doing: String, error: kube::Error) -> Error {
    Error::Api { doing, error: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn commands_are_well_formed_and_said_as_kubectl_says_them() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["kubectl-binlog", "pause", "orders", "-n", "shop"]).unwrap();
        assert_eq!(cli.namespace.as_deref(), Some("shop"));
        assert!(Cli::try_parse_from(["kubectl-binlog", "status", "orders", "-A"]).is_err());
        assert!(Cli::try_parse_from(["kubectl-binlog", "acknowledge-gap", "orders"]).is_err());
    }
}
