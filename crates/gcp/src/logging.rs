//! Cloud Logging: the entries that match a filter, page by page.

mod entry;
mod filter;

pub use entry::LogEntry;
pub use filter::{of_jobs, since};

use crate::call::{CALL_TIME_MAX, Call, RETRY_TIME_MAX, bounded};
use crate::config::Config;
use crate::error::Error;
use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_gax::retry_policy::{Aip194Strict, RetryPolicyExt as _};
use google_cloud_logging_v2::client::LoggingServiceV2;
use tracing::instrument;

/// Entries per page, the most that Cloud Logging gives.
const PAGE_SIZE: i32 = 1_000;

/// Cloud Logging.
#[derive(Clone, Debug)]
pub struct Logging {
    client: LoggingServiceV2,
}

/// One page of entries, the oldest first; it may be empty and not the last one.
#[derive(Clone, Debug)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<LogEntry>,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
}

impl Logging {
    /// Finds the credentials and builds the client.
    pub fn connect(config: &Config) -> Call<'_, Self> {
        const DOING: &str = "connecting to Cloud Logging";
        Box::pin(async move {
            config.check(DOING)?;
            let mut builder = LoggingServiceV2::builder()
                .with_credentials(config.credentials(DOING)?)
                .with_retry_policy(Aip194Strict.with_time_limit(RETRY_TIME_MAX));
            if let Some(endpoint) = &config.logging_endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            let client = builder.build().await.map_err(|it| Error::client(DOING, it))?;
            Ok(Self { client })
        })
    }

    /// One page of a project's entries that match Cloud Logging's own `filter`.
    #[instrument(name = "logging.list_entries", skip_all, fields(logging.project = project))]
    pub fn list<'a>(
        &'a self,
        project: &'a str,
        filter: &'a str,
        page_token: Option<String>,
    ) -> Call<'a, EntryPage> {
        Box::pin(async move {
            let request = self
                .client
                .list_log_entries()
                .set_resource_names([format!("projects/{project}")])
                .set_filter(filter)
                .set_order_by("timestamp asc")
                .set_page_size(PAGE_SIZE)
                .set_page_token(page_token.unwrap_or_default())
                // A POST, but it changes nothing.
                .with_idempotency(true);
            let doing = format!("reading the logs of project {project}");
            let answer = bounded(doing, CALL_TIME_MAX, request.send()).await?;
            Ok(EntryPage {
                entries: answer.entries.into_iter().map(LogEntry::from).collect(),
                next: Some(answer.next_page_token).filter(|it| !it.is_empty()),
            })
        })
    }
}
