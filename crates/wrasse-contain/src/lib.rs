//! Contained process trees: guardian protocol, stop ladder, sweep, accounting.
//!
//! ```text
//! warden     the launched pid itself; ends what is below when the gateway is gone      (warden)
//! └ gateway  this process: subreaper; its children are registered guardians            (containment, registry)
//!   └ guardian   one per tree; ends it when told to, or when we are gone               (spawn, guardian, view)
//!     └ server   its stdio are our pipes                                               (contained)
//! ```
//!
//! A tree is started in two steps, so that a durable record can be written in between:
//! [`Containment::prepare`] starts a guardian, [`Prepared::go`] has it start the server. The result,
//! [`Contained`], has one owner; [`Contained::stop`] is the way to end it and says how it ended.
//! Dropping any of them kills the tree too, but nobody learns how.
//!
//! ```text
//! (none) ── prepare ─→ Prepared ── go ─→ Contained ─→ Ending ── ECHILD ─→ Empty
//!    ↑          │          │                           ↑  │                ↑
//!    └─ refused ┘          └── dropped, or no exec ────┘  └─ late ─→ Stuck ┘ (it is never given up)
//!
//! Contained → Ending      ended by
//!   stop                  its guardian: end of input, SIGTERM, SIGKILL, as far as the leader needs
//!   kill, drop            its guardian: SIGKILL
//!   its leader exits      its guardian
//!   it is over a limit    its guardian, or the kernel
//!   its guardian dies     the adopter; it is killed if it is silent for a second
//!   we die                its guardian, or the warden
//! ```
//!
//! [`StopOutcome`] names the rung that worked and whether the tree is proven empty; [`ExitWatch`] tells of a leader
//! that ends by itself, which ends its tree.
//!
//! It holds whoever dies, alone or with others: the guardian ends its tree without us, we end a tree without its
//! guardian, the [`warden`] what both left behind, and the [`sweep`] of the next start what all three did. It does not hold
//! what another daemon starts for a server, what sleeps uninterruptibly, another user's process that may not be
//! signalled, or a fork bomb without any limit; and it needs pidfds to sweep. The README lists every hole.
//!
//! Three threads stand behind this: the watcher reads what guardians say and notices their deaths, the
//! adopter ends what a dead guardian leaves behind, and while there are trees the accountant counts what they
//! use and ends those over a limit. Nothing here needs a store, a config or a session.

mod accounts;
mod adopter;
mod cgroup;
mod contained;
mod containment;
mod error;
mod floor;
mod guardian;
mod image;
mod limits;
mod lookup;
mod mark;
pub mod outside;
mod owed;
mod pipes;
mod process;
mod readiness;
mod registry;
mod report;
mod search;
mod signal;
mod spawn;
pub mod sweep;
mod tree;
mod view;
pub mod warden;
mod watcher;

pub use accounts::{Excess, Resource, TreeAccount};
pub use cgroup::Layers;
pub use contained::{Contained, ExitWatch, Ladder, Prepared, StopOutcome};
pub use containment::{ContainOptions, Containment, Guard, SpawnSpec};
pub use error::{ContainError, SpawnError};
pub use floor::Prerequisite;
pub use limits::{Limits, raise_descriptor_limit};
pub use pipes::PipeSender;
pub use process::{ProcessIdentity, ProcessInfo, pid_namespace, processes_below};
pub use readiness::watch_fd;
pub use report::ContainReport;
pub use signal::{is_ignored, reset_sigchld};
pub use tokio::net::unix::pipe::Receiver as PipeReceiver;
pub use view::LeaderExit;
