//! The executable `branchline`: the command line, and errors as one sentence.

mod audit;
mod completions;
mod confirm;
mod count;
mod dlq;
mod doctor;
mod env;
mod exit;
#[cfg(all(feature = "failpoints", debug_assertions))]
mod failpoints;
mod follow;
mod init;
#[cfg(feature = "local")]
mod local;
mod logs;
mod operate;
mod policy;
mod progress;
mod publish;
mod roles;
mod runs;
mod schema;
mod start;
mod style;
mod table;
mod terminal;

use std::process::ExitCode;

use anyhow::Context as _;
use branchline_service::config::ConfigErrors;
use branchline_service::telemetry::{self, chain};
use clap::{Parser, Subcommand};

/// From git branch to trained model
///
/// GitLab CI announces an artifact; Branchline checks it, decides whether it may train, submits
/// one Vertex AI job, watches it, and reports back where the commit lives.
#[derive(Debug, Parser)]
#[command(
    name = "branchline",
    version,
    after_help = "\
Exit codes are those of sysexits.h; `branchline help publish` lists them."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Publish(publish::Args),
    Worker(roles::Worker),
    Notifier(roles::Notifier),
    Fetch(runs::fetch::Args),
    Runs(operate::Runs),
    Dlq(dlq::Dlq),
    Pause(operate::Pause),
    Resume(operate::Resume),
    Policy(policy::Args),
    Audit(audit::Audit),
    Doctor(doctor::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    #[cfg(feature = "local")]
    Local(local::Args),
    #[cfg(feature = "local")]
    Demo(local::demo::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let wrong = error.use_stderr();
            // Nobody is left to tell when the terminal itself is gone.
            drop(error.print());
            return if wrong { exit::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match run(&cli.command) {
        Ok(code) => code.into(),
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&cli.command, &error);
            exit_code(&error).into()
        }
    }
}

fn run(command: &Command) -> anyhow::Result<u8> {
    let environment = env::process();
    match command {
        Command::Init(args) => init::run(args).map(|()| 0),
        Command::Publish(args) => Ok(runtime()?.block_on(publish::run(args, &environment))?),
        Command::Worker(args) => runtime()?.block_on(roles::worker(args, &environment)).map(|()| 0),
        Command::Notifier(args) => {
            runtime()?.block_on(roles::notifier(args, &environment)).map(|()| 0)
        }
        Command::Fetch(args) => runtime()?.block_on(runs::fetch::run(args, &environment)),
        Command::Runs(args) => runtime()?.block_on(operate::runs(args, &environment)),
        Command::Dlq(args) => runtime()?.block_on(dlq::run(args, &environment)),
        Command::Pause(args) => runtime()?.block_on(operate::pause(args, &environment)),
        Command::Resume(args) => runtime()?.block_on(operate::resume(args, &environment)),
        Command::Policy(args) => runtime()?.block_on(policy::run(args, &environment)),
        Command::Audit(args) => runtime()?.block_on(audit::run(args, &environment)),
        Command::Doctor(args) => runtime()?.block_on(doctor::run(args, &environment)),
        Command::Schema(args) => schema::run(args).context("writing to stdout").map(|()| 0),
        Command::Completions(args) => {
            completions::run(args).context("writing to stdout").map(|()| 0)
        }
        #[cfg(feature = "local")]
        Command::Local(args) => runtime()?.block_on(local::run(args)).map(|()| 0),
        #[cfg(feature = "local")]
        Command::Demo(args) => runtime()?.block_on(local::demo::run(args)).map(|()| 0),
    }
}

/// Says why it ends: where a role's log is, and otherwise to people.
fn tell(command: &Command, error: &anyhow::Error) {
    let format = match command {
        Command::Worker(args) => args.common.log_format,
        Command::Notifier(args) => args.common.log_format,
        _ => telemetry::Format::Human,
    };
    let sentences =
        match (error.downcast_ref::<start::Unfit>(), error.downcast_ref::<ConfigErrors>()) {
            (Some(unfit), _) => unfit.sentences(),
            (None, Some(ConfigErrors(all))) => all.iter().map(|it| chain(it)).collect(),
            (None, None) => vec![chain(error.as_ref())],
        };
    telemetry::tell(format, sentences);
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Runtime::new().context("starting the runtime")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|it| it.kind() == std::io::ErrorKind::BrokenPipe)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<publish::Error>() {
        return error.exit_code();
    }
    if let Some(error) = error.downcast_ref::<init::Error>() {
        return error.exit_code();
    }
    if let Some(error) = error.downcast_ref::<policy::Error>() {
        return error.exit_code();
    }
    if let Some(error) = error.downcast_ref::<runs::fetch::Error>() {
        return error.exit_code();
    }
    if let Some(error) = error.downcast_ref::<confirm::Unconfirmed>() {
        return error.exit_code();
    }
    if let Some(unfit) = error.downcast_ref::<start::Unfit>() {
        return unfit.exit_code();
    }
    if error.is::<dlq::Unusable>() {
        return exit::DATA;
    }
    if error.is::<operate::Usage>() {
        return exit::USAGE;
    }
    let configuration = error.is::<ConfigErrors>() || error.is::<operate::Misplaced>();
    let google = error.chain().find_map(|it| it.downcast_ref::<branchline_gcp::Error>());
    match google {
        _ if configuration => exit::CONFIG,
        Some(error) => exit::of_class(error.class()),
        None if error.is::<branchline_ledger::Error>() => exit::DATA,
        None if error.is::<std::io::Error>() => exit::CANNOT_CREATE,
        None => exit::SOFTWARE,
    }
}
