//! The published sizes, with random weights: the whole way from files to an answer.

use std::time::Duration;

use serde_json::Value;

use crate::checkpoints::{Workshop, finished_within};

/// SigLIP so400m, CUT3R, Qwen2 0.5B: 1.6 thousand million weights, two frames.
#[test]
fn half_a_billion_weights_answer_and_say_that_they_are_random() {
    let workshop = Workshop::new();
    let run = |args: &[&str]| finished_within(workshop.start(args), Duration::from_mins(10));
    let made = run(&["init", "onevision-0.5b", "--out", "big", "--frames", "2"]).success();
    assert!(made.contains("random weights"), "{made}");

    let ask = ["ask", "clip", "--model", "big", "--precision", "bf16", "--situation", "I am on the sofa"];
    let questions = ["--question", "What is on my left?", "--question", "Is it red?", "--json"];
    let told = run(&[&ask[..], &questions[..]].concat()).success();
    let answers: Vec<Value> = serde_json::from_str(&told).unwrap();
    for answer in &answers {
        assert_eq!(answer["model"], "onevision-0.5b");
        assert_eq!(answer["notice"], "random weights");
        assert!(answer["device"].as_str().unwrap().contains("bf16"), "{answer}");
        assert!(answer["situation"]["position"]["sigma_x"].as_f64().unwrap() > 0.0);
        assert!(answer["tokens"]["generated"].as_u64().is_some());
    }
    // Two frames of a camera token and 14 x 14 patches with newlines, and the text.
    assert!(answers[0]["tokens"]["prompt"].as_u64().unwrap() > 2 * (1 + 14 * 15));
    assert_eq!(answers[0]["encoded_frames"], 2);
    assert_eq!(answers[1]["encoded_frames"], 0);
    assert!(answers[1]["tokens"]["reused"].as_u64().unwrap() > 2 * (1 + 14 * 15));
}

#[test]
fn a_size_that_does_not_exist_is_refused_with_those_that_do() {
    let message = Workshop::new().run(&["init", "huge", "--out", "big"]).failure();
    assert!(message.contains("huge") && message.contains("llava-video-7b"), "{message}");
}
