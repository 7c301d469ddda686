//! The first way through the range: how its tables were described when.

use archive::read_back::{Leg, Stretch};
use binlog::{Finding, Framed, Framer, Survey, TableName};
use crds::conditions::Reason;
use crds::position::FilePosition;

use super::feed::Taker;
use crate::fault::{Fault, chain};

/// Follows the events and asks each what it says of the tables.
pub(super) struct Learner {
    survey: Survey,
    framer: Framer,
    events: u64,
}

impl Learner {
    pub(super) fn new(tables: impl IntoIterator<Item = TableName>) -> Self {
        let nowhere = FilePosition::new("", FilePosition::FIRST_EVENT);
        Self { survey: Survey::new(tables), framer: Framer::new(&nowhere), events: 0 }
    }

    /// What was learned, by number of event.
    pub(super) fn finish(self) -> Vec<Finding> {
        self.survey.finish()
    }
}

impl Taker for Learner {
    async fn begin(&mut self, _n: u64, _stretch: &Stretch) -> Result<(), Fault> {
        self.survey.begin(self.events);
        Ok(())
    }

    async fn event(&mut self, event: &[u8]) -> Result<(), Fault> {
        let framed = self
            .framer
            .accept(event)
            .map_err(|error| Fault::archive(Reason::ArchiveDamaged, chain(&error)))?;
        if let Framed::Event(frame) = framed {
            self.survey.observe(self.events, &frame);
        }
        self.events += 1;
        Ok(())
    }

    async fn begin_leg(&mut self, _leg: &Leg) -> Result<(), Fault> {
        Ok(())
    }
}
