//! `loc3r evaluate`.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::interrupt::stop_on_ctrl_c;
use super::{output, places};
use crate::dataset::read_real_rooms;
use crate::evaluate::plots::{calibration, error_by_sigma};
use crate::evaluate::real_rooms::{Unknown, real_clip};
use crate::evaluate::{
    BenchmarkClip, ClipOptions, Column, EvaluateError, ModelPredictor, Prediction, Report, Requirement,
    evaluate, held_out, missed_bars, prediction_records, prior_questions,
};
use crate::model::device::ComputeDevice;
use crate::synth::QuestionOptions;
use crate::worker::CancelFlag;

/// Measure a model beside its baselines.
///
/// Runs the model over generated rooms that training never sees and prints
/// localisation, answers, layout and camera errors with 95 % intervals, beside what
/// can be had without looking. With --layouts it runs over real rooms instead.
/// Ctrl-C ends it after the clip at hand and prints what was measured so far.
#[derive(Debug, clap::Args)]
pub(super) struct EvaluateArgs {
    /// Checkpoint folder, GGUF file, or name of an installed model [default: $LOC3R_MODEL, or the bundled loc3r-mini]
    #[arg(long, value_name = "FOLDER|GGUF|NAME")]
    model: Option<PathBuf>,
    /// What to run over.
    #[arg(long, value_enum, default_value_t = Benchmark::Rooms)]
    benchmark: Benchmark,
    /// Number of clips, the first of the benchmark; all of them take long on a CPU.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=500))]
    count: u64,
    /// Real rooms instead: a JSON file of rooms as labelled boxes with situations, questions
    /// and answers in people's own words; a walk through each is rendered.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["benchmark", "count"])]
    layouts: Option<PathBuf>,
    /// Writes charts to a folder: calibration.svg and error_by_sigma.svg.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Writes what was said to every question, beside the truth and what the baselines say, as
    /// JSON lines.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Where to run: auto, cpu, cuda, cuda:N or metal; a device that is missing is an error.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: ComputeDevice,
    /// End with exit code 1 unless a measure reaches a value, as in
    /// `--require acc_1m>=45` or `--require layout_median_m<=0.6`; repeatable.
    #[arg(long, value_name = "MEASURE>=VALUE")]
    require: Vec<Requirement>,
    /// End with exit code 1 unless the benchmark finds the bundled model as good as it has to be;
    /// every bar that is missed is named.
    #[arg(long, conflicts_with = "layouts")]
    bars: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Benchmark {
    /// Generated rooms of the held-out seeds, in three tiers.
    Rooms,
}

pub(super) fn run(args: EvaluateArgs) -> anyhow::Result<ExitCode> {
    let stop = stop_on_ctrl_c("stopping after this clip")?;
    let folder = places::model_folder(args.model.as_deref())?;
    let mut model = ModelPredictor::load(&folder, args.device)
        .with_context(|| format!("cannot evaluate {}", folder.display()))?;
    let (report, wanted) = measured(&args, &mut model, &stop)?;
    let done = report.clips.len() as u64;
    output::result(&printed(&report, model.notice(), (done < wanted).then_some(wanted), args.json)?);
    if done < wanted {
        bail!("stopped after {done} of {wanted} clips; what was printed is about these alone");
    }
    if let (Some(folder), Some(column)) = (&args.plots, report.columns.first()) {
        draw(folder, "", column)?;
    }
    let mut missed: Vec<String> = args.require.iter().filter_map(|r| r.missed(&report)).collect();
    if args.bars {
        missed.extend(missed_bars(&report));
    }
    for sentence in &missed {
        output::note(sentence);
    }
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Runs the model and its baselines over the clips until `stop` is raised: what they scored, and
/// how many clips there are in all.
fn measured(
    args: &EvaluateArgs,
    model: &mut ModelPredictor,
    stop: &CancelFlag,
) -> anyhow::Result<(Report, u64)> {
    /// Scenes that the word baselines learn from.
    const PRIOR_SCENES: u64 = 90;
    let options = model.clip_options(QuestionOptions::default())?;
    let rooms = args.layouts.as_ref().map(|file| read_real_rooms(file)).transpose()?;
    // People wrote the questions about real rooms: there the baselines read what models read.
    let everyday = if rooms.is_some() { QuestionOptions::EVERYDAY } else { options.questions.everyday };
    let questions = QuestionOptions { everyday, ..options.questions };
    let prior = prior_questions(PRIOR_SCENES, &ClipOptions { questions, ..options });
    let wanted = rooms.as_ref().map_or(args.count, |rooms| rooms.len() as u64);
    let bar = progress(wanted);
    let mut lines = args.predictions.as_deref().map(create).transpose()?;
    let mut listener = |clip: &BenchmarkClip, predictions: &[(String, Prediction)]| {
        bar.inc(1);
        if let Some(lines) = &mut lines {
            for record in prediction_records(clip, predictions) {
                serde_json::to_writer(&mut *lines, &record).map_err(std::io::Error::from)?;
                lines.write_all(b"\n")?;
            }
            lines.flush()?;
        }
        Ok(())
    };
    let report = if let Some(rooms) = &rooms {
        let clips = (0..).zip(rooms).map(|(k, room)| Ok(real_clip(room, k, &options)?));
        let report = evaluate(model, "real rooms", until(stop, clips), &prior, &mut listener);
        report.map(|report| Report { unknown: Some(Unknown::of(rooms, &prior)), ..report })
    } else {
        let Benchmark::Rooms = args.benchmark;
        evaluate(model, "rooms", until(stop, held_out(args.count, &options)), &prior, &mut listener)
    };
    bar.finish_and_clear();
    match report {
        Err(EvaluateError::Empty) if stop.is_raised() => {
            bail!("stopped before the first of {wanted} clips was done")
        }
        report => Ok((report?, wanted)),
    }
}

/// `clips` until `stop` is raised: none is begun after that.
pub(super) fn until<T>(stop: &CancelFlag, mut clips: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || if stop.is_raised() { None } else { clips.next() })
}

/// Writes `calibrationNAME.svg` and `error_by_sigmaNAME.svg` to a folder, which is made; gives
/// their file names.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn draw(folder: &Path, name: &str, column: &Column) -> anyhow::Result<[String; 2]> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let files = [format!("calibration{name}.svg"), format!("error_by_sigma{name}.svg")];
    for (file, chart) in files.iter().zip([calibration(column), error_by_sigma(column)]) {
        let path = folder.join(file);
        std::fs::write(&path, chart.svg()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(files)
}

/// The report as a table or JSON, with what to think of the model's answers; `stopped_of` says how
/// many clips there would have been, where not all were done.
fn printed(report: &Report, notice: &str, stopped_of: Option<u64>, as_json: bool) -> anyhow::Result<String> {
    let name = report.columns.first().map(|column| column.name.as_str()).unwrap_or_default();
    let told = !notice.is_empty();
    if as_json {
        let mut json = report.json();
        if told {
            json["notice"] = notice.into();
        }
        if let Some(wanted) = stopped_of {
            json["stopped_of"] = wanted.into();
        }
        return Ok(serde_json::to_string_pretty(&json)?);
    }
    let mut text = String::new();
    if told {
        text.push_str(&format!("{name}: {notice}\n"));
    }
    if let Some(wanted) = stopped_of {
        text.push_str(&format!("Stopped: {} of {wanted} clips only.\n", report.clips.len()));
    }
    Ok(text + &report.table())
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

pub(super) fn progress(clips: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(clips), ProgressDrawTarget::stderr_with_hz(2));
    match ProgressStyle::with_template("evaluate {wide_bar} {pos}/{len} clips, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_that_was_stopped_says_so() {
        let column = Column { name: "tiny".to_owned(), values: Vec::new() };
        let report = Report {
            benchmark: "rooms".to_owned(),
            columns: vec![column],
            clips: Vec::new(),
            questions: 0,
            unknown: None,
        };
        let json = |stopped_of| -> serde_json::Value {
            serde_json::from_str(&printed(&report, "", stopped_of, true).unwrap()).unwrap()
        };
        assert_eq!(json(Some(500))["stopped_of"], 500);
        assert!(json(None).get("stopped_of").is_none());
        let table = printed(&report, "random weights", Some(500), false).unwrap();
        assert!(
            table.starts_with("tiny: random weights\nStopped: 0 of 500 clips only.\nBenchmark"),
            "{table}"
        );
        assert!(!printed(&report, "", None, false).unwrap().contains("Stopped"));
    }

    #[test]
    fn no_clip_is_begun_after_a_stop() {
        let stop = CancelFlag::default();
        let mut begun = 0;
        let mut clips = until(&stop, std::iter::repeat_with(|| begun += 1));
        assert!(clips.next().is_some());
        stop.raise();
        assert!(clips.next().is_none());
        drop(clips);
        assert_eq!(begun, 1);
    }
}
