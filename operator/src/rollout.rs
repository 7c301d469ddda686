//! Rollouts of our own making, paced over the fleet.
//!
//! A new default image, a changed default of the chart, an upgrade of the operator: each changes the
//! pod template of every stream at once. Those changes, and only those, take turns: so many at a time,
//! the next only when one is Ready again, none any more after three failures. What people change in a
//! stream's own spec or annotations, a first creation and every stop go at once.
//!
//! - What stands on the Deployments is all there is to know (`record`): a restarted operator, or
//!   another leader, goes on where the last one was.
//! - `standing` says how one roll goes, `step` what one stream needs, `pace` who may go: all pure.
//! - `turns` is the list of who waits and who was let go, `conductor` looks at the fleet each second.

pub mod conductor;
pub mod pace;
pub mod record;
pub mod standing;
pub mod step;
pub mod turns;
