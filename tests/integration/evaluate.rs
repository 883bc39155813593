//! An untrained model through the whole evaluation, beside its baselines.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use candle_core::{DType, Device};
use loc3r::evaluate::{
    Metric, ModelPredictor, Prediction, Predictor as _, Report, evaluate, held_out, prior_questions,
};
use loc3r::model::{Loc3rModel, ModelConfig};
use loc3r::synth::{HELD_OUT_SEEDS, QuestionOptions};
use serde_json::Value;

use crate::checkpoints::{Workshop, finished};

const CLIPS: u64 = 3;

fn report() -> Report {
    let model = Loc3rModel::random(&ModelConfig::tiny(), 5, &Device::Cpu).unwrap();
    let mut predictor = ModelPredictor::new(model);
    let questions = QuestionOptions { situations: 3, room_questions: 4, ..QuestionOptions::default() };
    let options = predictor.clip_options(questions).unwrap();
    let prior = prior_questions(6, &options);
    let mut heard = Vec::new();
    let clips = held_out(CLIPS, &options);
    let report = evaluate(&mut predictor, "rooms", clips, &prior, &mut |clip, predictions| {
        heard.push((clip.seed, predictions.len()));
        Ok(())
    })
    .unwrap();
    assert_eq!(heard, [0, 1, 2].map(|index| (HELD_OUT_SEEDS + index, 6)));
    report
}

#[test]
fn a_model_is_measured_beside_its_baselines() {
    let report = report();
    assert_eq!(report.clips.len(), CLIPS as usize);
    let json = report.json();
    for key in ["acc_0_5m", "acc_30deg", "exact_match", "layout_median_m", "within_1_sigma"] {
        assert!(json[key].is_number(), "{key}: {}", json[key]);
        assert!(json["intervals"][key].is_array(), "{key}");
    }
    let baselines = &json["baselines"];
    for name in ["room centre", "random heading", "question words only", "most frequent answer", "oracle"] {
        assert!(baselines[name].is_object(), "{name}");
    }
    for key in ["acc_0_5m", "acc_15deg", "exact_match", "choice_accuracy", "mean_relative_accuracy"] {
        assert_eq!(baselines["oracle"][key], 100.0, "{key}");
    }
    assert_eq!(baselines["room centre"]["exact_match"], serde_json::Value::Null);
    assert_eq!(json["tiers"].as_object().unwrap().len(), 3);
    // Every question is put to the one that guesses many times; once is luck.
    let asked = |name: &str| {
        let column = report.columns.iter().find(|column| column.name == name).unwrap();
        column.values.iter().filter(|value| value.metric == Metric::Acc15deg).count()
    };
    assert_eq!(asked("random heading"), 16 * asked("room centre"));
    let table = report.table();
    assert!(table.contains("| measure") && table.contains("oracle"), "{table}");
}

#[test]
fn the_same_model_gets_the_same_report() {
    assert_eq!(report().json(), report().json());
}

#[test]
fn what_to_think_of_answers_stands_beside_them() {
    let workshop = Workshop::new();
    workshop.run(&["init", "tiny", "--out", "random"]).success();
    let command = ["evaluate", "--model", "random", "--count", "1"];
    let table = workshop.run(&[&command[..], &["--predictions", "said.jsonl"]].concat()).success();
    assert!(table.starts_with("tiny: random weights\nBenchmark rooms: 1 clips"), "{table}");
    let said = std::fs::read_to_string(workshop.path("said.jsonl")).unwrap();
    assert!(said.lines().count() > 3, "{said}");
    for line in said.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for (name, prediction) in line["predictions"].as_object().unwrap() {
            let notice = prediction.get("notice").and_then(Value::as_str);
            assert_eq!(notice, (name == "tiny").then_some("random weights"), "{line}");
        }
        assert!(line["predictions"]["tiny"]["answer"].is_string(), "{line}");
    }
    let json: Value =
        serde_json::from_str(&workshop.run(&[&command[..], &["--json"]].concat()).success()).unwrap();
    assert_eq!(json["notice"], "random weights");
}

