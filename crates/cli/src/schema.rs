//! `branchline schema`: what the messages look like, for other people's tools.

use std::io::{self, Write as _};

use branchline_contract::{ArtifactReady, RunEvent};
use schemars::schema_for;
use serde_json::{Map, Value};

/// Print the JSON Schemas of the messages
///
/// Messages are CloudEvents over Pub/Sub: the type is the attribute `ce-type`, the data is what
/// the schema describes. Without TYPE, one object holds the schemas of all types.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  branchline schema | jq keys
  branchline schema branchline.artifact.ready.v1 > ready.schema.json")]
pub(crate) struct Args {
    /// Event type, such as branchline.artifact.ready.v1
    #[arg(value_name = "TYPE", value_parser = TYPES)]
    event_type: Option<String>,
}

/// Prints one schema, or all by type.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let schema = match &args.event_type {
        Some(event_type) => schema(event_type),
        None => TYPES.iter().map(|it| ((*it).to_owned(), schema(it))).collect::<Map<_, _>>().into(),
    };
    writeln!(io::stdout(), "{schema:#}")
}

/// The run events differ in their type only.
fn schema(event_type: &str) -> Value {
    if event_type == READY { schema_for!(ArtifactReady) } else { schema_for!(RunEvent) }.to_value()
}

const READY: &str = "branchline.artifact.ready.v1";
const TYPES: [&str; 6] = [
    READY,
    "branchline.run.held.v1",
    "branchline.run.queued.v1",
    "branchline.run.submitted.v1",
    "branchline.run.running.v1",
    "branchline.run.completed.v1",
];
