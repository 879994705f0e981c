//! Where an attempt stands, and how it ends. Pure.

use std::collections::BTreeMap;

use branchline_contract::Outcome;
use serde::{Deserialize, Serialize};

use crate::model::ModelFile;

/// Where an attempt stands. Within one attempt it only moves down this list,
/// but for `Intended` and `Admitted`, which alternate until a call succeeds.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Asked for; nothing has been checked.
    Requested,
    /// Intake gave up for now, for this reason.
    Stalled(String),
    /// Every input exists as announced.
    Verified,
    /// An approval is wanted.
    Held(String),
    /// Waits in line.
    Admitted,
    /// A create call may be under way.
    Intended,
    /// Vertex AI owns a job.
    Submitted,
    /// The job was seen running.
    Running,
    /// It ended.
    Finished(Ending),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// The outcome.
    pub outcome: Outcome,
    /// Vertex AI's words, or why there is no job.
    pub reason: Option<String>,
    /// Metrics of the trained model.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// Where the model lies.
    pub model_uri: Option<String>,
    /// Its files, where it lies in Cloud Storage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model_files: Vec<ModelFile>,
}

impl Ending {
    /// An end that Vertex AI had no part in.
    pub const fn without_job(outcome: Outcome, reason: String) -> Self {
        Self {
            outcome,
            reason: Some(reason),
            metrics: BTreeMap::new(),
            model_uri: None,
            model_files: Vec::new(),
        }
    }
}
