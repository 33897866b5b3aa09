//! The closed list of task kinds, and what happens to each when its scope is cancelled or it panics.

use std::fmt;

/// What becomes of a task when the token of its scope is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCancel {
    /// The task watches the token itself and ends in its own order; joining waits for it.
    Wait,
    /// The task is dropped at its next await: it owns nothing that needs an order.
    Abort,
}

/// What becomes of the scope when one of its tasks panics. The panic is logged either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPanic {
    /// The scope cannot do its work without the task: its token is cancelled.
    FailScope,
    /// The others go on.
    Log,
}

/// Makes the enum, its names and its policies from one table, so that no kind can be without any of them.
macro_rules! task_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $on_cancel:ident, $on_panic:ident;)*) => {
        /// What a task is for. Closed: a new kind is a decision about its policy.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum TaskKind { $($(#[$doc])* $kind,)* }

        impl TaskKind {
            /// Every kind.
            pub const ALL: &'static [TaskKind] = &[$(TaskKind::$kind,)*];

            /// The name in logs and reports.
            pub const fn name(self) -> &'static str {
                match self { $(TaskKind::$kind => $name,)* }
            }

            /// The policy when the scope is cancelled.
            pub const fn on_cancel(self) -> OnCancel {
                match self { $(TaskKind::$kind => OnCancel::$on_cancel,)* }
            }

            /// The policy when the task panics.
            pub const fn on_panic(self) -> OnPanic {
                match self { $(TaskKind::$kind => OnPanic::$on_panic,)* }
            }
        }
    };
}

task_kinds! {
    /// Fires scheduled jobs.
    Scheduler = "scheduler", Wait, FailScope;
    /// One run of an agent: has leases to release.
    Run = "run", Wait, Log;
    /// Ends what a session held after it was reset, deleted or stopped.
    SessionEnd = "session end", Wait, Log;
    /// The driver of one instance: ends its tree before it ends.
    Instance = "instance", Wait, Log;
    /// Reads or writes the wire of one server.
    Wire = "wire", Abort, Log;
    /// Reads the stderr of one server up to its end; a server whose stderr is not read blocks.
    StderrDrain = "stderr drain", Wait, Log;
    /// Accepts connections.
    HttpServer = "http server", Wait, FailScope;
    /// One request that changes state: goes on when its connection is gone.
    RequestHandler = "request handler", Wait, Log;
    /// Counts processes and memory.
    Accounting = "accounting", Abort, Log;
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
