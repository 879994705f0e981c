//! Whether anybody answers where a role's calls go.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Config;

use super::{Api, Iam, Refusal};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

impl Config {
    /// Where the calls of a role go that trains in those regions, each address with its service.
    pub fn endpoints<'a>(
        &self,
        regions: impl IntoIterator<Item = &'a str>,
    ) -> BTreeMap<String, &'static str> {
        let vertex = regions.into_iter().map(|it| (self.vertex_endpoint(it), "Vertex AI"));
        let others = [(Api::PubSub, "Pub/Sub"), (Api::Storage, "Cloud Storage")];
        vertex.chain(others.map(|(api, name)| (self.host(api), name))).collect()
    }
}

impl Iam {
    /// Waits for any answer at all: nobody is told who asks, and a refusal will do.
    pub async fn reach(&self, url: &str) -> Result<(), Refusal> {
        let ask = async || {
            let sent = self.http.get(url).timeout(self.left()).send().await;
            sent.map(drop).map_err(|error| silent(&error.without_url()))
        };
        self.insist(ask).await
    }

    /// Asks the same until there is an answer, of use or not, or the time is over.
    pub async fn insist<T>(&self, ask: impl AsyncFn() -> Result<T, Refusal>) -> Result<T, Refusal> {
        loop {
            let answer = ask().await;
            if !matches!(answer, Err(Refusal::Silent(_))) || self.left() <= PAUSE {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Why nothing was heard.
pub(super) fn silent(error: &(dyn std::error::Error + 'static)) -> Refusal {
    Refusal::Silent(format!("no answer: {}", causes(error)))
}

/// An error down to its first cause.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |it| it.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_once_whatever_it_is_for() {
        let config = Config {
            pubsub_endpoint: Some("http://127.0.0.1:1".to_owned()),
            vertex_endpoint: Some("http://127.0.0.1:2".to_owned()),
            ..Config::default()
        };
        let endpoints = config.endpoints(["europe-west4", "us-central1"]);
        let expected = [
            ("http://127.0.0.1:1", "Pub/Sub"),
            ("http://127.0.0.1:2", "Vertex AI"),
            ("https://storage.googleapis.com", "Cloud Storage"),
        ];
        assert_eq!(endpoints, expected.map(|(url, name)| (url.to_owned(), name)).into());
        let google = Config::default().endpoints(["europe-west4", "us-central1"]);
        assert_eq!(google.len(), 4);
        assert_eq!(google["https://us-central1-aiplatform.googleapis.com"], "Vertex AI");
    }
}
