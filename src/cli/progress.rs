//! How a training run shows on the terminal, fed by its events.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::train::follow::running_mean;
use crate::train::joint_figures::CONSTANT_LAYOUT_ERROR;
use crate::train::{Metrics, StageKind, TrainEvent};

use super::output;

/// Between two lines where there is no terminal for a bar.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Steps whose mean loss is that of the beginning or the end of a stage.
const ENDS: usize = 10;

/// Shows a run: a bar per stage with steps, time left, loss and speed; a line per
/// validation. Without a terminal the bar becomes a line now and then.
#[derive(Debug, Default)]
pub(super) struct TrainProgress {
    bar: Option<ProgressBar>,
    steps: u64,
    secs_per_step: f64,
    last_line: Option<Instant>,
    /// Losses of the stage since this start.
    losses: Vec<f64>,
    /// Figures of the newest validation of the joint stage.
    joint: Option<Metrics>,
}

impl TrainProgress {
    /// Shows one event.
    pub(super) fn show(&mut self, event: &TrainEvent) {
        match event {
            TrainEvent::StageStarted { stage, step, steps, parameters } => {
                let millions = *parameters as f64 / 1e6;
                output::note(&format!("stage {stage}: {steps} steps, {millions:.2} M parameters trained"));
                self.start(stage, *step, *steps);
            }
            TrainEvent::Step { stage, step, metrics, secs, .. } => self.step(stage, *step, metrics, *secs),
            TrainEvent::Validation { stage, step, metrics } => {
                let figures: Vec<String> =
                    metrics.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
                self.line(&format!("{stage} step {step}: {}", figures.join(", ")));
                if stage == StageKind::Joint.name() {
                    self.joint = Some(metrics.clone());
                }
            }
            TrainEvent::Scenes(_) | TrainEvent::Saved { .. } | TrainEvent::Stopped { .. } => {}
            TrainEvent::StageFinished { stage, step, secs, waited_share } => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                let loss = fall(&self.losses);
                output::note(&finished_line(stage, *step, *secs, loss, *waited_share));
            }
        }
    }

    /// A remark that leaves the bar whole.
    pub(super) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) if !bar.is_hidden() => bar.println(text),
            _ => output::note(text),
        }
    }

    /// What was reached, in one sentence; `None` when this run validated no layout.
    pub(super) fn outcome(&self) -> Option<String> {
        let figure = |name: &str| self.joint.as_ref()?.get(name).copied();
        let (constant, model) = (figure(CONSTANT_LAYOUT_ERROR)?, figure("layout_error_m")?);
        // Where the true cameras were given, what the model does alone is told, too.
        let alone = figure("estimated_layout_error_m").map_or_else(String::new, |error| {
            format!(" with cameras given, {error:.2} m with cameras it found itself")
        });
        Some(format!(
            "layout error {constant:.2} m (one point for everything) -> {model:.2} m (this model){alone}; median on rooms it has not seen"
        ))
    }

    fn start(&mut self, stage: &str, step: u64, steps: u64) {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr_with_hz(2));
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(stage.to_owned());
        bar.set_position(step);
        bar.enable_steady_tick(Duration::from_millis(500));
        self.bar = Some(bar);
        self.steps = steps;
        self.secs_per_step = 0.0;
        self.losses.clear();
        self.last_line = Some(Instant::now());
    }

    fn step(&mut self, stage: &str, step: u64, metrics: &Metrics, secs: f64) {
        self.secs_per_step = running_mean(self.secs_per_step, secs);
        self.losses.extend(metrics.get("loss"));
        let left = self.secs_per_step * self.steps.saturating_sub(step) as f64;
        let state = state_line(metrics, left, self.secs_per_step);
        match &self.bar {
            Some(bar) if !bar.is_hidden() => {
                bar.set_position(step);
                bar.set_message(state);
            }
            _ if self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) => {
                output::note(&format!("{stage} step {step}/{}: {state}", self.steps));
                self.last_line = Some(Instant::now());
            }
            _ => {}
        }
    }
}

