//! `loc3r train --ablation`: which part of the objective does what. Every model gets the
//! same rooms, steps and starting weights; the paper's table 4 at our size, and the way it
//! argues against: geometry at the input instead of objectives.
//!
//! The paper begins with a language model that knows words and pictures, ours with nothing. So
//! all models share their first steps, which teach answers and what nouns name in a picture,
//! and nothing of space.

mod learning;
mod report;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::command_line::this_start;
use super::curves::draw_curves;
use super::{evaluate, output};
use crate::evaluate::{ClipFacts, ModelPredictor, Value, compare, held_out};
use crate::model::device::{ComputeDevice, choose};
use crate::synth::QuestionOptions;
use crate::train::config::{CameraSource, CueSource, JointConfig, JointWeights};
use crate::train::export::export;
use crate::train::{RunDir, StageKind, TrainConfig, TrainEvent, origin, pipeline};
use crate::worker::CancelFlag;

/// A model of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Language,
    Situation,
    Layout,
    Both,
    Full,
    TrueGeometry,
    EstimatedGeometry,
}

impl Variant {
    const ALL: [Self; 7] = [
        Self::Language,
        Self::Situation,
        Self::Layout,
        Self::Both,
        Self::Full,
        Self::TrueGeometry,
        Self::EstimatedGeometry,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Language => "language only",
            Self::Situation => "+ situation",
            Self::Layout => "+ layout",
            Self::Both => "+ both",
            Self::Full => "+ camera token (full)",
            Self::TrueGeometry => "geometry at the input (true)",
            Self::EstimatedGeometry => "geometry at the input (estimated)",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Language => "language",
            Self::Situation => "situation",
            Self::Layout => "layout",
            Self::Both => "both",
            Self::Full => "full",
            Self::TrueGeometry => "geometry_true",
            Self::EstimatedGeometry => "geometry_estimated",
        }
    }

    fn learns_situation(self) -> bool {
        matches!(self, Self::Situation | Self::Both | Self::Full)
    }

    fn learns_layout(self) -> bool {
        matches!(self, Self::Layout | Self::Both | Self::Full)
    }

    /// The joint stage of this model; `base` is that of the full one. Training aids belong
    /// to the objective whose truth they use; what nouns name in a picture is no truth of either.
    fn config(self, base: &TrainConfig, seed: u64) -> TrainConfig {
        let mut config = TrainConfig { seed, stages: vec![StageKind::Joint], ..base.clone() };
        let joint = &mut config.joint;
        if !matches!(self, Self::Full) {
            joint.camera = CameraSource::None;
        }
        if !self.learns_situation() {
            joint.weights = JointWeights {
                situation: 0.0,
                mention: 0.0,
                referring: 0.0,
                gaze: 0.0,
                egocentric: 0.0,
                front: 0.0,
                ..joint.weights
            };
        }
        if !self.learns_layout() {
            joint.weights = JointWeights { layout: 0.0, early_layout: 0.0, ..joint.weights };
        }
        joint.geometry_cue = match self {
            Self::TrueGeometry => CueSource::Truth,
            Self::EstimatedGeometry => CueSource::Estimated,
            _ => CueSource::None,
        };
        config
    }
}

/// What one run came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Outcome {
    values: Vec<Value>,
    clips: Vec<ClipFacts>,
    questions: usize,
    /// Seconds of all training steps.
    train_secs: f64,
    /// Mean seconds to read a clip, and to answer a question about it.
    encode_secs: f64,
    answer_secs: f64,
}

/// Size of the comparison, and where it runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Runs of every model.
    pub(super) seeds: u64,
    /// Held-out clips that each is measured on.
    pub(super) clips: u64,
    /// Joint steps that all models have in common, before their own.
    pub(super) common_steps: u64,
    /// Where models are trained and measured.
    pub(super) device: ComputeDevice,
}

