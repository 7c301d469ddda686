//! A restart is asked for on the stream, or by hand on the Deployment (`kubectl rollout restart`), by the
//! same annotation of the pod template. The later word stands: what a person wrote is never overwritten by
//! an older one of the stream, which would restart the worker a second time.

use jiff::Timestamp;

/// What the operator writes into the pod template: the stream's word, unless a later one was written there by hand.
/// `done` is the stream's word that was carried out last.
pub fn asked(
    on_stream: Option<&String>,
    done: Option<&str>,
    deployed: Option<&str>,
) -> Option<String> {
    let asked = on_stream?;
    let by_hand = deployed.is_some_and(|deployed| {
        match (deployed.parse::<Timestamp>(), asked.parse::<Timestamp>()) {
            (Ok(deployed), Ok(asked)) => deployed > asked,
            // kubectl writes times; a stream may say anything.
            (Ok(_), Err(_)) => done == Some(asked.as_str()),
            (Err(_), _) => false,
        }
    });
    (!by_hand).then(|| asked.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: &str = "2026-11-27T10:00:00Z";
    const LATE: &str = "2026-11-27T10:05:00+01:00";
    const LATER: &str = "2026-11-27T12:00:00Z";

    #[test]
    fn the_later_of_two_restarts_stands() {
        let written = |stream: &str, done: Option<&str>, deployed: Option<&str>| {
            asked(Some(&stream.to_owned()), done, deployed)
        };
        assert_eq!(asked(None, None, Some(EARLY)), None);
        assert_eq!(written(EARLY, None, None).as_deref(), Some(EARLY));
        assert_eq!(written(EARLY, Some(EARLY), Some(EARLY)).as_deref(), Some(EARLY));
        assert_eq!(written(EARLY, Some(EARLY), Some(LATER)), None, "written by hand");
        assert_eq!(written(LATER, Some(EARLY), Some(EARLY)).as_deref(), Some(LATER));
        assert_eq!(written(EARLY, Some(LATE), Some(LATE)).as_deref(), Some(EARLY), "zones count");
    }

    #[test]
    fn a_word_that_is_no_time_is_written_until_it_was_carried_out() {
        let again = "again".to_owned();
        assert_eq!(asked(Some(&again), None, Some(EARLY)).as_deref(), Some("again"));
        assert_eq!(asked(Some(&again), Some("again"), Some(EARLY)), None, "written by hand since");
        assert_eq!(asked(Some(&again), Some("again"), Some("again")).as_deref(), Some("again"));
    }
}
