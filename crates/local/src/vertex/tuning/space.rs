//! The parameter space of a study: its checks and random points in it.

use fastrand::Rng;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ParameterSpec {
    pub(super) parameter_id: String,
    scale_type: String,
    double_value_spec: Option<DoubleRange>,
    integer_value_spec: Option<IntegerRange>,
    categorical_value_spec: Option<Values<String>>,
    discrete_value_spec: Option<Values<f64>>,
    conditional_parameter_specs: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DoubleRange {
    min_value: f64,
    max_value: f64,
}

/// Bounds are int64, which canonical JSON writes as text.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct IntegerRange {
    min_value: Option<String>,
    max_value: Option<String>,
}

impl IntegerRange {
    fn bounds(&self) -> (i64, i64) {
        let read =
            |bound: &Option<String>| bound.as_deref().and_then(|it| it.parse().ok()).unwrap_or(0);
        (read(&self.min_value), read(&self.max_value))
    }
}

#[derive(Debug, Deserialize)]
struct Values<T> {
    #[serde(default = "Vec::new")]
    values: Vec<T>,
}

impl ParameterSpec {
    /// The field that is wrong, and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let logarithmic =
            matches!(self.scale_type.as_str(), "UNIT_LOG_SCALE" | "UNIT_REVERSE_LOG_SCALE");
        let range = |field, min: f64, max: f64| {
            if !min.is_finite() || !max.is_finite() || min > max {
                Err((field, "The minimum is larger than the maximum."))
            } else if logarithmic && min <= 0.0 {
                Err((field, "A logarithmic scale needs a minimum above zero."))
            } else {
                Ok(())
            }
        };
        if self.parameter_id.is_empty() {
            return Err(("parameter_id", "Required field is not set."));
        }
        if !self.conditional_parameter_specs.is_empty() {
            return Err((
                "conditional_parameter_specs",
                "The local stack has no conditional parameters.",
            ));
        }
        match (
            &self.double_value_spec,
            &self.integer_value_spec,
            &self.categorical_value_spec,
            &self.discrete_value_spec,
        ) {
            (Some(it), None, None, None) => range("double_value_spec", it.min_value, it.max_value),
            (None, Some(it), None, None) => {
                let (min, max) = it.bounds();
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "only the order and the sign count here"
                )]
                range("integer_value_spec", min as f64, max as f64)
            }
            (None, None, Some(it), None) if !it.values.is_empty() => Ok(()),
            (None, None, None, Some(it)) if !it.values.is_empty() => Ok(()),
            (None, None, Some(_), None) => {
                Err(("categorical_value_spec.values", "Required field is not set."))
            }
            (None, None, None, Some(_)) => {
                Err(("discrete_value_spec.values", "Required field is not set."))
            }
            (..) => Err(("parameter_value_spec", "Exactly one kind of value has to be set.")),
        }
    }

    /// A random value on the parameter's own scale.
    pub(super) fn sample(&self, rng: &mut Rng) -> Value {
        if let Some(it) = &self.double_value_spec {
            json!(self.between(it.min_value, it.max_value, rng))
        } else if let Some(it) = &self.integer_value_spec {
            let (min, max) = it.bounds();
            json!(self.integer_between(min, max, rng))
        } else if let Some(it) = &self.categorical_value_spec {
            json!(rng.choice(&it.values))
        } else {
            json!(self.discrete_value_spec.as_ref().and_then(|it| rng.choice(&it.values)))
        }
    }

    fn between(&self, min: f64, max: f64, rng: &mut Rng) -> f64 {
        let unit = rng.f64();
        let value = match self.scale_type.as_str() {
            "UNIT_LOG_SCALE" => (min.ln() + unit * (max.ln() - min.ln())).exp(),
            "UNIT_REVERSE_LOG_SCALE" => min + max - (min.ln() + unit * (max.ln() - min.ln())).exp(),
            _ => min + unit * (max - min),
        };
        value.clamp(min, max)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a logarithmic scale is for spans where the last digit does not matter; casts saturate"
    )]
    fn integer_between(&self, min: i64, max: i64, rng: &mut Rng) -> i64 {
        match self.scale_type.as_str() {
            "UNIT_LOG_SCALE" | "UNIT_REVERSE_LOG_SCALE" => {
                (self.between(min as f64, max as f64, rng).round() as i64).clamp(min, max)
            }
            _ => rng.i64(min..=max),
        }
    }
}
