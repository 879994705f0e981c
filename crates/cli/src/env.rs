//! The process environment: read here once, and passed on as data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use branchline_contract::IdToken;
use branchline_gcp::{Config, Credentials};

/// Variables by name.
pub(crate) type Environment = BTreeMap<String, String>;

/// What stands for bytes of a value that are no UTF-8.
const FOREIGN: char = char::REPLACEMENT_CHARACTER;

/// The environment of this process. What is not UTF-8 is none of ours, but it is there for others.
pub(crate) fn process() -> Environment {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Where Google Cloud is, for a command that has no configuration file of its own to say so.
pub(crate) fn google(environment: &Environment) -> Result<Config, String> {
    let config = google_with_any_key(environment)?;
    keyless(environment, &config).map_err(|it| it.to_string())?;
    Ok(config)
}

/// The same for whoever says more about a key file than that it is refused.
pub(crate) fn google_with_any_key(environment: &Environment) -> Result<Config, String> {
    let get = |name: &str| environment.get(name).filter(|it| !it.is_empty()).cloned();
    let credentials = match get("BRANCHLINE_CREDENTIALS").as_deref() {
        None | Some("application_default") => Credentials::ApplicationDefault,
        Some("anonymous") => Credentials::Anonymous,
        Some(other) => {
            return Err(format!(
                "BRANCHLINE_CREDENTIALS is {other:?}; it may be application_default or anonymous"
            ));
        }
    };
    let allow_key_files = match get("BRANCHLINE_ALLOW_KEY_FILES").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            return Err(format!(
                "BRANCHLINE_ALLOW_KEY_FILES is {other:?}; it may be true or false"
            ));
        }
    };
    let config = Config {
        credentials,
        allow_key_files,
        pubsub_endpoint: get("BRANCHLINE_PUBSUB_ENDPOINT"),
        storage_endpoint: get("BRANCHLINE_STORAGE_ENDPOINT"),
        vertex_endpoint: get("BRANCHLINE_VERTEX_ENDPOINT"),
        iam_endpoint: get("BRANCHLINE_IAM_ENDPOINT"),
        metadata_endpoint: None,
    };
    match config.problems() {
        problems if problems.is_empty() => Ok(config),
        problems => Err(format!("in the BRANCHLINE_ variables, {}", problems.join("; "))),
    }
}

/// Credentials that Google's libraries would find are the key of a service account, or may be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFile {
    #[error(
        "{} is the key of a service account: whoever copies it is that account until somebody \
         notices. Use Workload Identity, or in CI a credential file of the type external_account; \
         allow_key_files: true below google (BRANCHLINE_ALLOW_KEY_FILES=true) takes it all the same",
        .0.display()
    )]
    Key(PathBuf),
    #[error("{0} is a path that is no UTF-8: nobody can tell here whether a key lies there")]
    Foreign(&'static str),
}

/// Refuses key files, unless they are allowed. They are looked for where Google's libraries do.
pub(crate) fn keyless(environment: &Environment, config: &Config) -> Result<(), KeyFile> {
    let own = config.credentials == Credentials::ApplicationDefault;
    if config.allow_key_files || config.metadata_endpoint.is_some() || !own {
        return Ok(());
    }
    let get = |name: &str| environment.get(name).filter(|it| !it.is_empty());
    let (variable, path) = match (get("GOOGLE_APPLICATION_CREDENTIALS"), get("HOME")) {
        (Some(path), _) => ("GOOGLE_APPLICATION_CREDENTIALS", PathBuf::from(path)),
        (None, Some(home)) => {
            let path = Path::new(home).join(".config/gcloud/application_default_credentials.json");
            ("HOME", path)
        }
        (None, None) => return Ok(()),
    };
    if path.to_string_lossy().contains(FOREIGN) {
        return Err(KeyFile::Foreign(variable));
    }
    // What is no credential file is told by who needs credentials.
    let file = std::fs::read(&path).ok().and_then(|it| serde_json::from_slice(&it).ok());
    if file.as_ref().is_some_and(is_key) { Err(KeyFile::Key(path)) } else { Ok(()) }
}

/// Whether credentials are a key, or stand for another account by means of one.
fn is_key(file: &serde_json::Value) -> bool {
    [file, &file["source_credentials"]].iter().any(|it| it["type"] == "service_account")
}

/// The Google ID token of whoever operates.
pub(crate) fn operator_token(environment: &Environment) -> Option<IdToken> {
    let token = environment.get("BRANCHLINE_OPERATOR_TOKEN")?.trim();
    (!token.is_empty()).then(|| IdToken(token.to_owned()))
}
