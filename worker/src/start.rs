//! What a session needs before it may write: the store, the judgement of the source, the first position.

pub mod archive;
pub mod history;
pub mod position;
pub mod store;
