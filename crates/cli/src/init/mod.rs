//! `branchline init`: writes what a repository needs to train, after a few questions.

mod answers;
mod ask;
mod texts;

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use crate::exit;
use crate::publish;
use crate::publish::repository::Repository;
use ask::Asker;

const CONFIG: &str = "branchline.yaml";
const CI: &str = ".gitlab-ci.yml";

/// Write branchline.yaml and what GitLab CI includes, for this repository
///
/// On a terminal it asks for what the options leave open; elsewhere it tells all that is missing.
/// The platform team knows project, region, buckets, topic, component and its image, provider and
/// service account. branchline.yaml is written once it has passed the checks of publish. A
/// .gitlab-ci.yml that is there already stays as it is: what to add to it is printed on stdout.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Name of the run [default: as the repository, or the directory in it]
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Google Cloud project that trains
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Region of Vertex AI, such as europe-west4
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Bucket that artifacts are uploaded to
    #[arg(long, value_name = "BUCKET")]
    bucket: Option<String>,
    /// Topic of requests, projects/PROJECT/topics/TOPIC; not always in the project that trains
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Bucket of the run ledger, by which a CI job follows its run
    #[arg(long, value_name = "BUCKET")]
    ledger: Option<String>,
    /// Container image that trains
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Script that the image runs, .py or .sh; none for its own entry point [default: train.py or
    /// train.sh, where there is one]
    #[arg(long, value_name = "FILE")]
    script: Option<String>,
    /// Data: a file or glob in the repository, or a URI in Cloud Storage; none for no data
    /// [default: data/**, where there is one]
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// Service account that jobs train as; none for Vertex AI's own, which policies should not allow
    /// [default: none]
    #[arg(long, value_name = "EMAIL")]
    training_account: Option<String>,
    /// Component that asks for the run, GROUP/PROJECT/train@VERSION on this GitLab
    #[arg(long, value_name = "COMPONENT")]
    component: Option<String>,
    /// Container image with branchline, for the CI job [default: none, the group's variable
    /// `BRANCHLINE_IMAGE`]
    #[arg(long, value_name = "IMAGE")]
    ci_image: Option<String>,
    /// Workload Identity provider that trusts GitLab,
    /// projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER [default: none,
    /// the group's variable `BRANCHLINE_PROVIDER`]
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// Service account that the CI job becomes [default: none, the group's variable
    /// `BRANCHLINE_SERVICE_ACCOUNT`]
    #[arg(long, value_name = "EMAIL")]
    service_account: Option<String>,
    /// Print the files instead of writing them
    #[arg(long)]
    dry_run: bool,
    /// Replace a branchline.yaml that is there already
    #[arg(long, conflicts_with = "dry_run")]
    force: bool,
}

const AFTER_HELP: &str = "\
Examples:
  branchline init
  branchline init --dry-run
  branchline init --project acme-ml --region europe-west4 --bucket acme-artifacts \\
      --topic projects/acme/topics/artifact-ready --ledger acme-ledger \\
      --image europe-docker.pkg.dev/acme-ml/train/iris:1.0 \\
      --component platform/branchline/train@1.0.0

