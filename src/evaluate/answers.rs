//! Scores of answers: exact match after SQA3D's normalisation, the refined match,
//! VSI-Bench's parsing and mean relative accuracy.
//!
//! The normalisation reproduces SQA3D's `clean_answer` with all its habits (blanks
//! before punctuation survive, only one of two stacked articles goes, 21 stays a
//! number): published figures depend on them.

use crate::qa::QuestionKind;

/// Words that the normalisation replaces, in its order.
const REPLACED: &[(&str, &str)] = &[
    ("letf", "left"),
    ("let", "left"),
    ("tehre", "there"),
    ("rigth", "right"),
    ("rght", "right"),
    ("behine", "behind"),
    ("tv", "TV"),
    ("chai", "chair"),
    ("wasing", "washing"),
    ("waslked", "walked"),
    ("oclock", "o'clock"),
];

/// Numbers that become words.
const NUMBERS: &[(&str, &str)] = &[
    ("0", "zero"),
    ("none", "zero"),
    ("1", "one"),
    ("2", "two"),
    ("3", "three"),
    ("4", "four"),
    ("5", "five"),
    ("6", "six"),
    ("7", "seven"),
    ("8", "eight"),
    ("9", "nine"),
    ("10", "ten"),
    ("11", "eleven"),
    ("12", "twelve"),
    ("13", "thirteen"),
    ("14", "fourteen"),
    ("15", "fifteen"),
    ("16", "sixteen"),
    ("17", "seventeen"),
    ("18", "eighteen"),
    ("19", "nineteen"),
    ("20", "twenty"),
    ("23", "twenty-three"),
];

/// SQA3D's normalisation of an answer, the same for predictions and references.
pub fn clean_answer(answer: &str) -> String {
    let lower = answer.to_lowercase();
    let mut text = collapse_blanks(&strip_blanks(&lower));
    text.retain(|c| c.is_ascii_alphanumeric() || c.is_whitespace() || matches!(c, ',' | '\'' | '-' | ':'));
    for (from, to) in REPLACED {
        text = replace_word(&text, from, to);
    }
    text = join_o_clock(&text);
    for (from, to) in NUMBERS {
        text = replace_word(&text, from, to);
    }
    text = drop_digit_suffix(&text);
    for article in ["a", "an", "the"] {
        text = drop_article(&text, article);
    }
    replace_word(&text, "backwards", "backward")
}

/// Whether a cleaned prediction equals a cleaned reference.
pub fn exact_match(prediction: &str, references: &[String]) -> bool {
    references.iter().any(|reference| reference == prediction)
}

/// EM-R: equal, or one contains the other once all white space is gone. An empty
/// prediction never matches (the official scripts give it full marks).
pub fn refined_match(prediction: &str, references: &[String]) -> bool {
    let empty = prediction.split_whitespace().next().is_none();
    exact_match(prediction, references)
        || (!empty && references.iter().any(|reference| contains_either_way(prediction, reference)))
}

/// LEO's (exact, refined) verdict of the first reference that matches in any way,
/// which may score a later exact reference 0; only for comparison with published figures.
pub fn leo_match(prediction: &str, references: &[String]) -> (bool, bool) {
    for reference in references {
        if reference == prediction {
            return (true, true);
        }
        if contains_either_way(prediction, reference) {
            return (false, true);
        }
    }
    (false, false)
}

fn contains_either_way(a: &str, b: &str) -> bool {
    let joined = |text: &str| text.split_whitespace().collect::<String>();
    let (a, b) = (joined(a), joined(b));
    a.contains(&b) || b.contains(&a)
}

/// What VSI-Bench reads of a prediction: the first word without trailing full stops.
pub fn first_word(prediction: &str) -> &str {
    prediction.split(' ').next().unwrap_or_default().trim_end_matches('.').trim()
}

/// Whether the first word of a prediction is the letter of the right choice.
pub fn choice_match(prediction: &str, letter: &str) -> bool {
    first_word(prediction).to_lowercase() == letter.to_lowercase()
}

/// A number as Python's `float` reads it from the first word; `None` if it is none.
pub fn parse_number(prediction: &str) -> Option<f64> {
    let word = first_word(prediction);
    let bytes = word.as_bytes();
    let digit = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    let grouped = (0..bytes.len()).filter(|&i| bytes[i] == b'_');
    if !grouped.clone().all(|i| digit(i.checked_sub(1)) && digit(Some(i + 1))) {
        return None;
    }
    word.replace('_', "").parse().ok()
}

