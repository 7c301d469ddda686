//! Which requests meet a fault, and which fault.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::sync::{mpsc, oneshot};

use crate::wait::within;
use crate::{Context, Result};

/// Requests by method and by a part of their path and query.
#[derive(Debug, Clone)]
pub struct Pick {
    method: Option<Method>,
    part: String,
    /// How many fitting requests pass before the fault.
    skip: usize,
    /// How many then meet it.
    count: usize,
}

impl Pick {
    /// Every request.
    pub fn all() -> Self {
        Self { method: None, part: String::new(), skip: 0, count: usize::MAX }
    }

    /// PUTs whose path and query contain `part`.
    pub fn put(part: &str) -> Self {
        Self { method: Some(Method::PUT), part: part.into(), ..Self::all() }
    }

    /// GETs whose path and query contain `part`.
    pub fn get(part: &str) -> Self {
        Self { method: Some(Method::GET), part: part.into(), ..Self::all() }
    }

    /// DELETEs whose path and query contain `part`.
    pub fn delete(part: &str) -> Self {
        Self { method: Some(Method::DELETE), part: part.into(), ..Self::all() }
    }

    /// Only the n-th fitting request from now on, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: usize) -> Self {
        (self.skip, self.count) = (n.saturating_sub(1), 1);
        self
    }

    /// Only the first `count` fitting requests from now on.
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// Whether this request meets the fault; counts it.
    fn takes(&mut self, method: &Method, target: &str) -> bool {
        if self.method.as_ref().is_some_and(|wanted| wanted != method)
            || !target.contains(&self.part)
        {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let takes = self.count > 0;
        self.count = self.count.saturating_sub(1);
        takes
    }
}

/// When a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the store has seen it.
    BeforeForward,
    /// After the store has answered, before the client hears of it.
    AfterForward,
}

/// What to do with a held request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Continue,
    DropReply,
}

/// A request that waits in the proxy.
#[derive(Debug)]
pub(super) struct Held {
    pub target: String,
    pub verdict: oneshot::Sender<Verdict>,
}

/// The test's end of a hold: sees the request arrive and decides when it goes on.
///
/// Dropped, it lets the request go on.
#[derive(Debug)]
pub struct Hold {
    pub(super) arrivals: mpsc::Receiver<Held>,
    pub(super) held: VecDeque<Held>,
}

impl Hold {
    /// Waits until a request is held; gives its path and query.
    pub async fn reached(&mut self, limit: Duration) -> Result<String> {
        let arrival = within("a request reaches the hold", limit, self.arrivals.recv()).await?;
        let held = arrival.context(|| "the proxy has ended")?;
        let target = held.target.clone();
        self.held.push_back(held);
        Ok(target)
    }

    /// Lets the oldest held request go on.
    pub fn release(&mut self) -> Result<()> {
        self.decide(Verdict::Continue)
    }

    /// Closes the connection of the oldest held request without an answer. A request held before
    /// forwarding never reaches the store.
    pub fn drop_reply(&mut self) -> Result<()> {
        self.decide(Verdict::DropReply)
    }

    fn decide(&mut self, verdict: Verdict) -> Result<()> {
        let held = self.held.pop_front().context(|| "no request is held")?;
        // The client may have given up; then there is nobody left to tell.
        held.verdict.send(verdict).or(Ok(()))
    }
}

/// What happens to a picked request.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    Hold(Moment, mpsc::Sender<Held>),
    Answer { status: StatusCode, code: String, moment: Moment },
    DropReply(Moment),
    Truncate,
    Delay(Duration),
    BlackHole,
}

/// The faults in force.
#[derive(Debug, Default)]
pub(super) struct Rules {
    faults: Vec<(Pick, Fault)>,
    /// Seconds added to the times the store reports.
    pub clock_shift: i64,
}

impl Rules {
    pub fn add(&mut self, pick: Pick, fault: Fault) {
        self.faults.push((pick, fault));
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The fault this request meets: of the oldest rule that takes it.
    pub fn fault(&mut self, method: &Method, target: &str) -> Option<Fault> {
        let taken = self
            .faults
            .iter_mut()
            .find_map(|(pick, fault)| pick.takes(method, target).then_some(fault));
        taken.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meets(rules: &mut Rules, method: &Method, target: &str) -> bool {
        rules.fault(method, target).is_some()
    }

    #[test]
    fn only_the_nth_fitting_request_meets_the_fault() {
        let mut rules = Rules::default();
        rules.add(Pick::put("/log/").nth(2), Fault::BlackHole);
        assert!(!meets(&mut rules, &Method::PUT, "/bucket/log/1"));
        assert!(!meets(&mut rules, &Method::GET, "/bucket/log/2"));
        assert!(!meets(&mut rules, &Method::PUT, "/bucket/raw/2"));
        assert!(meets(&mut rules, &Method::PUT, "/bucket/log/2"));
        assert!(!meets(&mut rules, &Method::PUT, "/bucket/log/3"));
    }
}
