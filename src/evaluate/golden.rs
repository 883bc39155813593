//! Reference results of the metrics, see `tests/golden/metrics.json`.

use serde_json::Value;

/// The reference file.
pub(super) fn metrics() -> Value {
    serde_json::from_str(include_str!("../../tests/golden/metrics.json")).unwrap()
}

/// A JSON string.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A JSON array of strings.
pub(super) fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|v| text(v).to_owned()).collect()
}

/// A JSON array of numbers.
pub(super) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}
