//! Faults on the wire: an HTTP proxy in front of S3 and a TCP proxy in front of a database. And a forward proxy,
//! as networks have them.

mod forward;
mod http;
mod rules;
mod tcp;

pub use forward::ForwardProxy;
pub use http::{HttpProxy, Seen};
pub use rules::{Hold, Moment, Pick};
pub use tcp::TcpProxy;