/// 1 - θ for θ in 0.50, 0.55 … 0.95 as numpy computes them: an answer exactly 10 %
/// off counts at 0.90, one exactly 5 % off at 0.95.
const TOLERANCES: [f64; 10] = [
    0.5,
    0.449_999_999_999_999_96,
    0.4,
    0.35,
    0.300_000_000_000_000_04,
    0.25,
    0.199_999_999_999_999_96,
    0.150_000_000_000_000_02,
    0.100_000_000_000_000_09,
    0.050_000_000_000_000_044,
];

/// Mean relative accuracy of VSI-Bench, 0 to 1; 0 for a prediction that is no number.
pub fn mean_relative_accuracy(prediction: Option<f64>, truth: f64) -> f64 {
    let Some(prediction) = prediction else { return 0.0 };
    let relative_error = (prediction - truth).abs() / truth;
    let hits = TOLERANCES.iter().filter(|tolerance| relative_error <= **tolerance).count();
    hits as f64 / TOLERANCES.len() as f64
}

/// The eight task scores of VSI-Bench in percent and their mean: the three
/// direction types are averaged first. Tasks without questions are left out.
pub fn vsi_overall(scores: &[(QuestionKind, f64)]) -> Option<f64> {
    let mean_of = |kind: QuestionKind| {
        let of_kind: Vec<f64> = scores.iter().filter(|(k, _)| *k == kind).map(|(_, score)| *score).collect();
        mean(&of_kind)
    };
    let directions: Vec<f64> = [
        QuestionKind::ObjectRelDirectionEasy,
        QuestionKind::ObjectRelDirectionMedium,
        QuestionKind::ObjectRelDirectionHard,
    ]
    .into_iter()
    .filter_map(mean_of)
    .collect();
    let tasks: Vec<f64> = [
        QuestionKind::ObjectCounting,
        QuestionKind::ObjectAbsDistance,
        QuestionKind::ObjectSizeEstimation,
        QuestionKind::RoomSizeEstimation,
        QuestionKind::ObjectRelDistance,
        QuestionKind::RoutePlanning,
        QuestionKind::ObjAppearanceOrder,
    ]
    .into_iter()
    .filter_map(mean_of)
    .chain(mean(&directions))
    .collect();
    mean(&tasks).map(|mean| 100.0 * mean)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Blanks at both ends, also those before one final line break.
fn strip_blanks(text: &str) -> String {
    let body = match text.strip_suffix('\n') {
        Some(line) => format!("{}\n", line.trim_end_matches(' ')),
        None => text.trim_end_matches(' ').to_owned(),
    };
    body.trim_start_matches(' ').to_owned()
}

fn collapse_blanks(text: &str) -> String {
    let mut last = '\0';
    text.chars()
        .filter(|&c| {
            let before = std::mem::replace(&mut last, c);
            !(c == ' ' && before == ' ')
        })
        .collect()
}

fn is_word(c: Option<&u8>) -> bool {
    c.is_some_and(u8::is_ascii_alphanumeric)
}

/// Replaces `from` where it stands between word boundaries.
fn replace_word(text: &str, from: &str, to: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    for (at, _) in text.match_indices(from) {
        let before = at.checked_sub(1).and_then(|i| bytes.get(i));
        if !is_word(before) && !is_word(bytes.get(at + from.len())) {
            out.push_str(&text[rest..at]);
            out.push_str(to);
            rest = at + from.len();
        }
    }
    out.push_str(&text[rest..]);
    out
}

/// "o' clock" becomes "o'clock".
fn join_o_clock(text: &str) -> String {
    let mut out = text.to_owned();
    let mut from = 0;
    while let Some(found) = out[from..].find("o' ") {
        let at = from + found;
        let tail = out[at + 2..].trim_start_matches(' ');
        let boundary = !is_word(at.checked_sub(1).and_then(|i| out.as_bytes().get(i)));
        if boundary && tail.starts_with("clock") && !is_word(tail.as_bytes().get(5)) {
            let tail = tail.to_owned();
            out.replace_range(at + 2.., &tail);
        }
        from = at + 2;
    }
    out
}

/// "mat2" becomes "mat": one digit behind letters.
fn drop_digit_suffix(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run = String::new();
    let flush = |run: &mut String, out: &mut String| {
        let letters = run.trim_end_matches(|c: char| c.is_ascii_digit());
        let one_digit = run.len() == letters.len() + 1;
        let all_letters = !letters.is_empty() && letters.bytes().all(|b| b.is_ascii_alphabetic());
        out.push_str(if one_digit && all_letters { letters } else { run.as_str() });
        run.clear();
    };
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            run.push(c);
        } else {
            flush(&mut run, &mut out);
            out.push(c);
        }
    }
    flush(&mut run, &mut out);
    out
}

