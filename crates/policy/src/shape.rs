//! What an expression can name: the variables and their fields, and how large they can be. Pure.

use Shape::{Free, List, Made, Record, Scalar};
use serde_json::Value;

/// Entries of a list or map.
pub(crate) const LIST_MAX: usize = 1_000;
/// Bytes of a text.
pub(crate) const TEXT_MAX: usize = 2_048;
/// Deeper than this no fact is nested.
pub(crate) const DEPTH_MAX: usize = 16;

/// What a value looks like, as far as it is known before there is one. Any of it can be null.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A text, a number or a bool.
    Scalar,
    /// Anything of at most this weight, and what is in it, where that is lighter.
    Free(u64, Option<&'static Shape>),
    /// A list of such values.
    List(&'static Shape),
    /// A map with these keys, always.
    Record(&'static [(&'static str, Shape)]),
    /// Put together by an expression.
    Made,
}

/// The variables.
pub(crate) const VARIABLES: &[(&str, Shape)] = &[
    ("origin", Record(ORIGIN)),
    ("claims", Free(16_384, Some(&Free(4_096, Some(&Free(64, None)))))),
    ("merge_requests", Free(4_096, Some(&Record(MERGE_REQUEST)))),
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
    ("fork", Scalar),
];

const MERGE_REQUEST: &[(&str, Shape)] = &[
    ("iid", Scalar),
    ("state", Scalar),
    ("target_branch", Scalar),
    ("author", Scalar),
    ("merged_by", Scalar),
    ("approved_by", List(&Scalar)),
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
    ("network_attachment", Scalar),
    ("reserved_ip_ranges", List(&Scalar)),
    ("persistent_resource", Scalar),
    ("web_access", Scalar),
    ("packages", List(&Scalar)),
    ("images", List(&Record(&[("uri", Scalar), ("registry", Scalar), ("digest", Scalar)]))),
    ("labels", Free(4_096, Some(&Scalar))),
];

impl Shape {
    /// The most that such a value weighs.
    pub(crate) fn weight_max(self) -> u64 {
        match self {
            Scalar => weight_of_text(TEXT_MAX),
            Free(weight, _) => weight,
            List(of) => 1 + LIST_MAX as u64 * of.weight_max(),
            Record(fields) => fields.iter().map(|(_, it)| 1 + it.weight_max()).sum::<u64>() + 1,
            Made => u64::MAX,
        }
    }

    /// An entry of it, when it is a list or map.
    pub(crate) fn entry(self) -> Self {
        match self {
            List(of) | Free(_, Some(of)) => *of,
            Free(_, None) | Scalar | Made => self,
            Record(_) => Free(self.weight_max(), None),
        }
    }

    /// A field of it, or why there is none.
    pub(crate) fn field(self, name: &str) -> Result<Self, String> {
        match self {
            Record(fields) => {
                let found = fields.iter().find(|(known, _)| *known == name);
                found.map(|(_, shape)| *shape).ok_or_else(|| {
                    let known: Vec<&str> = fields.iter().map(|(known, _)| *known).collect();
                    format!("there is no field {name} there; there are {}", known.join(", "))
                })
            }
            Free(..) | Made => Ok(self.entry()),
            Scalar | List(_) => Err(format!("there is no field {name} there")),
        }
    }

    /// Puts null where a field is missing, and tells whether the value is no larger than it may be.
    pub(crate) fn complete(self, value: &mut Value) -> bool {
        match (self, value) {
            (_, Value::Null) | (Scalar, Value::Bool(_) | Value::Number(_)) => true,
            (Record(fields), Value::Object(map)) => fields
                .iter()
                .all(|(key, shape)| shape.complete(map.entry(*key).or_insert(Value::Null))),
            (List(of), Value::Array(items)) => {
                items.len() <= LIST_MAX && items.iter_mut().all(|it| of.complete(it))
            }
            (Free(weight_max, of), value) => {
                let mut left = weight_max;
                let fits = weigh(value, DEPTH_MAX, &mut left).is_some();
                let of = of.copied().unwrap_or(Free(weight_max, None));
                fits && match value {
                    Value::Object(map) => map.values_mut().all(|it| of.complete(it)),
                    Value::Array(items) => items.iter_mut().all(|it| of.complete(it)),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
                }
            }
            (Scalar, Value::String(text)) => text.len() <= TEXT_MAX,
            (Scalar | List(_) | Record(_) | Made, _) => false,
        }
    }
}

/// What it costs to copy a text, in steps. That of any other value is 1, and that of its parts.
pub(crate) fn weight_of_text(bytes: usize) -> u64 {
    1 + (bytes as u64) / 1_024
}

/// Takes the value's weight from what is left; `None` when it is too much.
fn weigh(value: &Value, levels: usize, left: &mut u64) -> Option<()> {
    let text = |it: &str| (it.len() <= TEXT_MAX).then(|| weight_of_text(it.len()));
    let own = match value {
        Value::String(it) => text(it)?,
        Value::Array(it) if it.len() > LIST_MAX => return None,
        Value::Object(it) if it.len() > LIST_MAX => return None,
        Value::Object(it) => it.keys().try_fold(1, |sum, it| Some(sum + text(it)?))?,
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    };
    *left = left.checked_sub(own)?;
    let levels = levels.checked_sub(1)?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|it| weigh(it, levels, left)),
        Value::Object(map) => map.values().try_for_each(|it| weigh(it, levels, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(()),
    }
}
