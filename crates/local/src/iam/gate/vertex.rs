//! What Vertex AI's methods need. As which account a job may run, the service asks itself.

use axum::http::Method;

use super::{Asked, Demand, one};
use crate::iam::resource::Resource;

const PARENT: &str = "/v1/projects/{project}/locations/{location}/";

/// A collection, and the permissions to create, list, get, delete and cancel its jobs.
const COLLECTIONS: [(&str, [&str; 5]); 4] = [
    (
        "customJobs",
        [
            "aiplatform.customJobs.create",
            "aiplatform.customJobs.list",
            "aiplatform.customJobs.get",
            "aiplatform.customJobs.delete",
            "aiplatform.customJobs.cancel",
        ],
    ),
    (
        "hyperparameterTuningJobs",
        [
            "aiplatform.hyperparameterTuningJobs.create",
            "aiplatform.hyperparameterTuningJobs.list",
            "aiplatform.hyperparameterTuningJobs.get",
            "aiplatform.hyperparameterTuningJobs.delete",
            "aiplatform.hyperparameterTuningJobs.cancel",
        ],
    ),
    (
        "trainingPipelines",
        [
            "aiplatform.trainingPipelines.create",
            "aiplatform.trainingPipelines.list",
            "aiplatform.trainingPipelines.get",
            "aiplatform.trainingPipelines.delete",
            "aiplatform.trainingPipelines.cancel",
        ],
    ),
    (
        "pipelineJobs",
        [
            "aiplatform.pipelineJobs.create",
            "aiplatform.pipelineJobs.list",
            "aiplatform.pipelineJobs.get",
            "aiplatform.pipelineJobs.delete",
            "aiplatform.pipelineJobs.cancel",
        ],
    ),
];

pub(super) fn demand(asked: &Asked<'_>) -> Option<Demand> {
    let parent =
        format!("projects/{}/locations/{}", asked.path("project")?, asked.path("location")?);
    let rest = asked.route.strip_prefix(PARENT)?;
    let (collection, is_one) = match rest.strip_suffix("/{id}") {
        Some(collection) => (collection, true),
        None => (rest, false),
    };
    let (_, [create, list, get, delete, cancel]) =
        COLLECTIONS.iter().find(|(name, _)| *name == collection)?;
    if !is_one {
        return match *asked.method {
            Method::POST => one(create, Some(Resource::Vertex(parent))),
            Method::GET => one(list, Some(Resource::Vertex(parent))),
            _ => None,
        };
    }
    let id = asked.path("id")?;
    let (id, permission) = match *asked.method {
        Method::GET => (id, get),
        Method::DELETE => (id, delete),
        Method::POST => (id.strip_suffix(":cancel")?, cancel),
        _ => return None,
    };
    one(permission, Some(Resource::Vertex(format!("{parent}/{collection}/{id}"))))
}
