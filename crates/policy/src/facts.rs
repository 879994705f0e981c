//! What a policy decides by: the variables of its expressions. Pure.

use std::collections::BTreeMap;

use branchline_contract::{Artifact, ArtifactReady, Gitlab, RunId, placeholder, vertex_fields};
use serde_json::{Map, Value, json};

use crate::job;
use crate::shape::{DEPTH_MAX, LIST_MAX, TEXT_MAX, VARIABLES};

/// The variables, each with all its fields: what is not known is null.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts(Map<String, Value>);

/// Why there are no facts to decide by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// The training spec is not what Vertex AI would read.
    #[error("the training spec is wrong: {0}")]
    Spec(String),
    /// The request is larger than what is decided about.
    #[error(
        "{0} is more than a policy decides about: lists of {LIST_MAX} entries, texts of \
         {TEXT_MAX} bytes, {DEPTH_MAX} levels"
    )]
    TooMuch(&'static str),
}

impl Facts {
    /// The facts of a request and of the verified claims of its ID token, as GitLab writes them.
    pub fn new(
        request: &ArtifactReady,
        claims: Option<&Map<String, Value>>,
    ) -> Result<Self, FactsError> {
        let none = Map::new();
        let claims = claims.unwrap_or(&none);
        let mut facts = Map::new();
        facts.insert("origin".to_owned(), origin(&request.gitlab, claims));
        facts.insert("claims".to_owned(), Value::Object(claims.clone()));
        facts.insert("merge_requests".to_owned(), Value::Null);
        facts.insert("artifacts".to_owned(), request.artifacts.iter().map(artifact).collect());
        facts.insert("vertex".to_owned(), json!(request.vertex));
        facts.insert("job".to_owned(), job::facts(request.training.kind(), &body(request)?));
        for (name, shape) in VARIABLES {
            let value = facts.get_mut(*name).expect("inserted above");
            if !shape.complete(value) {
                return Err(FactsError::TooMuch(name));
            }
        }
        Ok(Self(facts))
    }

    /// The same with the merge requests of the commit: a list, or null where nobody asked.
    pub fn with_merge_requests(mut self, merge_requests: Value) -> Result<Self, FactsError> {
        let (name, shape) = VARIABLES.iter().find(|it| it.0 == "merge_requests").expect("is one");
        let value = self.0.get_mut(*name).expect("inserted above");
        *value = merge_requests;
        if shape.complete(value) { Ok(self) } else { Err(FactsError::TooMuch(name)) }
    }

    /// Whether the code is a fork's: in its merge request, where it runs in the project's own name.
    pub(crate) fn is_of_a_fork(&self) -> bool {
        self.0["origin"]["fork"] == true
    }

    /// Whether an operator wrote the request, so that nothing but their word stands behind its origin.
    pub(crate) fn is_edited(&self) -> bool {
        self.0["claims"].get("operator").is_some()
    }

    /// The variables by name.
    pub fn variables(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// Claims that are on record, as a policy reads them: texts, and the groups as a list.
pub fn claims(texts: &BTreeMap<String, String>, groups: Option<&[String]>) -> Map<String, Value> {
    let texts = texts.iter().map(|(name, it)| (name.clone(), it.as_str().into()));
    texts.chain(groups.map(|it| ("groups_direct".to_owned(), it.into()))).collect()
}

/// The training spec in Vertex AI's own form, filled as far as it can be before there is a job.
fn body(request: &ArtifactReady) -> Result<Value, FactsError> {
    let (run, _) = RunId::derive(request);
    let fill = |name: &str| match name {
        "output" => placeholder::Fill::Keep,
        name => placeholder::fill(request, &request.artifacts, &run, "", name),
    };
    let kind = request.training.kind();
    let body = vertex_fields::check(kind, request.training.body())
        .map_err(|errors| FactsError::Spec(errors[0].to_string()))?;
    placeholder::expand_training(&body, &fill)
        .map_err(|it| FactsError::Spec(format!("training.{}.{it}", kind.key())))
}

fn origin(gitlab: &Gitlab, claims: &Map<String, Value>) -> Value {
    let path = gitlab.project_path.as_str();
    let protected = match claims.get("ref_protected") {
        Some(Value::Bool(it)) => Some(*it),
        // GitLab writes bools as texts.
        Some(Value::String(it)) => it.parse().ok(),
        Some(_) | None => None,
    };
    let text = |name| claims.get(name).and_then(Value::as_str);
    let fork = text("project_id").map(|it| text("job_project_id").is_some_and(|job| job != it));
    json!({
        "host": gitlab.host,
        "project_id": gitlab.project_id,
        "project_path": path,
        "namespace": path.rsplit_once('/').map(|(namespace, _)| namespace),
        "sha": gitlab.sha,
        "ref": gitlab.git_ref,
        "ref_protected": protected,
        "pipeline_id": gitlab.pipeline_id,
        "job_id": gitlab.job_id,
        "user_login": text("user_login"),
        "fork": fork,
    })
}

fn artifact(artifact: &Artifact) -> Value {
    json!({
        "name": artifact.name,
        "uri": artifact.uri,
        "bucket": artifact.uri.bucket(),
        "size": artifact.size,
    })
}
