//! `loc3r train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::ablation::{self, Extent};
use super::command_line::this_start;
use super::conversation::{RECORDER_START, RecordingArgs, end_recorder};
use super::curves::draw_curves;
use super::interrupt::stop_on_ctrl_c;
use super::output;
use super::progress::TrainProgress;
use crate::model::device::{ComputeDevice, choose};
use crate::recording::{Recorder, RecorderEvent, TrainingPlan, free_file};
use crate::train::export::export;
use crate::train::scenes::MOST_SCENES;
use crate::train::{RunDir, StageKind, TrainConfig, TrainError, TrainEvent, origin, pipeline};

/// Train a model on generated rooms.
///
/// A preset runs its stages in order; each can be stopped at any moment and goes
/// on with --resume. Example: loc3r train --preset mini --out runs/mini
///
/// --rrd FILE records curves, and the held-out rooms at each validation; a file that is
/// there is kept and the new one gets a number.
#[derive(Debug, Default, clap::Args)]
pub(super) struct TrainArgs {
    /// What to train: a preset (tiny, mini; ablation for --ablation) or one stage of mini (tower,
    /// camera, joint).
    #[arg(long, default_value = "mini")]
    preset: String,
    /// A configuration file instead of a preset.
    #[arg(long, conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Changes one setting, as in --set tower.steps=100; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The run folder.
    #[arg(long, value_name = "RUN", required_unless_present = "print_config")]
    out: Option<PathBuf>,
    /// Goes on with the run in the folder, from where Ctrl-C or anything else stopped it.
    /// Settings given beside it (--set, --steps) take the place of the stored ones.
    #[arg(long)]
    resume: bool,
    /// Optimiser steps of every stage.
    #[arg(long)]
    steps: Option<u64>,
    /// Takes finished stages from another run folder, or vision tower and camera encoder from a
    /// model, as in --from tower=assets/models/loc3r-mini; may be repeated.
    #[arg(long, value_name = "STAGE=RUN")]
    from: Vec<String>,
    /// Goes on from the model that a run exported: the joint stage begins with its weights
    /// instead of random ones, in a new run; another seed gives it other rooms. Example: loc3r
    /// train --preset joint --init assets/models/loc3r-mini --set seed=3 --out runs/more
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["resume", "ablation", "from"])]
    init: Option<PathBuf>,
    /// Instead of one model, trains and measures every model of the comparison that shows
    /// what each part of the objective does; the table is RUN/README.md. Stopped at any
    /// moment, the same command goes on.
    #[arg(long, conflicts_with_all = ["resume", "export"])]
    ablation: bool,
    /// Runs of every model of the ablation.
    #[arg(long, value_name = "N", default_value_t = 2, requires = "ablation", value_parser = clap::value_parser!(u64).range(1..=16))]
    seeds: u64,
    /// Joint steps that all models of the ablation have in common before they part: they teach
    /// answers and what nouns name in a picture, nothing of space [default: as many as follow].
    #[arg(long, value_name = "N", requires = "ablation")]
    common_steps: Option<u64>,
    /// Held-out clips that every model of the ablation is measured on.
    #[arg(long, value_name = "N", default_value_t = 100, requires = "ablation", value_parser = clap::value_parser!(u64).range(1..=500))]
    clips: u64,
    /// Where the trained model is written [default: RUN/model].
    #[arg(long, value_name = "FOLDER")]
    export: Option<PathBuf>,
    /// Where to train: auto, cpu, cuda, cuda:N or metal; a run can go on elsewhere.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: ComputeDevice,
    /// Prints the configuration and stops.
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    recording: RecordingArgs,
}

/// Keeps the element-wise operations of candle on the threads that call them, unless the
/// environment says otherwise: its own threads take one caller at a time and wait by spinning,
/// and each micro-batch has a thread already. To be called before any other thread runs.
fn keep_candle_on_its_callers() {
    const THREADS: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() {
        #[expect(unsafe_code, reason = "candle takes the number of its threads from the environment alone")]
        // SAFETY: nothing else runs yet that could read the environment.
        unsafe {
            std::env::set_var(THREADS, "1");
        }
    }
}

pub(super) fn run(args: TrainArgs) -> anyhow::Result<ExitCode> {
    let config = configuration(&args)?;
    if config.micro_batches > 1 {
        keep_candle_on_its_callers();
    }
    if args.print_config {
        output::result(&config.to_toml()?);
        return Ok(ExitCode::SUCCESS);
    }
    let out = args.out.clone().context("--out RUN names the folder of the run")?;
    let from = args.from.iter().map(|text| adopted(text)).collect::<anyhow::Result<Vec<_>>>()?;
    if args.ablation {
        let mut progress = TrainProgress::default();
        let extent = Extent {
            seeds: args.seeds,
            clips: args.clips,
            common_steps: args.common_steps.unwrap_or(config.joint.steps),
            device: args.device,
        };
        let observer = &mut |event: &TrainEvent| progress.show(event);
        let table = ablation::run(
            &config,
            &out,
            &from,
            extent,
            &stop_on_ctrl_c("stopping after this step")?,
            observer,
        )?;
        output::result(&table);
        return Ok(ExitCode::SUCCESS);
    }
    let (run, config) = opened(&args, &out, config, &from)?;
    let mut progress = TrainProgress::default();
    let mut recording = TrainRecording::start(&args.recording, &run, &config)?;
    let (device, name) = choose(args.device)?;
    output::note(&format!("training on {name}"));
    let outcome = pipeline::train(
        &run,
        &config,
        &device,
        &stop_on_ctrl_c("stopping after this step")?,
        &mut |event: &TrainEvent| {
            progress.show(event);
            recording.take(event, &progress);
        },
    );
    recording.finish();
    draw_curves(&run)?;
    if let Err(TrainError::Stopped { stage, step }) = outcome {
        drop(progress);
        bail!(
            "stopped at step {step} of stage {stage}, which is saved; to go on: loc3r train --out {} --resume",
            out.display()
        );
    }
    outcome?;
    let folder = args.export.unwrap_or_else(|| run.path().join("model"));
    if run.progress(StageKind::Joint.name())?.is_some() {
        export(&run, &config, &folder)?;
        output::note(&format!("model written to {}", folder.display()));
    }
    if let Some(reached) = progress.outcome() {
        output::note(&reached);
    }
    output::result(&run.path().display().to_string());
    Ok(ExitCode::SUCCESS)
}

