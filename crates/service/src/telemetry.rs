//! Logs: for people on a terminal, as Cloud Logging's JSON lines otherwise.
//! Always on stderr, so that stdout stays a command's own output.

mod cloud_logging;

use std::error::Error;
use std::fmt;
use std::io::{IsTerminal, Write as _, stderr};
use std::panic;
use std::str::FromStr;

use branchline_contract::TraceParent;
use jiff::Timestamp;
use tracing::{Span, error};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use cloud_logging::{CloudLogging, SPAN, TRACE};

/// Longer texts of errors are cut.
const CHAIN_BYTES_MAX: usize = 4 << 10;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Human on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// Cloud Logging's structured lines.
    Json,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err("a log format is auto, human or json"),
        }
    }
}

impl Format {
    fn is_human(self) -> bool {
        match self {
            Self::Auto => stderr().is_terminal(),
            Self::Human => true,
            Self::Json => false,
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not in the form of `RUST_LOG`.
    #[error("reading the log filter {filter:?}")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Another subscriber was there first.
    #[error("installing the log subscriber")]
    Init(#[source] TryInitError),
}

/// Whether a filter is in the form of `RUST_LOG`.
pub fn check(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(filter)
        .map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })
}

/// Says why the process ends, a line each and in the form of its log, whatever the filter of that.
pub fn tell(format: Format, sentences: impl IntoIterator<Item = String>) {
    let mut out = stderr().lock();
    for sentence in sentences {
        let line = if format.is_human() {
            format!("error: {sentence}")
        } else {
            cloud_logging::error(&sentence).to_string()
        };
        // Nothing is left to tell when stderr is gone.
        let _ = writeln!(out, "{line}");
    }
}

/// Sets up logging for the process, panics included; `filter` is in the form of `RUST_LOG`.
pub fn init(format: Format, filter: &str) -> Result<(), TelemetryError> {
    let directives = check(filter)?;
    let terminal = stderr().is_terminal();
    let lines = if format.is_human() {
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(stderr)
            .with_target(false)
            .with_timer(Clock);
        if terminal { lines.boxed() } else { lines.with_ansi(false).boxed() }
    } else {
        CloudLogging::new(stderr).boxed()
    };
    tracing_subscriber::registry()
        .with(directives)
        .with(lines)
        .try_init()
        .map_err(TelemetryError::Init)?;
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        error!(place, reason = info.payload_as_str(), "panicked");
    }));
    Ok(())
}

/// Says to which trace the lines of a span belong. The span has the fields `trace` and
/// `trace.span`, empty until then. Cloud Logging wants the project to be named: it is the one of
/// `resource`, which begins with `projects/P/`.
pub fn record_trace(span: &Span, resource: &str, trace: Option<TraceParent>) {
    let Some(trace) = trace else { return };
    let project = resource.strip_prefix("projects/").and_then(|it| it.split('/').next());
    let id = trace.trace_id();
    let name = project.map_or_else(|| id.clone(), |it| format!("projects/{it}/traces/{id}"));
    span.record(TRACE, name).record(SPAN, trace.span_id());
}

/// An error and its causes in one line; a cause that the text already ends with is not repeated.
/// Cut to what a reader bears: decoders quote what strangers wrote.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    if text.len() > CHAIN_BYTES_MAX {
        text.truncate(text.floor_char_boundary(CHAIN_BYTES_MAX - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// Time of day in UTC: on a terminal the date is known.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", Timestamp::now().strftime("%H:%M:%S%.3fZ"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("reading the ledger")]
        Ledger(#[source] Box<Failure>),
        #[error("status 403: {0}")]
        Status(#[source] fmt::Error),
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = Failure::Ledger(Box::new(Failure::Status(fmt::Error)));
        let cause = fmt::Error.to_string();
        assert_eq!(chain(&error), format!("reading the ledger: status 403: {cause}"));
    }

    #[test]
    fn a_chain_is_cut_to_what_a_reader_bears() {
        let foreign = serde_json::from_str::<u8>(&format!("{:?}", "ü".repeat(9_000))).unwrap_err();
        let text = chain(&foreign);
        assert!(text.starts_with("invalid type: string \"üü"), "{text}");
        assert!(text.len() <= CHAIN_BYTES_MAX && text.ends_with("ü…"), "{} bytes", text.len());
    }

    #[test]
    fn a_bad_filter_is_named() {
        let error = init(Format::Json, "branchline=loud").unwrap_err();
        assert!(chain(&error).starts_with("reading the log filter \"branchline=loud\": "));
    }
}
