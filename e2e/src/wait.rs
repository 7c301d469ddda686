//! Waiting for a condition with a limit; at the limit the last state seen is in the message.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use crate::{Failure, Result};

const PAUSE: Duration = Duration::from_millis(100);

/// What a look at the condition found.
pub enum Look<T> {
    /// It holds, with this value.
    Yes(T),
    /// Not yet; the state seen, for the message.
    NotYet(String),
    /// It never will, for this reason: the wait ends at once.
    Never(String),
}

impl<T> Look<T> {
    /// `Yes` where there is a value, else `NotYet` with the state.
    pub fn from_option(value: Option<T>, state: impl FnOnce() -> String) -> Self {
        value.map_or_else(|| Self::NotYet(state()), Self::Yes)
    }
}

impl Look<()> {
    /// `Yes` where `holds`, else `NotYet` with the state.
    pub fn holds(holds: bool, state: impl FnOnce() -> String) -> Self {
        if holds { Self::Yes(()) } else { Self::NotYet(state()) }
    }
}

/// Looks again and again until the condition holds. An error of a look counts as "not yet" and is
/// shown at the limit.
pub async fn until<T, F, E>(
    what: impl Display,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = std::result::Result<Look<T>, E>>,
    E: Display,
{
    let start = Instant::now();
    let mut state = String::from("it was never looked at");
    while start.elapsed() < limit {
        match tokio::time::timeout(limit.saturating_sub(start.elapsed()), look()).await {
            Ok(Ok(Look::Yes(value))) => return Ok(value),
            Ok(Ok(Look::NotYet(seen))) => state = seen,
            Ok(Ok(Look::Never(why))) => return Err(Failure::new(format!("{what}: {why}"))),
            Ok(Err(error)) => state = error.to_string(),
            Err(_) => {
                state = format!("a look was still going on at the limit; before: {state}");
                break;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::new(format!("{what}: not within {limit:?}; last seen: {state}")))
}

/// Checks for all of `span` that the condition keeps holding; the first miss is the error.
pub async fn throughout<F, E>(
    what: impl Display,
    span: Duration,
    mut look: impl FnMut() -> F,
) -> Result<()>
where
    F: Future<Output = std::result::Result<Look<()>, E>>,
    E: Display,
{
    let start = Instant::now();
    while start.elapsed() < span {
        match look().await {
            Ok(Look::Yes(())) => {}
            Ok(Look::NotYet(seen) | Look::Never(seen)) => {
                return Err(Failure::new(format!(
                    "{what}: stopped holding after {:?}: {seen}",
                    start.elapsed()
                )));
            }
            Err(error) => return Err(Failure::new(format!("{what}: {error}"))),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Puts a limit on one future.
pub async fn within<T>(
    what: impl Display,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T> {
    tokio::time::timeout(limit, future)
        .await
        .map_err(|_| Failure::new(format!("{what}: not within {limit:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_that_ends_prints_the_last_state() {
        let failure = until("the light is green", Duration::from_millis(250), || async {
            Ok::<_, Failure>(Look::<()>::NotYet("red".into()))
        })
        .await
        .unwrap_err();
        assert_eq!(failure.to_string(), "the light is green: not within 250ms; last seen: red");
    }

    #[tokio::test]
    async fn an_error_of_a_look_is_not_yet() {
        let mut looks = 0;
        let value = until("it comes up", Duration::from_secs(5), || {
            looks += 1;
            let answer =
                if looks < 3 { Err(Failure::new("refused")) } else { Ok(Look::Yes(looks)) };
            async move { answer }
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }
}