#[test]
fn a_model_below_the_bars_fails_by_name() {
    let workshop = Workshop::new();
    let run = workshop.run(&["evaluate", "--count", "2", "--bars"]);
    assert_eq!(run.code(), Some(1), "{}", run.stderr());
    assert!(run.stdout().contains("| measure"), "{}", run.stdout());
    // It says nothing sensible, and knows nothing of a room.
    for bar in ["exact_match must be 8 points above ", "mean_relative_accuracy must be 10 points above "] {
        assert!(run.stderr().contains(bar), "{bar} is missing in\n{}", run.stderr());
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_prints_what_was_measured_so_far() {
    use std::time::{Duration, Instant};

    let workshop = Workshop::new();
    let running = workshop.start(&["evaluate", "--predictions", "said.jsonl"]);
    let said = || std::fs::read_to_string(workshop.path("said.jsonl")).unwrap_or_default();
    let started = Instant::now();
    while !said().ends_with('\n') && started.elapsed() < Duration::from_secs(100) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let signal = std::process::Command::new("kill").args(["-INT", &running.id().to_string()]).status();
    assert!(signal.unwrap().success());
    let run = finished(running);
    let message = run.failure();

    let clips: std::collections::BTreeSet<String> = said()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["clip"].as_str().unwrap().to_owned())
        .collect();
    let (done, table) = (clips.len(), run.stdout());
    assert!((1..500).contains(&done), "{done}");
    assert!(table.starts_with(&format!("Stopped: {done} of 500 clips only.\n")), "{table}");
    assert!(table.contains(&format!("Benchmark rooms: {done} clips, ")), "{table}");
    assert!(message.contains(&format!("stopped after {done} of 500 clips")), "{message}");
}

/// Clips that everybody sees first are like those that the model was trained on.
#[cfg(feature = "ffmpeg")]
#[test]
fn bundled_clips_are_not_remarked_on() {
    let workshop = Workshop::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = root.join("assets/models/loc3r-mini");
    for name in ["studio", "two_rooms", "office"] {
        let clip = root.join(format!("sample_videos/{name}.mp4"));
        let ask = ["ask", clip.to_str().unwrap(), "What is on my left?", "--model", model.to_str().unwrap()];
        let run = workshop.run(&ask);
        run.success();
        assert!(!run.stderr().contains("looks unlike"), "{name}: {}", run.stderr());
    }
}

/// What the bundled model says of two held-out clips when it computes with numbers of `dtype`.
fn bundled(dtype: DType) -> Vec<Prediction> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/models/loc3r-mini");
    let mut predictor = ModelPredictor::new(Loc3rModel::load_as(&folder, dtype, &Device::Cpu).unwrap());
    let options = predictor.clip_options(QuestionOptions::default()).unwrap();
    held_out(2, &options).map(|clip| predictor.predict(&clip.unwrap()).unwrap()).collect()
}

/// Half precision moves what the bundled model says by less than it is wrong by anyhow: layouts
/// by 3 cm, situations by 10 cm in the median, and nine of ten answers stay word for word.
#[test]
fn half_precision_says_nearly_the_same() {
    let full = bundled(DType::F32);
    // Held-out rooms look like those it was trained on.
    assert!(full.iter().all(|said| said.strangeness.is_some_and(|strange| strange <= 1.0)));
    for dtype in [DType::F16, DType::BF16] {
        let half = bundled(dtype);
        let (mut layout, mut position, mut same, mut all) = (Vec::new(), Vec::new(), 0, 0);
        for (full, half) in full.iter().zip(&half) {
            let tokens =
                full.layout.iter().zip(&half.layout).flat_map(|(a, b)| a.tokens.iter().zip(&b.tokens));
            layout.extend(tokens.map(|(a, b)| a.position.distance(b.position)));
            for (full, half) in full.answers.iter().zip(&half.answers) {
                let pose = |guess: &loc3r::evaluate::AnswerGuess| guess.pose.unwrap().situation;
                position.push(pose(full).position.distance(pose(half).position));
                same += usize::from(full.text == half.text);
                all += 1;
            }
        }
        let median = |values: &mut Vec<f32>| {
            values.sort_by(f32::total_cmp);
            values[values.len() / 2]
        };
        let (layout, position) = (median(&mut layout), median(&mut position));
        assert!(all >= 30 && 10 * same >= 9 * all, "{dtype:?}: {same} of {all} answers");
        assert!(layout < 0.03 && position < 0.1, "{dtype:?}: {layout} m, {position} m");
    }
}
