//! The gateway's own log: one line an event on stderr, `WRASSE_LOG` filters it.

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Starts logging. A stderr that is closed loses the lines and nothing else.
pub(crate) fn start(verbose: u8) {
    let default = match verbose {
        0 => "info,rmcp=error,sqlx=warn,hyper=warn,reqwest=warn",
        1 => "debug,rmcp=warn,sqlx=warn,hyper=warn,reqwest=warn",
        _ => "trace,rmcp=info,sqlx=info,hyper=info,reqwest=info",
    };
    let filter = EnvFilter::try_from_env("WRASSE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let installed = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .event_format(Line)
        .with_writer(Stderr)
        .try_init();
    if let Err(error) = installed {
        tracing::debug!(%error, "logging had been started already");
    }
}

struct Stderr;

impl MakeWriter<'_> for Stderr {
    type Writer = Deaf;

    fn make_writer(&self) -> Deaf {
        Deaf
    }
}

/// Writes to stderr and ignores that nobody listens.
struct Deaf;

impl std::io::Write for Deaf {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        drop(std::io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `07:00:41 WARN text field=value`.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        write!(writer, "{} ", clock())?;
        if level != tracing::Level::INFO {
            write!(writer, "{level} ")?;
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// The local time of day, as log and run lines begin.
fn clock() -> impl fmt::Display {
    chrono::Local::now().format("%H:%M:%S")
}
