//! The process environment: read here once, and passed on as data.

use std::collections::BTreeMap;

use branchline_contract::IdToken;
use branchline_gcp::{Config, Credentials};

/// Variables by name.
pub(crate) type Environment = BTreeMap<String, String>;

/// The environment of this process. What is not UTF-8 is none of ours.
pub(crate) fn process() -> Environment {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Where Google Cloud is, for a command that has no configuration file of its own to say so.
pub(crate) fn google(environment: &Environment) -> Result<Config, String> {
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
    let config = Config {
        credentials,
        pubsub_endpoint: get("BRANCHLINE_PUBSUB_ENDPOINT"),
        storage_endpoint: get("BRANCHLINE_STORAGE_ENDPOINT"),
        vertex_endpoint: get("BRANCHLINE_VERTEX_ENDPOINT"),
        iam_endpoint: get("BRANCHLINE_IAM_ENDPOINT"),
    };
    match config.problems() {
        problems if problems.is_empty() => Ok(config),
        problems => Err(format!("in the BRANCHLINE_ variables, {}", problems.join("; "))),
    }
}

/// The Google ID token of whoever operates.
pub(crate) fn operator_token(environment: &Environment) -> Option<IdToken> {
    let token = environment.get("BRANCHLINE_OPERATOR_TOKEN")?.trim();
    (!token.is_empty()).then(|| IdToken(token.to_owned()))
}
