//! `--scope shared`: shims with the same key use one server, through a small process of their own: the broker.
//!
//! ```text
//! host A ── shim ─┐                                  ┌ guardian ─ server
//!                 ├─ <state dir>/wrap/broker/<key>.sock ─ broker
//! host B ── shim ─┘
//! ```
//!
//! The first shim that needs the server starts the broker ([`launch`]), which belongs to no host and contains the server
//! like a shim does. There is one broker for each key, so that nothing that happens to one shared server touches
//! another. The key covers command, arguments, working directory, environment, the program's file, the agent of SSH
//! keys, and the protocol version, capabilities and name that the host opens with. A broker lives exactly as long as its
//! server: until nobody called it for the longest idle time of those attached, or until the last shim has gone.
//!
//! What must not be shared, because of another version, another user or a broker that cannot be started, is not: the
//! shim then has a server of its own, and says why.

mod frame;
mod guests;
mod hub;
mod launch;
mod link;
mod place;
mod serve;

pub use launch::dispatch;
pub(crate) use link::{NotAttached, attach};
