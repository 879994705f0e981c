//! What the executor reads from a stored job. Stored JSON is canonical, so
//! every field is in its one form and unknown ones were refused before.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::json;

/// What all replicas, trials and training pipelines are made of.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CustomJobSpec {
    pub(super) worker_pool_specs: Vec<WorkerPoolSpec>,
    pub(super) scheduling: Scheduling,
    pub(super) base_output_directory: GcsDestination,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkerPoolSpec {
    pub(super) container_spec: Option<ContainerSpec>,
    pub(super) python_package_spec: Option<Value>,
    pub(super) machine_spec: MachineSpec,
    pub(super) replica_count: Option<String>,
}

impl WorkerPoolSpec {
    /// Processes of this pool. A pool without a task holds the place of one that is not used.
    pub(super) fn replicas(&self) -> usize {
        let given = self.replica_count.as_deref().map(|count| count.parse().unwrap_or(usize::MAX));
        given.unwrap_or(usize::from(self.container_spec.is_some()))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerSpec {
    pub(super) image_uri: String,
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<EnvVar>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EnvVar {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MachineSpec {
    pub(super) machine_type: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Scheduling {
    timeout: Option<String>,
}

impl Scheduling {
    /// The real service's default is seven days.
    pub(super) fn timeout(&self) -> Duration {
        let given = self.timeout.as_deref().and_then(json::duration);
        given.filter(|it| !it.is_zero()).unwrap_or(Duration::from_hours(7 * 24))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct GcsDestination {
    pub(super) output_uri_prefix: String,
}

/// Reads one field of a stored resource; an absent one is the default.
pub(super) fn read<T: Default + for<'de> Deserialize<'de>>(
    resource: &Map<String, Value>,
    field: &str,
) -> Result<T, serde_json::Error> {
    resource.get(field).map_or_else(|| Ok(T::default()), T::deserialize)
}