/// Drops an article and its blank before a word; of two in a row only the first.
fn drop_article(text: &str, article: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let before = at.checked_sub(1).and_then(|i| bytes.get(i));
        let next = at + article.len();
        let letter = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_alphabetic);
        if text[at..].starts_with(article)
            && !is_word(before)
            && bytes.get(next) == Some(&b' ')
            && letter(next + 1)
        {
            let end = (next + 1..text.len()).find(|&i| !letter(i)).unwrap_or(text.len());
            out.push_str(&text[next + 1..end]);
            at = end;
        } else {
            let width = text[at..].chars().next().map_or(1, char::len_utf8);
            out.push_str(&text[at..at + width]);
            at += width;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::golden::{self, text, texts};
    use serde_json::Value;

    #[test]
    fn cleaning_and_matching_agree_with_the_reference() {
        let golden = golden::metrics();
        let pairs = golden["pairs"].as_array().unwrap();
        assert_eq!(pairs.len(), 63);
        for pair in pairs {
            let prediction = clean_answer(text(&pair["pred"]));
            assert_eq!(prediction, text(&pair["clean_pred"]), "{pair}");
            let references: Vec<String> = texts(&pair["refs"]).iter().map(|r| clean_answer(r)).collect();
            assert_eq!(references, texts(&pair["clean_refs"]), "{pair}");
            let flag = |value: &Value| value.as_i64() == Some(1);
            assert_eq!(exact_match(&prediction, &references), flag(&pair["em"]), "{pair}");
            let unguarded = references.iter().any(|r| contains_either_way(&prediction, r));
            assert_eq!(unguarded, flag(&pair["em_r"]), "{pair}");
            let leo = leo_match(&prediction, &references);
            assert_eq!(leo, (flag(&pair["leo"][0]), flag(&pair["leo"][1])), "{pair}");
            assert_eq!(refined_match(&prediction, &references), flag(&pair["view2cap"][1]), "{pair}");
        }
    }

    #[test]
    fn relative_accuracy_agrees_with_the_reference_at_every_border() {
        let golden = golden::metrics();
        let cases = golden["vsi"]["numeric"].as_array().unwrap();
        assert_eq!(cases.len(), 62);
        for case in cases {
            let number = parse_number(text(&case["pred"]));
            match &case["parsed"] {
                Value::Null => assert_eq!(number, None, "{case}"),
                Value::String(word) if word == "nan" => assert!(number.unwrap().is_nan()),
                Value::String(word) => assert_eq!(number, word.parse().ok(), "{case}"),
                value => assert_eq!(number, value.as_f64(), "{case}"),
            }
            let truth: f64 = text(&case["gt"]).parse().unwrap();
            let score = mean_relative_accuracy(number, truth);
            assert!((score - case["mra"].as_f64().unwrap()).abs() < 1e-12, "{case} {score}");
        }
    }

    #[test]
    fn choices_agree_with_the_reference() {
        let golden = golden::metrics();
        for case in golden["vsi"]["choice"].as_array().unwrap() {
            assert_eq!(first_word(text(&case["pred"])), text(&case["parsed"]), "{case}");
            let score = choice_match(text(&case["pred"]), text(&case["gt"]));
            assert_eq!(score, case["accuracy"].as_f64() == Some(1.0), "{case}");
        }
    }

    #[test]
    fn the_overall_score_averages_tasks() {
        let golden = golden::metrics();
        let aggregate = &golden["vsi"]["aggregate"];
        let scores: Vec<(QuestionKind, f64)> = aggregate["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                let kind: QuestionKind = serde_json::from_value(item["question_type"].clone()).unwrap();
                let (prediction, truth) = (text(&item["prediction"]), text(&item["ground_truth"]));
                let score = match truth.parse::<f64>() {
                    Ok(number) => mean_relative_accuracy(parse_number(prediction), number),
                    Err(_) => f64::from(choice_match(prediction, truth)),
                };
                (kind, score)
            })
            .collect();
        let expected = aggregate["result_percent"]["overall"].as_f64().unwrap();
        assert!((vsi_overall(&scores).unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn question_types_follow_the_first_word() {
        for case in golden::metrics()["question_type_by_prefix"].as_array().unwrap() {
            let kind = QuestionKind::of_sqa3d(text(&case["question"]));
            assert_eq!(serde_json::to_value(kind).unwrap(), case["type"], "{case}");
        }
    }

    #[test]
    fn an_empty_answer_never_scores() {
        let references = ["no".to_owned()];
        assert!(!refined_match(&clean_answer(""), &references));
        assert!(!refined_match(&clean_answer(" \t"), &references));
    }
}
