//! The metrics: answers, text overlap, numbers, localisation.

use serde_json::Value;

use super::{Bound, Fixture, ParityError};
use crate::evaluate::answers::{
    choice_match, clean_answer, exact_match, mean_relative_accuracy, parse_number, refined_match,
};
use crate::evaluate::text_overlap::{TextPair, bleu, cider_d, rouge_l};
use crate::evaluate::{LocalizationError, LocalizationScores};

/// Scores are sums of few numbers.
const BOUND: f64 = 1e-9;

pub(super) fn run(fixture: &mut Fixture) -> Result<(), ParityError> {
    fixture.set_bound(Bound::Absolute(BOUND));
    let facts = fixture.fact("")?.clone();
    answers(fixture, &list(&facts["pairs"]));
    overlap(fixture, &facts);
    spatial(fixture, &facts["vsi"]);
    localization(fixture, &facts["sqa3d_localisation"]);
    Ok(())
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(|value| text(value).to_owned()).collect()
}

/// What is missing becomes NaN, which no bound allows.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

fn answers(fixture: &mut Fixture, pairs: &[Value]) {
    let cleaned = |pair: &Value| {
        let references: Vec<String> = texts(&pair["refs"]).iter().map(|r| clean_answer(r)).collect();
        (clean_answer(text(&pair["pred"])), references)
    };
    let unequal =
        |pair: &&Value| cleaned(pair) != (text(&pair["clean_pred"]).to_owned(), texts(&pair["clean_refs"]));
    fixture.count("clean_answer", pairs.iter().filter(unequal).count(), pairs.len());
    let score = |rule: fn(&str, &[String]) -> bool| -> Vec<f64> {
        pairs
            .iter()
            .map(cleaned)
            .map(|(prediction, references)| f64::from(rule(&prediction, &references)))
            .collect()
    };
    let expected: Vec<f64> = pairs.iter().map(|pair| number(&pair["em"])).collect();
    fixture.compare_numbers("em", &score(exact_match), &expected);
    let expected: Vec<f64> = pairs.iter().map(|pair| number(&pair["view2cap"][1])).collect();
    fixture.compare_numbers("view2cap_em_r", &score(refined_match), &expected);
}

fn overlap(fixture: &mut Fixture, facts: &Value) {
    let raw: Vec<TextPair> = list(&facts["pairs"])
        .iter()
        .map(|pair| TextPair {
            prediction: text(&pair["pred"]).trim_end_matches('.').to_owned(),
            references: texts(&pair["refs"]),
        })
        .collect();
    let cleaned: Vec<TextPair> = list(&facts["pairs"])
        .iter()
        .map(|pair| TextPair {
            prediction: clean_answer(text(&pair["pred"])),
            references: texts(&pair["refs"]).iter().map(|r| clean_answer(r)).collect(),
        })
        .collect();
    let sentences: Vec<TextPair> = list(&facts["ngram_sentences_only"]["indices"])
        .iter()
        .filter_map(|index| raw.get(index.as_u64()? as usize).cloned())
        .collect();
    for (name, pairs) in [("ngram_raw", raw), ("ngram_cleaned", cleaned), ("ngram_sentences_only", sentences)]
    {
        let expected = &facts[name];
        let orders = numbers(&expected["bleu_1_to_4"]);
        fixture.compare_numbers(&format!("{name}.bleu_1_to_4"), &bleu(&pairs).corpus, &orders);
        for (score, found) in [("rouge_l", rouge_l(&pairs).corpus), ("cider_d", cider_d(&pairs).corpus)] {
            fixture.compare_numbers(&format!("{name}.{score}"), &[found], &[number(&expected[score])]);
        }
    }
}

fn spatial(fixture: &mut Fixture, vsi: &Value) {
    let cases = list(&vsi["numeric"]);
    let found: Vec<f64> = cases
        .iter()
        .map(|case| {
            let truth = text(&case["gt"]).parse().unwrap_or(f64::NAN);
            mean_relative_accuracy(parse_number(text(&case["pred"])), truth)
        })
        .collect();
    let expected: Vec<f64> = cases.iter().map(|case| number(&case["mra"])).collect();
    fixture.compare_numbers("vsi.numeric.mra", &found, &expected);
    let cases = list(&vsi["choice"]);
    let found: Vec<f64> =
        cases.iter().map(|case| f64::from(choice_match(text(&case["pred"]), text(&case["gt"])))).collect();
    let expected: Vec<f64> = cases.iter().map(|case| number(&case["accuracy"])).collect();
    fixture.compare_numbers("vsi.choice.accuracy", &found, &expected);
}

fn localization(fixture: &mut Fixture, set: &Value) {
    let errors: Vec<Option<LocalizationError>> = list(&set["cases"]).iter().map(error).collect();
    let expected: Vec<f64> = list(&set["cases"]).iter().map(|case| number(&case["distance_m"])).collect();
    let found: Vec<f64> = errors.iter().map(|e| e.map_or(f64::NAN, |e| e.distance_m)).collect();
    fixture.compare_numbers("sqa3d_localisation.distance_m", &found, &expected);
    let known: Vec<LocalizationError> = errors.into_iter().flatten().collect();
    let Some(scores) = LocalizationScores::of(&known) else { return };
    let found = [scores.acc_0_5m, scores.acc_1m, scores.acc_15deg, scores.acc_30deg];
    let keys = ["acc@0.5m", "acc@1.0m", "acc@15", "acc@30"];
    let expected = keys.map(|key| number(&set["aggregate"][key]));
    fixture.compare_numbers("sqa3d_localisation.aggregate", &found, &expected);
}

/// The best guess of a case.
fn error(case: &Value) -> Option<LocalizationError> {
    let yaw = |q: [f64; 4]| 2.0 * q[2].atan2(q[3]);
    let (position, rotation) = (&case["gt"]["position"], &case["gt"]["rotation"]);
    let turn = ["_x", "_y", "_z", "_w"].map(|key| number(&rotation[key]));
    let truth = ([number(&position["x"]), number(&position["y"])], yaw(turn));
    let guesses = list(&case["pred_positions"]).into_iter().zip(list(&case["pred_quaternions_xyzw"]));
    LocalizationError::best(guesses.map(|(position, quaternion)| {
        let turn = std::array::from_fn(|k| number(&quaternion[k]));
        LocalizationError::between(([number(&position[0]), number(&position[1])], yaw(turn)), truth)
    }))
}