/// Trains and measures every model, each in a folder below `out`, and writes tables and charts
/// there after each. What is finished is not done again. Gives what the tables come to and
/// where they are.
///
/// # Errors
/// [`crate::train::TrainError::Stopped`] inside, when `stop` was raised.
pub(super) fn run(
    base: &TrainConfig,
    out: &Path,
    from: &[(StageKind, PathBuf)],
    extent: Extent,
    stop: &CancelFlag,
    observer: &mut dyn FnMut(&TrainEvent),
) -> anyhow::Result<String> {
    let shared = shared_run(base, out, from, extent, stop, observer)?;
    // What only random weights begin with is done.
    let joint =
        if extent.common_steps == 0 { base.joint } else { JointConfig { word_steps: 0, ..base.joint } };
    let own = TrainConfig { joint, ..base.clone() };
    let (mut runs, mut missing) = (Vec::new(), Vec::new());
    for (variant, seed) in order(extent.seeds) {
        let folder = run_folder(out, variant, seed);
        let config = variant.config(&own, base.seed + seed);
        match finished(&config, &folder, extent)? {
            Some(outcome) => runs.push((variant, seed, outcome)),
            None => missing.push((variant, seed, folder, config)),
        }
    }
    let mut text = if runs.is_empty() { String::new() } else { report::write(base, out, extent, &runs)? };
    for (variant, seed, folder, config) in missing {
        let outcome = outcome(variant, &config, &shared, &folder, extent, stop, observer)?;
        runs.push((variant, seed, outcome));
        // Whoever stops early has the tables of what is finished.
        text = report::write(base, out, extent, &runs)?;
    }
    Ok(format!("{text}\nAll tables: {}", out.join("README.md").display()))
}

/// Where a model is trained.
fn run_folder(out: &Path, variant: Variant, seed: u64) -> PathBuf {
    out.join(format!("{}-{seed}", variant.folder()))
}

/// Where it is kept what a model came to.
fn outcome_file(folder: &Path, extent: Extent) -> PathBuf {
    folder.join(format!("outcome_{}.json", extent.clips))
}

/// All models of a seed before the next one; those last that wait longest for their data.
fn order(seeds: u64) -> Vec<(Variant, u64)> {
    let mut all: Vec<_> = (0..seeds).flat_map(|seed| Variant::ALL.map(|variant| (variant, seed))).collect();
    all.sort_by_key(|(variant, _)| *variant == Variant::EstimatedGeometry);
    all
}

/// Vision tower, camera encoder and the first steps of the language model, which all models
/// share.
fn shared_run(
    base: &TrainConfig,
    out: &Path,
    from: &[(StageKind, PathBuf)],
    extent: Extent,
    stop: &CancelFlag,
    observer: &mut dyn FnMut(&TrainEvent),
) -> anyhow::Result<RunDir> {
    let mut config = Variant::Language.config(base, base.seed);
    config.joint.steps = extent.common_steps;
    // Nothing that they learn has a head of its own.
    config.joint.head_steps = 0;
    config.stages = vec![StageKind::Tower, StageKind::Camera];
    if extent.common_steps > 0 {
        config.stages.push(StageKind::Joint);
    }
    let run = opened(&out.join("shared"), &config)?;
    origin::note_start(&run, this_start(config.seed))?;
    for (kind, folder) in from {
        if run.progress(kind.name())?.is_none() {
            pipeline::adopt_stage(&run, &config, folder, *kind)?;
        }
    }
    pipeline::train(&run, &config, &choose(extent.device)?.0, stop, observer)?;
    Ok(run)
}

/// The run in `folder`, a new one if there is none.
fn opened(folder: &Path, config: &TrainConfig) -> anyhow::Result<RunDir> {
    if !RunDir::at(folder).config_path().exists() {
        return Ok(RunDir::create(folder, config)?);
    }
    let (run, stored) = RunDir::open(folder)?;
    anyhow::ensure!(
        stored == *config,
        "{} was begun with other settings; give the same ones or choose another folder with --out",
        folder.display()
    );
    Ok(run)
}

/// What the model in `folder` came to; `None` when it is not finished.
fn finished(config: &TrainConfig, folder: &Path, extent: Extent) -> anyhow::Result<Option<Outcome>> {
    let file = outcome_file(folder, extent);
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(None) };
    opened(folder, config)?;
    let outcome = serde_json::from_str(&text);
    outcome.map(Some).with_context(|| format!("cannot read {}; delete it to measure again", file.display()))
}

