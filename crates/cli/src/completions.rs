//! `branchline completions`: what a shell needs to complete our command line.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(branchline completions bash)
  branchline completions fish > ~/.config/fish/completions/branchline.fish")]
pub(crate) struct Args {
    /// Shell to complete for
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    // Into memory first: the generator panics where a reader hangs up.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "branchline", &mut script);
    io::stdout().write_all(&script)
}
