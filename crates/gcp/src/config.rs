//! Where Google Cloud is and who we are there. Nothing here talks to anybody.

use crate::error::{Error, Result};
use google_cloud_auth::credentials::{self, anonymous, mds};
use serde::Deserialize;

/// Endpoints and credentials of every door. The default is Google Cloud with
/// application default credentials; the environment's emulator variables are
/// not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who we are.
    pub credentials: Credentials,
    /// Whether the key file of a service account will do; otherwise nobody starts with one.
    pub allow_key_files: bool,
    /// Instead of `https://pubsub.googleapis.com`.
    pub pubsub_endpoint: Option<String>,
    /// Instead of `https://storage.googleapis.com`.
    pub storage_endpoint: Option<String>,
    /// Instead of Google's regional hosts; `{region}` stands for the region.
    pub vertex_endpoint: Option<String>,
    /// Instead of `https://logging.googleapis.com`.
    pub logging_endpoint: Option<String>,
    /// Instead of the metadata server that speaks for this machine's account; with it, nothing else
    /// is looked for.
    pub metadata_endpoint: Option<String>,
    /// Instead of all hosts of IAM, the Security Token Service, Resource Manager and Service Usage.
    pub iam_endpoint: Option<String>,
}

/// Where tokens come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// Workload identity, a metadata server or a credential file, as Google's
    /// libraries find them.
    #[default]
    ApplicationDefault,
    /// None at all, for an emulator.
    Anonymous,
}

impl Config {
    /// What is wrong with this configuration, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let endpoints = [
            ("pubsub_endpoint", &self.pubsub_endpoint, None),
            ("storage_endpoint", &self.storage_endpoint, None),
            ("vertex_endpoint", &self.vertex_endpoint, Some("{region}")),
            ("logging_endpoint", &self.logging_endpoint, None),
            ("metadata_endpoint", &self.metadata_endpoint, None),
            ("iam_endpoint", &self.iam_endpoint, None),
        ];
        endpoints
            .into_iter()
            .filter_map(|(key, endpoint, placeholder)| {
                problem(key, endpoint.as_deref()?, placeholder)
            })
            .collect()
    }

    pub(crate) fn check(&self, doing: &str) -> Result<()> {
        match self.problems().as_slice() {
            [] => Ok(()),
            problems => Err(Error::refused(doing, problems.join("; "))),
        }
    }

    pub(crate) fn credentials(&self, doing: &str) -> Result<credentials::Credentials> {
        let built = match (self.credentials, &self.metadata_endpoint) {
            (Credentials::Anonymous, _) => return Ok(anonymous::Builder::new().build()),
            (Credentials::ApplicationDefault, None) => credentials::Builder::default().build(),
            (Credentials::ApplicationDefault, Some(endpoint)) => {
                mds::Builder::default().with_endpoint(endpoint).build()
            }
        };
        built.map_err(|source| Error::no_credentials(doing, source))
    }

    /// The endpoint for one region of Vertex AI.
    pub(crate) fn vertex_endpoint(&self, region: &str) -> String {
        self.vertex_endpoint.as_ref().map_or_else(
            || format!("https://{region}-aiplatform.googleapis.com"),
            |it| it.replace("{region}", region),
        )
    }
}

fn problem(key: &str, endpoint: &str, placeholder: Option<&str>) -> Option<String> {
    // It is not quoted: a password goes with it.
    if endpoint.contains('@') {
        return Some(format!("{key} has a user in it: an endpoint is a scheme, a host and a port"));
    }
    let Some(rest) = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"))
    else {
        return Some(format!("{key} `{endpoint}` needs a scheme: http:// or https://"));
    };
    let host = placeholder.map_or_else(|| rest.to_owned(), |it| rest.replace(it, "region"));
    let host = host.strip_suffix('/').unwrap_or(&host);
    if host.is_empty() || host.starts_with(':') {
        return Some(format!("{key} `{endpoint}` names no host"));
    }
    if let Some(odd) =
        host.chars().find(|it| !it.is_ascii_alphanumeric() && !"-.:[]_".contains(*it))
    {
        return Some(format!(
            "{key} `{endpoint}` must be a scheme, a host and a port, without `{odd}`"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port() {
        let cases = [
            ("http://127.0.0.1:8085", ""),
            ("https://europe-west4-pubsub.googleapis.com/", ""),
            ("http://[::1]:80", ""),
            (
                "127.0.0.1:8085",
                "pubsub_endpoint `127.0.0.1:8085` needs a scheme: http:// or https://",
            ),
            ("", "pubsub_endpoint `` needs a scheme: http:// or https://"),
            ("http://", "pubsub_endpoint `http://` names no host"),
            (
                "http://user:secret@host",
                "pubsub_endpoint has a user in it: an endpoint is a scheme, a host and a port",
            ),
            (
                "user:secret@host",
                "pubsub_endpoint has a user in it: an endpoint is a scheme, a host and a port",
            ),
            ("http://:80", "pubsub_endpoint `http://:80` names no host"),
            (
                "http://host/v1",
                "pubsub_endpoint `http://host/v1` must be a scheme, a host and a port, without `/`",
            ),
            (
                "http://{region}.host",
                "pubsub_endpoint `http://{region}.host` must be a scheme, a host and a port, without `{`",
            ),
        ];
        for (endpoint, expected) in cases {
            let config = Config { pubsub_endpoint: Some(endpoint.to_owned()), ..Config::default() };
            assert_eq!(config.problems().concat(), expected);
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let bad = Some("host".to_owned());
        let config = Config {
            pubsub_endpoint: bad.clone(),
            storage_endpoint: bad.clone(),
            vertex_endpoint: bad,
            ..Config::default()
        };
        assert_eq!(config.problems().len(), 3);
    }

    #[test]
    fn a_region_has_its_own_vertex_host() {
        let mut config = Config::default();
        assert_eq!(
            config.vertex_endpoint("europe-west4"),
            "https://europe-west4-aiplatform.googleapis.com"
        );
        config.vertex_endpoint = Some("http://{region}.localhost:8080".to_owned());
        assert_eq!(config.problems(), Vec::<String>::new());
        assert_eq!(config.vertex_endpoint("us-east1"), "http://us-east1.localhost:8080");
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let cases = [
            ("{}", Ok(Credentials::ApplicationDefault)),
            (r#"{"credentials": "anonymous"}"#, Ok(Credentials::Anonymous)),
            (r#"{"credential": "anonymous"}"#, Err("unknown field `credential`")),
            (r#"{"credentials": "key_file"}"#, Err("unknown variant `key_file`")),
        ];
        for (text, expected) in cases {
            match (serde_json::from_str::<Config>(text), expected) {
                (Ok(config), Ok(expected)) => assert_eq!(config.credentials, expected),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (actual, expected) => panic!("{text}: expected {expected:?}, got {actual:?}"),
            }
        }
    }
}