Exit codes:
  0   written            1   the answers ended       64  an option is missing or wrong
  66  no git repository  73  a file is there already, or cannot be written";

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing is there to be set up.
    #[error("this directory is in no git repository; go to one, or make one by git init")]
    NoRepository,
    /// Directories are looked for.
    #[error("looking at this directory")]
    Directory(#[source] io::Error),
    /// A CI job would have to quote it.
    #[error(
        "the path {0:?} does not fit into a CI job; use directories of letters, digits, . _ and -"
    )]
    Path(String),
    /// It may hold somebody's work.
    #[error("{0} is there already; --force replaces it, --dry-run shows what would be in it")]
    Exists(&'static str),
    /// Nobody can be asked, or not all that was given is right.
    #[error("nothing was written:\n  {}", .0.join("\n  "))]
    Usage(Vec<String>),
    /// Ctrl-D.
    #[error("nothing was written, because the answers ended")]
    Ended,
    /// The terminal is gone.
    #[error("reading an answer")]
    Read(#[source] io::Error),
    /// Every answer was right, and the file is not.
    #[error("nothing was written, because of a bug: the file that was made")]
    Bug(#[source] publish::Error),
    /// A file is not to be had.
    #[error("writing {0}")]
    Write(&'static str, #[source] io::Error),
}

impl Error {
    /// What the process ends with.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::NoRepository | Self::Directory(_) | Self::Read(_) => exit::NO_INPUT,
            Self::Path(_) | Self::Usage(_) => exit::USAGE,
            Self::Exists(_) | Self::Write(..) => exit::CANNOT_CREATE,
            Self::Ended => exit::DECLINED,
            Self::Bug(_) => exit::SOFTWARE,
        }
    }
}

/// Asks, checks and writes.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let place = Place::here()?;
    if place.has_config && !args.force && !args.dry_run {
        return Err(Error::Exists(CONFIG).into());
    }
    let answers = answers::gather(args, &place.repository, Asker::new())?;
    let config = texts::config(&answers);
    publish::check(&config, CONFIG, &place.repository).map_err(Error::Bug)?;
    let include = texts::include(&answers, &place.config_in_root);
    if args.dry_run {
        let shown = format!("# {CONFIG}\n{config}---\n# {CI}\n{include}");
        return io::stdout().write_all(shown.as_bytes()).context("writing to stdout");
    }
    // Both are complete on the disk before either gets its name.
    let config = draft(CONFIG, &place.repository.directory, &config)?;
    let ci = if place.has_ci { None } else { Some(draft(CI, &place.repository.root, &include)?) };
    settle(CONFIG, &place.repository.directory, config, args.force)?;
    if let Some(ci) = ci {
        settle(CI, &place.repository.root, ci, false)?;
    } else {
        eprintln!("{CI} is there already; this belongs into it, below the include: it may have");
        io::stdout().write_all(include.as_bytes()).context("writing to stdout")?;
    }
    if answers.training_account.is_none() {
        eprintln!("no account is named that jobs train as: most policies reject such a run");
    }
    eprintln!("commit and push: the pipeline asks for the run {}", answers.run);
    Ok(())
}

/// Where the files go.
struct Place {
    repository: Repository,
    /// `branchline.yaml`, as it is called from the top of the repository.
    config_in_root: String,
    has_config: bool,
    has_ci: bool,
}

impl Place {
    fn here() -> Result<Self, Error> {
        let repository = Repository::around(Path::new(CONFIG)).map_err(Error::Directory)?;
        if !repository.root.join(".git").exists() {
            return Err(Error::NoRepository);
        }
        let below = repository.directory.strip_prefix(&repository.root);
        let below = below.expect("the root is an ancestor").join(CONFIG);
        let config_in_root = texts::plain_path(&below)
            .ok_or_else(|| Error::Path(below.to_string_lossy().into_owned()))?;
        // A link to nowhere is there, too.
        let is_there = |path: PathBuf| fs::symlink_metadata(path).is_ok();
        Ok(Self {
            has_config: is_there(repository.directory.join(CONFIG)),
            has_ci: is_there(repository.root.join(CI)),
            config_in_root,
            repository,
        })
    }
}

/// The whole file under a name of its own: nobody ever sees a part of it.
fn draft(name: &'static str, directory: &Path, text: &str) -> Result<NamedTempFile, Error> {
    // The umask takes its share of these.
    let open_to_all = Permissions::from_mode(0o666);
    let made = tempfile::Builder::new().permissions(open_to_all).tempfile_in(directory);
    let write = |mut it: NamedTempFile| {
        it.write_all(text.as_bytes())?;
        it.as_file().sync_all()?;
        Ok(it)
    };
    made.and_then(write).map_err(|error| Error::Write(name, error))
}

/// Gives it its name. What has the name meanwhile, file or link, is replaced only by force.
fn settle(
    name: &'static str,
    directory: &Path,
    file: NamedTempFile,
    force: bool,
) -> Result<(), Error> {
    let path = directory.join(name);
    let settled = if force { file.persist(&path) } else { file.persist_noclobber(&path) };
    settled.map_err(|it| Error::Write(name, it.error))?;
    eprintln!("wrote {name}");
    Ok(())
}
