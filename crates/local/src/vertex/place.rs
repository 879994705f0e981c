//! Where jobs live: projects, locations and the names made from them.

use super::error::{Answer, Refusal};
use super::kind::Kind;

/// The regions in which Vertex AI runs training.
const REGIONS: &[&str] = &[
    "africa-south1",
    "asia-east1",
    "asia-east2",
    "asia-northeast1",
    "asia-northeast2",
    "asia-northeast3",
    "asia-south1",
    "asia-southeast1",
    "asia-southeast2",
    "australia-southeast1",
    "australia-southeast2",
    "europe-central2",
    "europe-north1",
    "europe-southwest1",
    "europe-west1",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "europe-west6",
    "europe-west8",
    "europe-west9",
    "europe-west12",
    "me-central1",
    "me-central2",
    "me-west1",
    "northamerica-northeast1",
    "northamerica-northeast2",
    "southamerica-east1",
    "southamerica-west1",
    "us-central1",
    "us-east1",
    "us-east4",
    "us-east5",
    "us-south1",
    "us-west1",
    "us-west2",
    "us-west3",
    "us-west4",
];

/// A project in a region, the parent of every job.
#[derive(Clone, Debug)]
pub(super) struct Place(String);

impl Place {
    /// Reads the two path segments of a request.
    pub(super) fn new(project: &str, location: &str) -> Answer<Self> {
        if !REGIONS.contains(&location) {
            return Err(Refusal::invalid(format!("Unsupported location: {location}")));
        }
        Ok(Self(format!("projects/{}/locations/{location}", project_number(project))))
    }

    /// The name of one of the place's resources.
    pub(super) fn name(&self, collection: &str, id: &str) -> String {
        format!("{}/{collection}/{id}", self.0)
    }

    /// What the names of all jobs of a kind start with.
    pub(super) fn prefix(&self, kind: Kind) -> String {
        self.name(kind.collection(), "")
    }
}

/// Vertex AI answers with project numbers, whichever form the request names.
/// A project id has the same made-up number wherever the stack runs.
pub(crate) fn project_number(project: &str) -> String {
    if !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_digit()) {
        return project.to_owned();
    }
    (100_000_000_000 + u64::from(crc32c::crc32c(project.as_bytes()))).to_string()
}

/// The same job's name in the form that it is stored under.
pub(super) fn canonical_name(name: &str) -> String {
    let mut segments: Vec<String> = name.split('/').map(str::to_owned).collect();
    if let Some(project) = segments.get_mut(1) {
        *project = project_number(project);
    }
    segments.join("/")
}

/// The project number in a job's name.
pub(super) fn project_of(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}

/// The last segment of a resource name.
pub(super) fn id_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// An id such as the service gives: many digits, never used before.
pub(super) fn new_id() -> String {
    fastrand::u64(1_000_000_000_000_000_000..9_000_000_000_000_000_000).to_string()
}
