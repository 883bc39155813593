//! An untrained model through the whole evaluation, beside its baselines.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use candle_core::Device;
use loc3r::evaluate::{ModelPredictor, Report, evaluate, held_out, prior_questions};
use loc3r::model::{Loc3rModel, ModelConfig};
use loc3r::synth::QuestionOptions;

const CLIPS: u64 = 3;

fn report() -> Report {
    let model = Loc3rModel::random(&ModelConfig::tiny(), 5, &Device::Cpu).unwrap();
    let mut predictor = ModelPredictor::new(model);
    let questions = QuestionOptions { situations: 3, room_questions: 4, ..QuestionOptions::default() };
    let options = predictor.clip_options(questions).unwrap();
    let prior = prior_questions(6, &options);
    let mut heard = Vec::new();
    let report =
        evaluate(&mut predictor, "rooms", held_out(CLIPS, &options), &prior, &mut |done| heard.push(done))
            .unwrap();
    assert_eq!(heard, [1, 2, 3]);
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
    let table = report.table();
    assert!(table.contains("| measure") && table.contains("oracle"), "{table}");
}

#[test]
fn the_same_model_gets_the_same_report() {
    assert_eq!(report().json(), report().json());
}