/// The run in the folder `out`, begun or gone on with, and its settings: `config` for a new one.
fn opened(
    args: &TrainArgs,
    out: &Path,
    config: TrainConfig,
    from: &[(StageKind, PathBuf)],
) -> anyhow::Result<(RunDir, TrainConfig)> {
    let (run, config) = if args.resume && RunDir::at(out).config_path().exists() {
        let (run, stored) = RunDir::open(out)?;
        let config = adjusted(&stored, &args.set, args.steps)?;
        if config != stored {
            run.store(&config)?;
        }
        (run, config)
    } else if let Some(folder) = &args.init {
        pipeline::begin_with(folder, out, &config)?
    } else {
        (RunDir::create(out, &config)?, config)
    };
    for (kind, folder) in from {
        pipeline::adopt_stage(&run, &config, folder, *kind)?;
    }
    origin::note_start(&run, this_start(config.seed))?;
    Ok((run, config))
}

/// Reads "STAGE=RUN".
fn adopted(text: &str) -> anyhow::Result<(StageKind, PathBuf)> {
    let (stage, folder) = text.split_once('=').context("--from needs STAGE=RUN")?;
    let kind = stage_kind(stage).with_context(|| format!("{stage:?} is no stage: tower, camera or joint"))?;
    Ok((kind, folder.into()))
}

/// The Rerun recording of a run; what goes wrong with it never ends the training.
struct TrainRecording(Option<Recorder>);

impl TrainRecording {
    fn start(args: &RecordingArgs, run: &RunDir, config: &TrainConfig) -> anyhow::Result<Self> {
        let mut places = args.config();
        if !places.is_on() {
            return Ok(Self(None));
        }
        // A run that goes on gets a file of its own: the one before may be all there is of it.
        places.rrd = places.rrd.map(|file| free_file(&file));
        let scenes = config.stages.contains(&StageKind::Joint);
        let plan = TrainingPlan {
            name: run.path().file_name().unwrap_or(run.path().as_os_str()).to_string_lossy().into_owned(),
            stages: config.stages.iter().map(|stage| stage.name().to_owned()).collect(),
            scenes: if scenes { MOST_SCENES.min(config.validation.clips as usize) } else { 0 },
            history: run.history()?,
        };
        let mut recorder = Recorder::start_training(places, plan)?;
        for message in recorder.wait_until_ready(RECORDER_START)? {
            output::note(&message);
        }
        Ok(Self(Some(recorder)))
    }

    fn take(&mut self, event: &TrainEvent, progress: &TrainProgress) {
        let Some(recorder) = &mut self.0 else { return };
        recorder.record_training(event);
        while let Some(message) = recorder.poll() {
            match message {
                RecorderEvent::Warning { message } => progress.line(&format!("warning: {message}")),
                RecorderEvent::Failed { message } => {
                    progress.line(&format!("warning: {message}; the training goes on without a recording"));
                    self.0 = None;
                    return;
                }
                RecorderEvent::Ready { .. } | RecorderEvent::Finished(_) => {}
            }
        }
    }

    fn finish(self) {
        if let Some(recorder) = self.0
            && let Err(error) = end_recorder(recorder)
        {
            output::note(&format!("warning: {error:#}"));
        }
    }
}

fn configuration(args: &TrainArgs) -> anyhow::Result<TrainConfig> {
    let config = match (&args.config, stage_kind(&args.preset)) {
        (Some(path), _) => TrainConfig::from_file(path)?,
        (None, Some(kind)) => TrainConfig { stages: vec![kind], ..TrainConfig::preset("mini")? },
        (None, None) => TrainConfig::preset(&args.preset)?,
    };
    adjusted(&config, &args.set, args.steps)
}

fn adjusted(config: &TrainConfig, set: &[String], steps: Option<u64>) -> anyhow::Result<TrainConfig> {
    let mut assignments: Vec<String> = Vec::new();
    if let Some(steps) = steps {
        assignments.extend(["tower", "camera", "joint"].map(|stage| format!("{stage}.steps={steps}")));
    }
    assignments.extend_from_slice(set);
    Ok(config.with(&assignments)?)
}

fn stage_kind(name: &str) -> Option<StageKind> {
    StageKind::ALL.into_iter().find(|kind| kind.name() == name)
}
