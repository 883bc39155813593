//! What models saw of videos, on disk: `loc3r cache` and its limit, with the bundled model, whose
//! entries are large enough for limits in megabytes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;

use crate::checkpoints::{Workshop, write_clip};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/models/loc3r-mini");

/// Asks about a clip; gives the frames that went through the vision tower.
fn encoded(workshop: &Workshop, variables: &[(&str, &str)], clip: &str) -> u64 {
    let ask = ["ask", clip, "What is on my left?", "--model", MODEL, "--json"];
    let answer: Value = serde_json::from_str(&workshop.run_with(variables, &ask).success()).unwrap();
    answer["encoded_frames"].as_u64().unwrap()
}

fn listed(workshop: &Workshop) -> Value {
    serde_json::from_str(&workshop.run(&["cache", "--json"]).success()).unwrap()
}

/// The names of the kept clips, the one used last first.
fn names(list: &Value) -> Vec<&str> {
    let entries = list["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["video"].as_str().unwrap()).collect()
}

#[test]
fn the_cache_is_listed_limited_and_cleared() {
    let workshop = Workshop::new();
    for (clip, removed) in [("first", 1), ("second", 2), ("third", 3)] {
        write_clip(&workshop.path(clip));
        std::fs::remove_file(workshop.path(clip).join(format!("{removed}.png"))).unwrap();
    }
    assert!(workshop.run(&["cache"]).success().starts_with("0 videos, 0.0 of 4000.0 MB, in "));
    for clip in ["first", "second"] {
        assert!(encoded(&workshop, &[], clip) > 0, "{clip}");
    }
    let list = listed(&workshop);
    assert_eq!((names(&list), list["limit_bytes"].as_u64()), (vec!["second", "first"], Some(4_000_000_000)));
    assert_eq!(list["entries"][0]["model"], "loc3r-mini");
    let text = workshop.run(&["cache"]).success();
    assert!(text.contains("just now  loc3r-mini") && text.contains("2 videos, "), "{text}");

    // Used again, the first one is the newest. Two of them fit the limit, three do not.
    assert_eq!(encoded(&workshop, &[], "first"), 0);
    let entries = list["entries"].as_array().unwrap();
    let largest = entries.iter().map(|entry| entry["bytes"].as_u64().unwrap()).max().unwrap();
    assert!(largest > 1_500_000, "{list}");
    let limit = ((2 * largest).div_ceil(1_000_000)).to_string();
    let small = [("LOC3R_CACHE_MB", limit.as_str())];
    assert!(encoded(&workshop, &small, "third") > 0);
    let list = listed(&workshop);
    assert_eq!(names(&list), ["third", "first"]);
    assert!(workshop.run_with(&small, &["cache"]).success().contains(&format!(" of {limit}.0 MB, in ")));
    assert!(encoded(&workshop, &small, "second") > 0);
    assert_eq!(names(&listed(&workshop)), ["second", "third"]);

    let text = workshop.run(&["cache", "--clear"]).success();
    assert!(text.starts_with("removed 2 videos, "), "{text}");
    assert_eq!(names(&listed(&workshop)), [""; 0]);
    assert!(encoded(&workshop, &[], "first") > 0);
    let cleared: Value =
        serde_json::from_str(&workshop.run(&["cache", "--clear", "--json"]).success()).unwrap();
    assert_eq!(cleared["removed"], 1);
}

#[test]
fn a_cache_that_is_off_or_has_no_limit_is_told() {
    let workshop = Workshop::new();
    let message = workshop.run_with(&[("LOC3R_CACHE", "off")], &["cache"]).failure();
    assert!(message.contains("LOC3R_CACHE is off"), "{message}");
    let message = workshop.run_with(&[("LOC3R_CACHE_MB", "much")], &["cache"]).failure();
    assert!(message.contains("LOC3R_CACHE_MB=much is no number"), "{message}");
    // What is larger than the limit is not kept, and answered all the same.
    assert!(encoded(&workshop, &[("LOC3R_CACHE_MB", "1")], "clip") > 0);
    assert_eq!(listed(&workshop)["entries"], Value::Array(Vec::new()));
}
