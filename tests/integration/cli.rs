//! The command line end to end: the real program, a tiny random model, a folder of images.

use serde_json::Value;

use crate::checkpoints::{Workshop, finished};

const QUESTIONS: [&str; 4] = ["--question", "What is on my left?", "--question", "Is it red?"];

#[test]
fn ask_prints_one_object_for_one_question() {
    let workshop = Workshop::new();
    let run = workshop.run(&["ask", "clip", "What is on my left?", "--situation", "I am standing", "--json"]);
    let answer: Value = serde_json::from_str(&run.success()).unwrap();
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(
        keys(&answer),
        ["answer", "device", "encoded_frames", "model", "situation", "timing_ms", "tokens", "video"]
    );
    assert_eq!(
        keys(&answer["situation"]),
        ["orientation_concentration", "orientation_deg", "position", "text"]
    );
    assert_eq!(keys(&answer["situation"]["position"]), ["sigma_x", "sigma_y", "x", "y"]);
    assert_eq!(keys(&answer["tokens"]), ["generated", "prompt", "reused"]);
    assert_eq!(keys(&answer["timing_ms"]), ["camera", "decode", "generate", "prefill", "total", "vision"]);
    assert_eq!(answer["situation"]["text"], "I am standing");
    assert_eq!(answer["model"], "tiny");
    assert!(answer["device"].as_str().unwrap().starts_with("CPU"));
    assert!(answer["answer"]["text"].is_string());
    assert!(answer["situation"]["position"]["sigma_x"].as_f64().unwrap() > 0.0);
}

#[test]
fn several_questions_share_the_video() {
    let workshop = Workshop::new();
    let run = workshop.run(&[&["ask", "clip", "--json"], &QUESTIONS[..]].concat());
    let answers: Vec<Value> = serde_json::from_str(&run.success()).unwrap();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["tokens"]["reused"], 0);
    assert!(answers[0]["timing_ms"]["vision"].as_f64().unwrap() > 0.0);
    assert!(answers[1]["tokens"]["reused"].as_u64().unwrap() > 0);
    assert_eq!(answers[1]["timing_ms"]["vision"].as_f64().unwrap(), 0.0);
}

