//! What a run takes out of the quotas for machines, as far as its spec tells.
//! Pure. Which quota metric that counts for, only a refusal tells.

use std::fmt::Write as _;

use branchline_contract::{Training, vertex_fields};
use serde_json::Value;

/// The parts of a spec that ask for machines, of all four kinds.
const ASKING: [&str; 5] =
    ["machineSpec", "replicaCount", "parallelTrialCount", "strategy", "resources"];

/// Runs with the same need wait for the same thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need(String);

impl Need {
    /// The need of a training spec.
    pub(crate) fn of(training: &Training) -> Self {
        let (kind, body) = (training.kind(), training.body());
        let mut need = kind.key().to_owned();
        match vertex_fields::check(kind, body) {
            Ok(body) => collect(&body, &mut need),
            // It is rejected before it needs anything.
            Err(_) => collect(body, &mut need),
        }
        Self(need)
    }
}

fn collect(value: &Value, need: &mut String) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if ASKING.contains(&key.as_str()) {
                    write!(need, " {key}={value}").expect("a text takes everything");
                } else {
                    collect(value, need);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|it| collect(it, need)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{custom_job, request};

    fn need(change: impl FnOnce(&mut Value)) -> Need {
        let mut training = custom_job();
        change(&mut training["custom_job"]["jobSpec"]);
        Need::of(&request(&training).training)
    }

    #[test]
    fn runs_that_ask_for_the_same_machines_have_the_same_need() {
        let plain = need(|_| {});
        let other_code = need(|it| {
            it["workerPoolSpecs"][0]["containerSpec"]["imageUri"] = json!("python");
            it["labels"] = json!({"a": "b"});
        });
        assert_eq!(plain, other_code);
        let others = [
            need(|it| it["workerPoolSpecs"][0]["replicaCount"] = json!(2)),
            need(|it| it["scheduling"] = json!({"strategy": "SPOT"})),
            need(|it| {
                let machine = &mut it["workerPoolSpecs"][0]["machineSpec"];
                machine["acceleratorType"] = json!("NVIDIA_TESLA_T4");
            }),
        ];
        for other in others {
            assert_ne!(other, plain);
        }
    }

    #[test]
    fn the_steps_of_a_pipeline_ask_in_their_own_words() {
        let pipeline = |count: u32| {
            let resources = json!({"accelerator": {"type": "NVIDIA_TESLA_T4", "count": count}});
            let training = json!({"pipeline_job": {"pipelineSpec": {"deploymentSpec": {
                "executors": {"train": {"container": {"resources": resources}}}
            }}}});
            Need::of(&request(&training).training)
        };
        assert_eq!(pipeline(1), pipeline(1));
        assert_ne!(pipeline(1), pipeline(2));
    }
}
