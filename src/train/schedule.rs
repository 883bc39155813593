//! Learning-rate schedule: linear warm-up, then a half cosine down to a
//! fraction of the peak (Loc3R-VLM, training recipe).

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Linear warm-up over `warmup_steps`, then cosine decay that reaches
/// `final_fraction * peak` at `total_steps` and stays there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LearningRateSchedule {
    /// Highest learning rate, reached at the end of the warm-up.
    pub peak: f64,
    /// Optimiser steps of warm-up; 0 starts at the peak.
    pub warmup_steps: u64,
    /// Optimiser steps of the whole run, warm-up included.
    pub total_steps: u64,
    /// Learning rate at the end, as a fraction of the peak.
    pub final_fraction: f64,
}

impl LearningRateSchedule {
    /// The recipe for `total_steps`: the share `warmup` of them rises to `peak` (the paper: 3 %),
    /// then decay to 5 % of it.
    pub fn new(peak: f64, total_steps: u64, warmup: f64) -> Self {
        // A share like 0.03 is no exact number: what it makes of 100 steps must stay 3.
        let warmup_steps = (warmup * total_steps as f64 - 1e-9).ceil().max(0.0) as u64;
        Self { peak, warmup_steps, total_steps, final_fraction: 0.05 }
    }

    /// Learning rate of optimiser step `step`, counted from 0. The first
    /// warm-up step is `peak / warmup_steps`, never 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let decay_steps = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / decay_steps as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (PI * progress).cos());
        self.peak * (self.final_fraction + (1.0 - self.final_fraction) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_linearly_then_decays_to_the_final_fraction() {
        let schedule =
            LearningRateSchedule { peak: 2.0, warmup_steps: 4, total_steps: 104, final_fraction: 0.05 };
        let rates: Vec<f64> = (0..4).map(|step| schedule.learning_rate(step)).collect();
        assert_eq!(rates, [0.5, 1.0, 1.5, 2.0]);
        assert!((schedule.learning_rate(4) - 2.0).abs() < 1e-12);
        assert!((schedule.learning_rate(54) - 2.0 * 0.525).abs() < 1e-12);
        assert!((schedule.learning_rate(104) - 0.1).abs() < 1e-12);
        assert!((schedule.learning_rate(10_000) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn recipe_rounds_the_warmup_up_and_survives_empty_runs() {
        let steps = |total, warmup| LearningRateSchedule::new(1.0, total, warmup).warmup_steps;
        assert_eq!((steps(10, 0.03), steps(100, 0.03), steps(6_600, 0.03)), (1, 3, 198));
        assert_eq!((steps(100, 0.0), steps(100, 0.5)), (0, 50));
        assert!(LearningRateSchedule::new(1.0, 0, 0.03).learning_rate(0).is_finite());
    }
}
