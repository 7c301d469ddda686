//! The tests of this crate, in one binary.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod annotations;
#[cfg(test)]
mod api;
#[cfg(test)]
mod checkpoint;
#[cfg(test)]
mod conditions;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod position;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod units;
#[cfg(test)]
mod worker_config;
#[cfg(test)]
mod worker_status;
