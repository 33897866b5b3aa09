//! Exit codes, and the one error type the command line prints.

use std::process::ExitCode;

/// The documented exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    TimedOut = 2,
    FoundSomething = 3,
    Usage = 64,
    Unreachable = 69,
    Internal = 70,
    Refused = 75,
    TokenWrong = 77,
    ConfigFault = 78,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure that is understood: what happened, how to help it, and the code to leave with.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ExpectedError {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) help: Vec<String>,
}

impl ExpectedError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), help: Vec::new() }
    }

    /// Adds a command or a step that would help.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Prints the failure on stderr; a closed stderr is nobody's problem.
    pub(crate) fn print(&self) {
        use std::io::Write;
        let mut err = std::io::stderr().lock();
        drop(writeln!(err, "wrasse: {}", self.message));
        for help in &self.help {
            drop(writeln!(err, "  → {help}"));
        }
    }
}

/// A failure with everything behind it: the cause is what a person can cure.
pub(crate) fn failed(error: &dyn std::error::Error) -> ExpectedError {
    ExpectedError::new(Exit::Failed, wrasse_types::error_text(error))
}

/// What a command comes to.
pub(crate) type CommandResult = Result<ExitCode, ExpectedError>;
