//! Where a request comes from: a job of a GitLab pipeline, and where it is to train.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{is_word, kebab, lower, text_type};

text_type!(
    /// Host of a GitLab instance, with its port where it is not the usual one.
    GitlabHost,
    "a host name, with or without a port",
    |text| is_word(
        text,
        253,
        |c| c.is_ascii_alphanumeric(),
        |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':')
    )
);
text_type!(
    /// Full path of a GitLab project, `group/subgroup/project`.
    ProjectPath,
    "the path of a GitLab project",
    |text| text.contains('/')
        && !text.contains("..")
        && is_word(
            text,
            512,
            |c| c.is_ascii_alphanumeric() || c == '_',
            |c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.')
        )
);
text_type!(
    /// Full commit hash, SHA-1 or SHA-256.
    CommitSha,
    "a full commit hash (40 or 64 lower-case hex digits)",
    |text| matches!(text.len(), 40 | 64)
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
);
text_type!(
    /// Short name of a branch or tag.
    RefName,
    "a git ref name",
    |text| is_word(
        text,
        255,
        |c| c != '-' && !c.is_control() && c != ' ',
        |c| !c.is_control() && !matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
    )
);
text_type!(
    /// Google Cloud project, by id or number.
    CloudProject,
    "a Google Cloud project id",
    |text| is_word(text, 64, |c| c.is_ascii_lowercase() || c.is_ascii_digit(), |c| kebab(c)
        || matches!(c, '.' | ':'))
);
text_type!(
    /// Region of Vertex AI, such as `europe-west4`.
    Region,
    "a Vertex AI region such as europe-west4",
    |text| is_word(text, 32, lower, kebab)
        && text.contains('-')
        && text.ends_with(|c: char| c.is_ascii_digit())
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
