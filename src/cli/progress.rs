//! A progress bar fed by training events.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::train::TrainEvent;

use super::output;

/// Shows a run: a bar per stage with loss terms and throughput, a line per validation.
#[derive(Debug, Default)]
pub(super) struct TrainProgress {
    bar: Option<ProgressBar>,
    frames_per_sec: f64,
}

impl TrainProgress {
    /// Shows one event.
    pub(super) fn show(&mut self, event: &TrainEvent) {
        match event {
            TrainEvent::StageStarted { stage, step, steps, parameters } => {
                let millions = *parameters as f64 / 1e6;
                output::note(&format!("stage {stage}: {steps} steps, {millions:.2} M parameters trained"));
                let bar = ProgressBar::with_draw_target(Some(*steps), ProgressDrawTarget::stderr_with_hz(2));
                if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {eta} {msg}")
                {
                    bar.set_style(style);
                }
                bar.set_prefix(stage.clone());
                bar.set_position(*step);
                bar.reset_eta();
                bar.enable_steady_tick(Duration::from_millis(500));
                self.bar = Some(bar);
                self.frames_per_sec = 0.0;
            }
            TrainEvent::Step { step, metrics, secs, frames, .. } => {
                let now = *frames as f64 / secs.max(1e-6);
                let old = self.frames_per_sec;
                self.frames_per_sec = if old > 0.0 { 0.9 * old + 0.1 * now } else { now };
                if let Some(bar) = &self.bar {
                    bar.set_position(*step);
                    let terms: Vec<String> = metrics
                        .iter()
                        .filter(|(name, _)| *name != "gradient_norm")
                        .map(|(name, value)| format!("{name} {value:.3}"))
                        .collect();
                    bar.set_message(format!("{} | {:.0} frames/s", terms.join(" "), self.frames_per_sec));
                }
            }
            TrainEvent::Validation { stage, step, metrics } => {
                let figures: Vec<String> =
                    metrics.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
                self.line(&format!("{stage} step {step}: {}", figures.join(", ")));
            }
            TrainEvent::Saved { .. } => {}
            TrainEvent::StageFinished { stage, step, secs } => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                output::note(&format!("stage {stage}: {step} steps done in {secs:.0} s"));
            }
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) if !bar.is_hidden() => bar.println(text),
            _ => output::note(text),
        }
    }
}
