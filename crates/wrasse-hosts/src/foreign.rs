//! What other hosts left behind: found, classified, ended, explained.
//!
//! ```text
//! processes ─ ends ─┐
//! known ─ live ─────┼─ trees ─┐
//! openclaw/records ─┴─ matching ─ judging ─ discover ─ report ─┬─ reap   ends what may be ended
//! openclaw/facts ──────────────────────────────────────────────┴─ story  says why it is there
//! ```
//!
//! Looking changes nothing: records of other programs are read without a trace, processes in `/proc`. What is not
//! certain is *unknown*, and nobody can have what is unknown or in use ended. Names decide nothing by themselves: a
//! server is known by its whole command line, its holder by the other end of its stdin, its session by times that leave
//! no other.
//!
//! What it deliberately does not do: ask a host anything, change its files, speak MCP.

mod checkup;
mod configured;
mod discover;
mod ends;
mod judging;
mod known;
mod live;
mod matching;
pub mod openclaw;
mod processes;
mod reap;
mod report;
mod story;
mod trees;
mod unix_peers;
mod watch;

pub use checkup::{Checkup, checkup};
pub use discover::{Options, WATCH, discover};
pub use known::{Evidence, KnownServer};
pub use live::LiveHost;
pub use processes::{Identity, Scope};
pub use reap::{Grace, Outcome, ReapError, Reaped, past, reap};
pub use report::{Class, Owner, Report, Set};
pub use story::{Story, story};
pub use trees::{Hold, Tree};
