//! What an expression can name: the variables and their fields. Pure.

use Shape::{Any, List, Record, Scalar};

/// Entries of a list or map.
pub(crate) const LIST_MAX: usize = 1_000;
/// Bytes of a text.
pub(crate) const TEXT_MAX: usize = 2_048;
/// Weight of all facts together; see [`weight_of_text`].
pub(crate) const WEIGHT_MAX: u64 = 1 << 18;

/// What a value looks like, as far as it is known before there is one. Any of it can be null.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A text, a number or a bool.
    Scalar,
    /// Not known.
    Any,
    /// A list of such values.
    List(&'static Shape),
    /// A map with these keys, always.
    Record(&'static [(&'static str, Shape)]),
}

/// The variables.
pub(crate) const VARIABLES: &[(&str, Shape)] = &[
    ("origin", Record(ORIGIN)),
    ("claims", Any),
    ("artifacts", List(&Record(ARTIFACT))),
    ("vertex", Record(&[("project", Scalar), ("region", Scalar)])),
    ("job", Record(JOB)),
];

const ORIGIN: &[(&str, Shape)] = &[
    ("host", Scalar),
    ("project_id", Scalar),
    ("project_path", Scalar),
    ("namespace", Scalar),
    ("sha", Scalar),
    ("ref", Scalar),
    ("ref_protected", Scalar),
    ("pipeline_id", Scalar),
    ("job_id", Scalar),
    ("user_login", Scalar),
    ("merge_request", Record(&[("iid", Scalar), ("target_branch", Scalar)])),
];

const ARTIFACT: &[(&str, Shape)] =
    &[("name", Scalar), ("uri", Scalar), ("bucket", Scalar), ("size", Scalar)];

const JOB: &[(&str, Shape)] = &[
    ("kind", Scalar),
    ("machine_types", List(&Scalar)),
    ("accelerators", List(&Record(&[("type", Scalar), ("count", Scalar)]))),
    ("replicas", Scalar),
    ("timeout_seconds", Scalar),
    ("spot", Scalar),
    ("service_account", Scalar),
    ("network", Scalar),
    ("images", List(&Record(&[("uri", Scalar), ("registry", Scalar), ("digest", Scalar)]))),
    ("labels", Any),
];

impl Shape {
    /// The most that such a value weighs.
    pub(crate) fn weight_max(self) -> u64 {
        match self {
            Scalar => weight_of_text(TEXT_MAX),
            Any | List(_) => WEIGHT_MAX,
            Record(fields) => fields
                .iter()
                .map(|(_, it)| it.weight_max())
                .fold(1, u64::saturating_add)
                .min(WEIGHT_MAX),
        }
    }

    /// An entry of it, when it is a list or map.
    pub(crate) fn entry(self) -> Self {
        match self {
            List(of) => *of,
            Scalar | Any | Record(_) => Any,
        }
    }
}

/// What it costs to copy a text, in steps; that of any other value is 1, and that of its parts.
pub(crate) fn weight_of_text(bytes: usize) -> u64 {
    1 + (bytes as u64) / 16
}
