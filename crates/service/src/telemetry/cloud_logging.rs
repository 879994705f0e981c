//! One JSON line per event, in the form that Cloud Logging's agent takes apart:
//! span fields become labels, event fields the payload.

use std::error::Error;
use std::fmt::Debug;
use std::io::Write;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// Cloud Logging takes entries of 256 KiB; no single text may fill one.
const TEXT_MAX: usize = 16 << 10;

/// Span field that carries the trace, `projects/P/traces/ID`.
pub(super) const TRACE: &str = "trace";
/// Span field that carries the id of the trace's span that a line belongs to. Our own spans are
/// known to no trace.
pub(super) const SPAN: &str = "trace.span";

/// Writes each event as one line.
pub(super) struct CloudLogging<W> {
    writer: W,
}

impl<W> CloudLogging<W> {
    pub(super) const fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<S, W> Layer<S> for CloudLogging<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let span = context.span(id).expect("the registry knows a new span");
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).expect("the registry knows a recorded span");
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = line(event, &context).to_string();
        line.push('\n');
        // Nothing is left to tell when stderr is gone.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(line.as_bytes());
    }
}

fn line<S>(event: &Event<'_>, context: &Context<'_, S>) -> Value
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let metadata = event.metadata();
    let mut fields = Fields::default();
    event.record(&mut fields);
    let message = fields.0.shift_remove("message").unwrap_or_else(|| metadata.name().into());
    let mut entry = Map::from_iter([
        ("severity".to_owned(), severity(*metadata.level()).into()),
        ("time".to_owned(), Timestamp::now().to_string().into()),
        ("message".to_owned(), message),
    ]);

    let mut labels = Map::new();
    for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
        if let Some(Fields(fields)) = span.extensions().get::<Fields>() {
            labels.extend(fields.iter().map(|(name, value)| (name.clone(), text(value))));
        }
    }
    if let Some(trace) = labels.shift_remove(TRACE) {
        entry.insert("logging.googleapis.com/trace".to_owned(), trace);
    }
    if let Some(span) = labels.shift_remove(SPAN) {
        entry.insert("logging.googleapis.com/spanId".to_owned(), span);
    }
    if !labels.is_empty() {
        entry.insert("logging.googleapis.com/labels".to_owned(), labels.into());
    }
    if *metadata.level() == Level::ERROR {
        let location = json!({
            "file": metadata.file(),
            "line": metadata.line().map(|it| it.to_string()),
            "function": metadata.target(),
        });
        entry.insert("logging.googleapis.com/sourceLocation".to_owned(), location);
    }
    for (name, value) in fields.0 {
        entry.entry(name).or_insert(value);
    }
    entry.into()
}

/// A line that no event is behind.
pub(super) fn error(message: &str) -> Value {
    json!({
        "severity": severity(Level::ERROR),
        "time": Timestamp::now().to_string(),
        "message": message[..message.floor_char_boundary(TEXT_MAX)],
    })
}

const fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

/// Labels are texts, whatever the field was.
fn text(value: &Value) -> Value {
    match value {
        Value::String(_) => value.clone(),
        value => value.to_string().into(),
    }
}

/// What a span or an event carries, in the order it was recorded.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, &value[..value.floor_char_boundary(TEXT_MAX)]);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &super::chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use expect_test::expect;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `act` logs, without what changes from run to run.
    fn logged(act: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = CloudLogging::new(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        let steady = text.lines().map(|line| {
            let mut entry: Map<String, Value> = serde_json::from_str(line).unwrap();
            let time = entry["time"].as_str().unwrap().to_owned();
            time.parse::<Timestamp>().unwrap();
            entry["time"] = "T".into();
            if let Some(location) = entry.get_mut("logging.googleapis.com/sourceLocation") {
                location["line"].as_str().unwrap().parse::<u32>().unwrap();
                location["line"] = "L".into();
            }
            Value::from(entry).to_string() + "\n"
        });
        steady.collect()
    }

    #[test]
    fn an_event_carries_the_fields_of_its_spans_as_labels() {
        let lines = logged(|| {
            let outer = tracing::info_span!(
                "delivery",
                messaging.message.id = "7",
                run.id = tracing::field::Empty,
                trace = tracing::field::Empty,
                trace.span = tracing::field::Empty,
            );
            let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            let trace = branchline_contract::TraceParent::parse(trace);
            super::super::record_trace(&outer, "projects/p/topics/t", trace);
            outer.record("run.id", "churn-0123456789abcdef0123");
            let _entered = outer.enter();
            tracing::info!(place = 3, waiting = true, "run was queued");
        });
        expect![[r#"
            {"severity":"INFO","time":"T","message":"run was queued","logging.googleapis.com/trace":"projects/p/traces/0af7651916cd43dd8448eb211c80319c","logging.googleapis.com/spanId":"b7ad6b7169203331","logging.googleapis.com/labels":{"messaging.message.id":"7","run.id":"churn-0123456789abcdef0123"},"place":3,"waiting":true}
        "#]].assert_eq(&lines);
    }

    #[test]
    fn an_error_says_where_it_was_logged_and_why() {
        let lines = logged(|| {
            let error = std::io::Error::other("disk on fire");
            tracing::error!(
                error = &error as &dyn Error,
                severity = "none",
                "fact was not written"
            );
        });
        expect![[r#"
            {"severity":"ERROR","time":"T","message":"fact was not written","logging.googleapis.com/sourceLocation":{"file":"crates/service/src/telemetry/cloud_logging.rs","line":"L","function":"branchline_service::telemetry::cloud_logging::tests"},"error":"disk on fire"}
        "#]].assert_eq(&lines);
    }

    #[test]
    fn foreign_text_stays_within_its_line_and_its_limit() {
        let lines = logged(
            || tracing::warn!(reason = %format!("a\nb\u{1b}[31m{}", "ü".repeat(TEXT_MAX)), "m"),
        );
        assert_eq!(lines.lines().count(), 1);
        let entry: Value = serde_json::from_str(&lines).unwrap();
        assert!(entry["reason"].as_str().unwrap().len() <= TEXT_MAX);
        assert_eq!(entry["severity"], "WARNING");
    }
}
