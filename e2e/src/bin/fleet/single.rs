//! How soon one stream is Ready on a cluster with a real kubelet, a real server and a real store.

use std::time::{Duration, Instant};

use e2e::resource::StreamResource;
use e2e::s3::S3;
use e2e::server::{Server, ServerKind};
use e2e::{Result, release};

const ROUNDS: usize = 10;

/// From the apply to Ready, each time with a stream of its own; sorted.
pub async fn apply_to_ready() -> Result<Vec<Duration>> {
    let cluster = release::installed().await?;
    let server = Server::builder(ServerKind::MariaDb118).start().await?;
    let s3 = S3::start().await?;
    let mut taken = Vec::new();
    for round in 0..ROUNDS {
        let stream = StreamResource::new(cluster, &format!("apply-{round}"), &server, &s3).await?;
        let start = Instant::now();
        stream.create().await?;
        stream.ready().await?;
        taken.push(start.elapsed());
        println!("one stream: Ready after {:.2} s", start.elapsed().as_secs_f64());
        stream.delete().await?;
        stream.no_pod().await?;
    }
    taken.sort_unstable();
    Ok(taken)
}
