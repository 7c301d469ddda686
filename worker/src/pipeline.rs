//! From the source's bytes to the archive's entries: read, assemble, cut, hand over.

pub mod assemble;
pub mod cut;
pub mod error;
pub mod held;
mod pace;
pub mod prepared;
pub mod raw;
pub mod recall;
pub mod ship;
pub mod spool;
pub mod stream;