#[test]
fn questions_come_from_files_and_text_output_is_for_people() {
    let workshop = Workshop::new();
    std::fs::write(workshop.path("questions.txt"), "# mine\nWhat is on my left?\nIs it red?\n").unwrap();
    let text = workshop.run(&["ask", "clip", "--questions", "questions.txt"]).success();
    for part in ["tiny on CPU", "What is on my left?", "Is it red?", "looking along", "tokens computed"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn reconstruct_writes_files_that_parse() {
    let workshop = Workshop::new();
    crate::model::write_checkpoint(&workshop.path("with_camera"), |_| {});
    let text = workshop
        .run(&[
            "reconstruct",
            "clip",
            "--model",
            "with_camera",
            "--ply",
            "a.ply",
            "--tum",
            "a.tum",
            "--json",
            "a.json",
            "--png",
            "a.png",
        ])
        .success();
    assert!(text.contains("layout") && text.contains("cameras"), "{text}");
    let ply = std::fs::read(workshop.path("a.ply")).unwrap();
    assert!(ply.starts_with(b"ply\nformat binary_little_endian 1.0\n"));
    let tum = std::fs::read_to_string(workshop.path("a.tum")).unwrap();
    let poses: Vec<&str> = tum.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(poses.len(), 4);
    for pose in poses {
        let numbers: Vec<f64> = pose.split(' ').map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers.len(), 8);
    }
    let json: Value = serde_json::from_slice(&std::fs::read(workshop.path("a.json")).unwrap()).unwrap();
    assert_eq!(json["layout"]["tokens"].as_array().unwrap().len(), 4 * 2 * 2);
    assert_eq!(json["cameras"].as_array().unwrap().len(), 4);
    let picture = image::open(workshop.path("a.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (1280, 800));
}

#[test]
fn the_tour_leaves_everything_in_its_folder() {
    let workshop = Workshop::new();
    let text = workshop.run(&["tour", "clip", "--out", "out"]).success();
    let mut names = vec!["view.png", "answers.json", "scene.ply", "camera.tum", "session.jsonl"];
    if cfg!(feature = "rerun") {
        names.push("session.rrd");
    }
    for name in names {
        assert!(text.contains(name), "{name} is not named in\n{text}");
        assert!(std::fs::metadata(workshop.path("out").join(name)).unwrap().len() > 0, "{name}");
    }
    let replay = loc3r::session::SessionLog::replay(&workshop.path("out/session.jsonl")).unwrap();
    let mut state = loc3r::session::SessionState::default();
    for line in replay.events {
        state.apply(line.event);
    }
    assert!(state.layout.is_some() && state.questions.iter().all(|asked| asked.answer.is_some()));
}

#[test]
fn inspect_tells_about_a_checkpoint() {
    let workshop = Workshop::new();
    let text = workshop.run(&["inspect", "model"]).success();
    assert!(text.contains("tiny") && text.contains("4 frames of 32 x 32 pixels"), "{text}");
    let json: Value = serde_json::from_str(&workshop.run(&["inspect", "model", "--json"]).success()).unwrap();
    assert!(json["parameters"].as_u64().unwrap() > 1000);
    // What it takes is told before anybody loads it.
    assert!(text.contains("as f32:") && text.contains("are free here"), "{text}");
    assert!(json["memory_bytes"]["bf16"]["keys_and_values"].as_u64().unwrap() > 0);
    let text = workshop.run(&["inspect", "model", "--tensors"]).success();
    assert!(text.contains("used        model.embed_tokens.weight"), "{text}");
}

#[test]
fn inspect_shows_what_the_paper_leaves_open() {
    let workshop = Workshop::new();
    let bins = |formula: &str| format!("choice      heading bins: centred at {formula} (config.json)");
    let text = workshop.run(&["inspect", "model"]).success();
    assert!(text.contains(&bins("-180° + (b + ½)·10°")), "{text}");
    assert!(text.contains("choice      ids of the situation tokens: <Pos> "), "{text}");

    let path = workshop.path("model/config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["heads"]["bin_centers"] = "whole".into();
    config["heads"].as_object_mut().unwrap().remove("activation");
    std::fs::write(&path, config.to_string()).unwrap();
    let text = workshop.run(&["inspect", "model"]).success();
    assert!(text.contains(&bins("-180° + b·10°")), "{text}");
    assert!(text.contains("choice      activation of f_pos and f_ori: exact GELU (default)"), "{text}");
    let json: Value = serde_json::from_str(&workshop.run(&["inspect", "model", "--json"]).success()).unwrap();
    let choices = json["choices"].as_array().unwrap();
    assert!(choices.iter().any(|choice| choice["origin"] == "config" && choice["name"] == "heading bins"));
}

#[test]
fn inspect_tells_what_made_a_model() {
    let workshop = Workshop::new();
    assert!(!workshop.run(&["inspect", "model"]).success().contains("trained "));
    let path = workshop.path("model/config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["training"] = serde_json::json!([{
        "stages": [{"name": "tower", "steps": 350}, {"name": "joint", "steps": 300}],
        "starts": [
            {"command": "loc3r train --out a", "seed": 3, "version": "0.1.0", "commit": "0123456789ab"},
            {"command": "loc3r train --out a --resume", "seed": 3, "version": "0.1.0"},
        ],
    }]);
    std::fs::write(&path, config.to_string()).unwrap();
    let text = workshop.run(&["inspect", "model"]).success();
    for line in [
        "trained     tower 350, joint 300 steps",
        "command     loc3r train --out a (seed 3, loc3r 0.1.0, commit 0123456789ab)",
        "command     loc3r train --out a --resume (seed 3, loc3r 0.1.0)",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is missing in\n{text}");
    }
    let json: Value = serde_json::from_str(&workshop.run(&["inspect", "model", "--json"]).success()).unwrap();
    assert_eq!(json["config"]["training"], config["training"]);
}

#[test]
fn bench_ask_measures_the_saving() {
    let workshop = Workshop::new();
    let json: Value =
        serde_json::from_str(&workshop.run(&["bench", "ask", "clip", "--json"]).success()).unwrap();
    assert!(json["ratio"].as_f64().unwrap() > 1.0, "{json}");
}

#[test]
fn help_shows_examples() {
    let workshop = Workshop::new();
    for command in [&["--help"][..], &["ask", "--help"], &["reconstruct", "--help"], &["view", "--help"]] {
        let text = workshop.run(command).success();
        assert!(text.contains("Examples:"), "{command:?}\n{text}");
    }
}

#[test]
fn a_run_whose_settings_cannot_be_read_is_not_resumed_and_not_replaced() {
    let workshop = Workshop::new();
    std::fs::create_dir(workshop.path("run")).unwrap();
    std::fs::write(workshop.path("run/config.toml"), "model = 3").unwrap();
    let message = workshop.run(&["train", "--preset", "tiny", "--out", "run", "--resume"]).failure();
    assert!(message.contains("config.toml") && !message.contains("add --resume"), "{message}");
    assert_eq!(std::fs::read_to_string(workshop.path("run/config.toml")).unwrap(), "model = 3");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_a_training_run_and_resume_keeps_new_settings() {
    use std::time::{Duration, Instant};

    let workshop = Workshop::new();
    let running = workshop
        .start(&["train", "--preset", "tiny", "--steps", "100000", "--out", "run", "--rrd", "run.rrd"]);
    let metrics = || std::fs::read_to_string(workshop.path("run/metrics.jsonl")).unwrap_or_default();
    let started = Instant::now();
    while !metrics().contains("\"step\"") && started.elapsed() < Duration::from_secs(100) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let signal = std::process::Command::new("kill").args(["-INT", &running.id().to_string()]).status();
    assert!(signal.unwrap().success());
    let message = finished(running).failure();
    assert!(message.contains("loc3r train --out run --resume"), "{message}");

    let progress = std::fs::read_to_string(workshop.path("run/checkpoints/tower/progress.json")).unwrap();
    let progress: Value = serde_json::from_str(&progress).unwrap();
    assert_eq!(progress["finished"], false);
    let last = format!("tower.steps={}", progress["step"].as_u64().unwrap() + 1);
    let only = "stages=[\"tower\"]";
    let resumed = ["train", "--out", "run", "--resume", "--set", only, "--set", &last, "--rrd", "run.rrd"];
    workshop.run(&resumed).success();
    // The first recording is kept, the second has what came before, too.
    for recording in ["run.rrd", "run-2.rrd"] {
        let bytes = std::fs::read(workshop.path(recording)).unwrap();
        let entity = b"training/tower/terms/loss";
        assert!(bytes.windows(entity.len()).any(|window| window == entity), "{recording}");
    }
    // Both commands are kept as they were given; the model is exported with them.
    let origin: Value =
        serde_json::from_slice(&std::fs::read(workshop.path("run/origin.json")).unwrap()).unwrap();
    let starts = origin["starts"].as_array().unwrap();
    let commands: Vec<&str> = starts.iter().map(|start| start["command"].as_str().unwrap()).collect();
    let begun = "loc3r train --preset tiny --steps 100000 --out run --rrd run.rrd";
    let gone_on =
        format!("loc3r train --out run --resume --set 'stages=[\"tower\"]' --set {last} --rrd run.rrd");
    assert_eq!(commands, [begun, gone_on.as_str()]);
    assert!(starts.iter().all(|start| start["seed"] == 1 && start["version"] == env!("CARGO_PKG_VERSION")));
    let config = std::fs::read_to_string(workshop.path("run/config.toml")).unwrap();
    assert!(config.contains(&last.replace("tower.steps=", "steps = ")), "{config}");
}
