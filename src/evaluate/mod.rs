//! Metrics, baselines and the report of a model on a benchmark.

pub mod answers;
#[cfg(test)]
mod golden;
mod localization;
pub mod text_overlap;

pub use localization::{LocalizationError, LocalizationScores};

/// Middle value, the mean of both for an even count; `None` when empty.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some(0.5 * (sorted[middle - 1] + sorted[middle])),
    }
}
