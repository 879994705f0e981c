//! `branchline audit`: what the ledger says of a run, whether it is still what
//! was written, and all of it as a table. These commands only read.

mod detail;
mod export;
mod moment;
mod row;
mod show;
mod verify;
mod why;

use std::sync::Arc;

use branchline_contract::RunId;
use branchline_gcp::Config;
use branchline_gcp::storage::Storage;
use branchline_ledger::{Stored, Trail};
use clap::Subcommand;

use crate::env::{self, Environment};
use crate::exit;
use crate::operate::Misplaced;

pub(crate) use detail::detail;
pub(crate) use moment::{is_within, moment};

const AFTER_HELP: &str = "\
Environment:
  BRANCHLINE_CREDENTIALS          application_default (the default) or anonymous
  BRANCHLINE_STORAGE_ENDPOINT     instead of Google's own
  BRANCHLINE_VERTEX_ENDPOINT      instead of Google's own

Exit codes:
  0   all is well                      65  the ledger is not what was written
  64  wrong usage                      66  there is no such run, job or bucket
  69  refused                          75  try again
  77  not allowed                      78  wrong environment";

/// Read the audit trail: who asked, what was decided, what ran, and whether it was tampered with
#[derive(Debug, clap::Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Show(show::Args),
    Why(why::Args),
    Verify(verify::Args),
    Export(export::Args),
}

/// Where the ledger is.
#[derive(Debug, clap::Args)]
pub(crate) struct Ledger {
    /// Bucket of the run ledger, `ledger_bucket` in worker.yaml
    #[arg(long, value_name = "BUCKET", env = "BRANCHLINE_LEDGER_BUCKET")]
    ledger_bucket: String,
}

/// Reads the audit trail.
pub(crate) async fn run(args: &Audit, environment: &Environment) -> anyhow::Result<u8> {
    let google = env::google(environment).map_err(Misplaced)?;
    match &args.command {
        AuditCommand::Show(args) => show::run(args, &google).await,
        AuditCommand::Why(args) => why::run(args, &google).await,
        AuditCommand::Verify(args) => verify::run(args, &google).await,
        AuditCommand::Export(args) => export::run(args, &google).await,
    }
}

impl Ledger {
    /// The ledger, for reading.
    pub(crate) async fn connect(&self, google: &Config) -> anyhow::Result<Trail> {
        let storage = Arc::new(Storage::connect(google).await?);
        Ok(Trail::new(storage, self.ledger_bucket.clone()))
    }
}

/// The facts of a run. Without its project that is looked for in the ledger's listing.
async fn find(trail: &Trail, run: &RunId, project_id: Option<u64>) -> anyhow::Result<Vec<Stored>> {
    let project_id = match project_id {
        Some(it) => Some(it),
        None => trail.project_of(run).await?,
    };
    match project_id {
        Some(project_id) => Ok(trail.run(project_id, run).await?),
        None => Ok(Vec::new()),
    }
}

/// Tells that there is nothing, and ends so.
fn absent(what: &str) -> u8 {
    eprintln!("error: {what}");
    exit::NO_INPUT
}