/// Time left, loss, speed, then the terms of the loss: what a narrow terminal cuts off
/// matters least.
fn state_line(metrics: &Metrics, left_secs: f64, secs_per_step: f64) -> String {
    let mut parts = vec![format!("{} left", duration(left_secs))];
    parts.extend(metrics.get("loss").map(|loss| format!("loss {loss:.3}")));
    parts.push(if secs_per_step < 1.0 {
        format!("{:.1} steps/s", 1.0 / secs_per_step.max(1e-9))
    } else {
        format!("{secs_per_step:.1} s/step")
    });
    let terms = metrics.iter().filter(|(name, _)| !matches!(name.as_str(), "loss" | "gradient_norm"));
    parts.extend(terms.map(|(name, value)| format!("{name} {value:.3}")));
    parts.join(", ")
}

/// Mean losses of the first and of the last steps; `None` when these are the same ones.
fn fall(losses: &[f64]) -> Option<(f64, f64)> {
    if losses.len() < 2 * ENDS {
        return None;
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    Some((mean(&losses[..ENDS]), mean(&losses[losses.len() - ENDS..])))
}

/// "stage tower: 350 steps done in 45 s, loss 9.12 -> 2.05; steps waited for data 2.5 % of their
/// time".
fn finished_line(stage: &str, step: u64, secs: f64, loss: Option<(f64, f64)>, waited_share: f64) -> String {
    let loss = loss.map_or_else(String::new, |(first, last)| format!(", loss {first:.2} -> {last:.2}"));
    let percent = 100.0 * waited_share;
    format!(
        "stage {stage}: {step} steps done in {secs:.0} s{loss}; steps waited for data {percent:.1} % of their time"
    )
}

/// "40 s", "12 min", "3 h 05 min".
fn duration(secs: f64) -> String {
    let secs = secs.round().max(0.0) as u64;
    match secs {
        0..120 => format!("{secs} s"),
        120..7200 => format!("{} min", secs.div_ceil(60)),
        _ => format!("{} h {:02} min", secs / 3600, secs % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_step_has_what_matters_first() {
        let metrics = Metrics::from(
            [("gradient_norm", 9.0), ("layout", 0.5), ("loss", 1.25)].map(|(n, v)| (n.to_owned(), v)),
        );
        assert_eq!(state_line(&metrics, 130.0, 0.25), "3 min left, loss 1.250, 4.0 steps/s, layout 0.500");
        assert_eq!(state_line(&Metrics::new(), 11_100.0, 2.0), "3 h 05 min left, 2.0 s/step");
    }

    #[test]
    fn the_end_of_a_stage_tells_how_far_the_loss_fell() {
        let losses: Vec<f64> = (0..100).map(|step| if step < 50 { 8.0 } else { 2.5 }).collect();
        let line = finished_line("joint", 100, 10.0, fall(&losses), 0.0);
        assert!(line.starts_with("stage joint: 100 steps done in 10 s, loss 8.00 -> 2.50; "), "{line}");
        assert_eq!(fall(&losses[..19]), None);
    }

    #[test]
    fn the_end_of_a_stage_tells_how_long_steps_waited_for_data() {
        let line = finished_line("tower", 350, 44.6, None, 0.0249);
        assert_eq!(line, "stage tower: 350 steps done in 45 s; steps waited for data 2.5 % of their time");
    }

    #[test]
    fn the_outcome_is_that_of_the_last_validation_of_the_joint_stage() {
        let mut progress = TrainProgress::default();
        assert_eq!(progress.outcome(), None);
        for (stage, error) in [("joint", 2.0), ("joint", 1.1), ("tower", 9.0)] {
            let figures = [(CONSTANT_LAYOUT_ERROR, 2.4), ("layout_error_m", error)];
            let metrics = figures.map(|(name, value)| (name.to_owned(), value)).into();
            progress.show(&TrainEvent::Validation { stage: stage.to_owned(), step: 1, metrics });
        }
        let outcome = progress.outcome().unwrap();
        assert!(outcome.starts_with("layout error 2.40 m") && outcome.contains("-> 1.10 m"), "{outcome}");
        assert!(!outcome.contains("cameras"), "{outcome}");
        let figures =
            [(CONSTANT_LAYOUT_ERROR, 2.4), ("layout_error_m", 1.0), ("estimated_layout_error_m", 1.5)];
        let metrics = figures.map(|(name, value)| (name.to_owned(), value)).into();
        progress.show(&TrainEvent::Validation { stage: "joint".to_owned(), step: 2, metrics });
        assert!(progress.outcome().unwrap().contains("1.50 m with cameras it found itself"));
    }
}