/// Trains and measures the model in `folder`.
fn outcome(
    variant: Variant,
    config: &TrainConfig,
    shared: &RunDir,
    folder: &Path,
    extent: Extent,
    stop: &CancelFlag,
    observer: &mut dyn FnMut(&TrainEvent),
) -> anyhow::Result<Outcome> {
    let run = opened(folder, config)?;
    origin::note_start(&run, this_start(config.seed))?;
    output::note(&format!("{}: {}", folder.display(), variant.name()));
    for kind in [StageKind::Tower, StageKind::Camera] {
        if run.progress(kind.name())?.is_none() {
            pipeline::adopt_stage(&run, config, shared.path(), kind)?;
        }
    }
    if extent.common_steps > 0 && run.progress(StageKind::Joint.name())?.is_none() {
        run.begin_from(shared, StageKind::Joint)?;
    }
    pipeline::train(&run, config, &choose(extent.device)?.0, stop, observer)?;
    draw_curves(&run)?;
    let model = folder.join("model");
    export(&run, config, &model)?;
    let outcome = measured(variant, &run, &model, extent, stop)?;
    let file = outcome_file(folder, extent);
    std::fs::write(&file, serde_json::to_string(&outcome)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(outcome)
}

fn measured(
    variant: Variant,
    run: &RunDir,
    model: &Path,
    extent: Extent,
    stop: &CancelFlag,
) -> anyhow::Result<Outcome> {
    let mut predictor = ModelPredictor::load(model, extent.device)?;
    if variant == Variant::TrueGeometry {
        predictor = predictor.with_true_points();
    }
    let options = predictor.clip_options(QuestionOptions::default())?;
    let bar = evaluate::progress(extent.clips);
    let clips = evaluate::until(stop, held_out(extent.clips, &options));
    let report = compare(&mut [&mut predictor], "rooms", clips, &mut |_, _| {
        bar.inc(1);
        Ok(())
    });
    bar.finish_and_clear();
    let whole = report.as_ref().is_ok_and(|report| report.clips.len() as u64 == extent.clips);
    if stop.is_raised() && !whole {
        bail!("stopped while {} was measured; the same command measures it anew", model.display());
    }
    let report = report?;
    let (encode_secs, answer_secs) = predictor.mean_secs();
    let train_secs = run
        .history()?
        .iter()
        .map(|event| if let TrainEvent::Step { secs, .. } = event { *secs } else { 0.0 })
        .sum();
    let values = report.columns.into_iter().next().map(|column| column.values).unwrap_or_default();
    Ok(Outcome {
        // Heads that were not trained have nothing to say.
        values: values
            .into_iter()
            .filter(|value| {
                (variant.learns_situation() || !value.metric.is_localization())
                    && (variant.learns_layout() || !value.metric.is_layout())
            })
            .collect(),
        clips: report.clips,
        questions: report.questions,
        train_secs,
        encode_secs,
        answer_secs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longest_comes_last() {
        let order = order(2);
        assert_eq!(order.len(), 14);
        assert_eq!((order[0], order[5]), ((Variant::Language, 0), (Variant::TrueGeometry, 0)));
        assert_eq!(order[6], (Variant::Language, 1));
        assert_eq!(order[12..], [(Variant::EstimatedGeometry, 0), (Variant::EstimatedGeometry, 1)]);
    }

    #[test]
    fn models_differ_in_what_they_are_told_to_learn() {
        let base = TrainConfig::preset("mini").unwrap();
        let weights = |variant: Variant| variant.config(&base, 7).joint.weights;
        for variant in Variant::ALL {
            let config = variant.config(&base, 7);
            let (joint, full) = (&config.joint, variant == Variant::Full);
            assert_eq!(config.seed, 7);
            assert_eq!(joint.camera == CameraSource::None, !full, "{variant:?}");
            assert_eq!((joint.steps, joint.weights.answer), (base.joint.steps, base.joint.weights.answer));
        }
        assert_eq!(weights(Variant::Full), base.joint.weights);
        assert_eq!(weights(Variant::Both), base.joint.weights);
        assert_eq!(weights(Variant::Layout).situation, 0.0);
        assert_eq!(weights(Variant::Situation).layout, 0.0);
        // Whatever tells where something is, or somebody.
        let JointWeights { answer, naming, pointing, words, color, .. } = base.joint.weights;
        let nothing = JointWeights {
            answer,
            naming,
            pointing,
            words,
            color,
            layout: 0.0,
            situation: 0.0,
            orientation: base.joint.weights.orientation,
            heading_sigma_bins: base.joint.weights.heading_sigma_bins,
            mention: 0.0,
            early_layout: 0.0,
            referring: 0.0,
            gaze: 0.0,
            egocentric: 0.0,
            front: 0.0,
        };
        assert_eq!(weights(Variant::Language), nothing);
        assert_eq!(Variant::TrueGeometry.config(&base, 7).joint.geometry_cue, CueSource::Truth);
    }
}
