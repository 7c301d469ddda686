//! What one stream's Deployment needs: nothing, a write at once, or a write in its turn. Pure.

use super::{
    record::{Before, MadeFrom, Roll},
    standing::Standing,
};

/// The Deployment as it is.
#[derive(Debug, Clone)]
pub struct Present {
    /// What its template was made from; none where an older operator made it.
    pub made_from: Option<MadeFrom>,
    /// The roll that is not settled as far as is noted, and how it stands.
    pub roll: Option<(Roll, Standing)>,
    /// How its worker is.
    pub worker: Before,
    /// Whether it is to have a pod.
    pub has_pod: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing has to wait; this roll goes on.
    Free(Option<Roll>),
    /// The template changes by our own doing: in its turn, as this roll.
    Paced(Roll),
}

/// What a stream needs whose template is to be made from `next`; `present` is none where there is no
/// Deployment, `stopped` says that it is to have no pod.
pub fn step(present: Option<&Present>, next: &MadeFrom, stopped: bool) -> Step {
    // Whoever has no running worker loses nothing.
    let Some(present) = present.filter(|present| present.has_pod && !stopped) else {
        return Step::Free(None);
    };
    let unsettled = present.roll.as_ref().filter(|(_, standing)| *standing != Standing::Settled);
    match &present.made_from {
        Some(made_from) if made_from.template == next.template => {
            Step::Free(unsettled.map(|(roll, _)| *roll))
        }
        Some(made_from) if made_from.is_left_by_request(next) => Step::Free(None),
        _ => Step::Paced(match unsettled {
            // It must become what it was before the rolls began.
            Some((roll, standing)) => Roll {
                before: roll.before.max(present.worker),
                again: roll.again || matches!(standing, Standing::Failed(_)),
            },
            None => Roll { before: present.worker, again: false },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_from(template: &str, generation: i64, asked: &str) -> MadeFrom {
        MadeFrom {
            template: template.to_owned(),
            asked: asked.to_owned(),
            generation,
            restarted_at: None,
        }
    }

    fn present() -> Present {
        Present {
            made_from: Some(made_from("old", 3, "a")),
            roll: None,
            worker: Before::Ready,
            has_pod: true,
        }
    }

    const FIRST: Roll = Roll { before: Before::Ready, again: false };

    #[test]
    fn only_a_change_of_ours_to_a_running_worker_takes_turns() {
        let ours = made_from("new", 3, "a");
        assert_eq!(step(Some(&present()), &ours, false), Step::Paced(FIRST));
        assert_eq!(step(None, &ours, false), Step::Free(None), "the first creation");
        assert_eq!(step(Some(&present()), &ours, true), Step::Free(None), "a stop");
        let stopped = Present { has_pod: false, ..present() };
        assert_eq!(step(Some(&stopped), &ours, false), Step::Free(None), "a start");
        let edited = made_from("new", 4, "b");
        assert_eq!(step(Some(&present()), &edited, false), Step::Free(None), "an edit");
        let same = made_from("old", 4, "a");
        assert_eq!(step(Some(&present()), &same, false), Step::Free(None), "nothing");
    }

    #[test]
    fn what_an_older_operator_made_takes_turns() {
        let unknown = Present { made_from: None, ..present() };
        assert_eq!(step(Some(&unknown), &made_from("new", 3, "a"), false), Step::Paced(FIRST));
    }

    #[test]
    fn a_roll_stays_noted_until_it_is_settled() {
        let same = made_from("old", 3, "a");
        let with = |standing| Present { roll: Some((FIRST, standing)), ..present() };
        let failed = Standing::Failed("no image".to_owned());
        assert_eq!(step(Some(&with(Standing::Rolling)), &same, false), Step::Free(Some(FIRST)));
        assert_eq!(step(Some(&with(failed)), &same, false), Step::Free(Some(FIRST)));
        assert_eq!(step(Some(&with(Standing::Settled)), &same, false), Step::Free(None));
    }

    #[test]
    fn the_roll_after_one_that_failed_is_measured_by_what_was_before_both() {
        let newer = made_from("newer", 3, "a");
        let failed = Present {
            roll: Some((FIRST, Standing::Failed("no image".to_owned()))),
            worker: Before::Down,
            ..present()
        };
        let again = Roll { before: Before::Ready, again: true };
        assert_eq!(step(Some(&failed), &newer, false), Step::Paced(again));
        let third = Present { roll: Some((again, Standing::Rolling)), ..failed };
        assert_eq!(step(Some(&third), &newer, false), Step::Paced(again), "still not proven");
    }
}
