//! `metrics.json`, written by training code and therefore by strangers. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

/// A larger file is not read.
pub(crate) const BYTES_MAX: u64 = 64 << 10;
const METRICS_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 100;
const ERROR_CHARS_MAX: usize = 200;

/// The numbers of a flat JSON object.
pub(crate) fn parse(bytes: &[u8]) -> Result<BTreeMap<String, f64>, String> {
    let value: BTreeMap<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
        // The decoder quotes what it met.
        let error: String = error.to_string().chars().take(ERROR_CHARS_MAX).collect();
        format!("metrics.json is not a flat JSON object: {error}")
    })?;
    if value.len() > METRICS_MAX {
        return Err(format!(
            "metrics.json has {} entries, and at most {METRICS_MAX} are read",
            value.len()
        ));
    }
    value.into_iter().map(|(name, value)| number(name, &value)).collect()
}

fn number(name: String, value: &Value) -> Result<(String, f64), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("metrics.json has a name of {} bytes", name.len()));
    }
    match value.as_f64() {
        Some(number) => Ok((name, number)),
        None => Err(format!("metrics.json: {name} is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_flat_object_of_numbers_is_metrics() {
        let long = format!("{{\"{}\": 1}}", "x".repeat(101));
        let text = format!("{:?}", "x".repeat(60_000));
        let cases = [
            (r#"{"accuracy": 0.9, "rows": 30}"#, Ok(2)),
            ("{}", Ok(0)),
            (r#"{"accuracy": "0.9"}"#, Err("accuracy is not a number")),
            (r#"{"nested": {"a": 1}}"#, Err("nested is not a number")),
            ("[1]", Err("not a flat JSON object")),
            ("\u{0}", Err("not a flat JSON object")),
            (r#"{"accuracy": NaN}"#, Err("not a flat JSON object")),
            (long.as_str(), Err("a name of 101 bytes")),
            (text.as_str(), Err("invalid type: string \"xxx")),
        ];
        for (text, expected) in cases {
            match (expected, parse(text.as_bytes())) {
                (Ok(count), Ok(metrics)) => assert_eq!(metrics.len(), count, "{text}"),
                (Err(part), Err(error)) => {
                    assert!(error.contains(part) && error.len() < 1_000, "{text}: {error}");
                }
                (expected, actual) => panic!("{text}: expected {expected:?}, got {actual:?}"),
            }
        }
    }
}
