//! `branchline schema`: what the messages look like, for other people's tools.

use std::io::{self, Write as _};

use branchline_contract::schemas;
use clap::builder::PossibleValuesParser;
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
    #[arg(value_name = "TYPE", value_parser = types())]
    event_type: Option<String>,
}

/// Prints one schema, or all by type.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let mut all: Map<_, _> =
        schemas().into_iter().map(|(it, schema)| (it.into(), schema)).collect();
    let schema = match &args.event_type {
        Some(event_type) => all.remove(event_type).expect("one of the possible values"),
        None => Value::Object(all),
    };
    writeln!(io::stdout(), "{schema:#}")
}

fn types() -> PossibleValuesParser {
    PossibleValuesParser::new(schemas().into_iter().map(|(event_type, _)| event_type))
}
