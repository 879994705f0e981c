//! Where a request comes from: a job of a GitLab pipeline, and where it is to train.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{Invalid, text_type};

text_type!(
    /// Host of a GitLab instance, with its port where it is not the usual one.
    GitlabHost,
    "a host name, with or without a port",
    253,
    "^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?$"
);
text_type!(
    /// Full path of a GitLab project, `group/subgroup/project`.
    ProjectPath,
    "the path of a GitLab project",
    512,
    r"^[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*(/\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)+$"
);
text_type!(
    /// Full commit hash, SHA-1 or SHA-256.
    CommitSha,
    "a full commit hash (40 or 64 lower-case hex digits)",
    64,
    "^([0-9a-f]{40}|[0-9a-f]{64})$"
);
text_type!(
    /// Short name of a branch or tag.
    RefName,
    "a git ref name",
    255,
    r"^[^-\x00- ~^:?*\[\\\x7f-\x9f][^\x00- ~^:?*\[\\\x7f-\x9f]*$"
);
text_type!(
    /// Google Cloud project, by id or number.
    CloudProject,
    "a Google Cloud project id",
    64,
    "^[a-z0-9][a-z0-9.:-]*$"
);
text_type!(
    /// Name of one Branchline, which the jobs that it made carry as a label.
    Installation,
    "an installation's name (a lower-case letter, then letters, digits or -; at most 63)",
    63,
    "^[a-z]([a-z0-9-]*[a-z0-9])?$"
);
text_type!(
    /// Region of Vertex AI, such as `europe-west4`.
    Region,
    "a Vertex AI region such as europe-west4",
    32,
    "^[a-z][a-z0-9-]*-[a-z0-9-]*[0-9]$"
);

/// The GitLab job that announced the artifacts. Claims, until a token proves them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gitlab {
    /// Host of the instance.
    pub host: GitlabHost,
    /// Id of the project; stable when it is renamed.
    pub project_id: u64,
    /// Path of the project at that time.
    pub project_path: ProjectPath,
    /// Commit that is to be trained.
    pub sha: CommitSha,
    /// Branch or tag.
    #[serde(rename = "ref")]
    pub git_ref: RefName,
    /// Pipeline of the announcing job.
    pub pipeline_id: u64,
    /// The announcing job.
    pub job_id: u64,
    /// Merge request of the pipeline, or of the branch where GitLab names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_request: Option<MergeRequest>,
}

/// A merge request, as far as a report needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MergeRequest {
    /// Number within the project.
    pub iid: u64,
    /// Branch it would merge into; a branch pipeline is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_branch: Option<RefName>,
}

/// Where Vertex AI runs the job.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Vertex {
    /// Google Cloud project.
    pub project: CloudProject,
    /// Region.
    pub region: Region,
}

impl Vertex {
    /// `projects/P/locations/R`, the parent of its jobs.
    pub fn parent(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.region)
    }
}

/// `PROJECT/REGION`, as people and object names write it.
impl std::fmt::Display for Vertex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.project, self.region)
    }
}

impl std::str::FromStr for Vertex {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parts = text.split_once('/');
        let (project, region) = parts.ok_or_else(|| Invalid::new(text, "PROJECT/REGION"))?;
        Ok(Self { project: CloudProject::parse(project)?, region: Region::parse(region)? })
    }
}
