//! Comparisons from the command line: the ablation, and real rooms given as boxes.

use serde_json::Value;

use crate::checkpoints::Workshop;

#[test]
fn the_ablation_measures_every_model_and_does_nothing_twice() {
    let workshop = Workshop::new();
    let command = [
        "train",
        "--ablation",
        "--preset",
        "tiny",
        "--set",
        "model=tiny",
        "--steps",
        "2",
        "--common-steps",
        "3",
        "--set",
        "joint.word_steps=1",
        "--set",
        "validation.clips=1",
        "--set",
        "validation.every=0",
        "--seeds",
        "1",
        "--clips",
        "2",
        "--out",
        "all",
    ];
    let table = workshop.run(&command).success();
    for name in ["language only", "+ situation", "+ layout", "+ both", "(full)", "(true)", "(estimated)"] {
        assert!(table.contains(name), "{name} is missing in\n{table}");
    }
    let readme = std::fs::read_to_string(workshop.path("all/README.md")).unwrap();
    for part in [
        "exact match (%) by tiers:",
        "Acc@30° (%) by coverage:",
        "Difference in exact match (%) by distance to path:",
        "training (s)",
        "loc3r train --ablation --preset tiny --set model=tiny --steps 2 ",
        "\n[joint]\n",
        "not estimates of CUT3R",
    ] {
        assert!(readme.contains(part), "{part} is missing in\n{readme}");
    }
    for model in ["situation", "both", "full"] {
        for chart in [format!("calibration_{model}.svg"), format!("error_by_sigma_{model}.svg")] {
            assert!(readme.contains(&format!("({chart})")), "{chart} is missing in\n{readme}");
            assert!(workshop.path("all").join(&chart).exists(), "{chart}");
        }
    }
    let learned = std::fs::read_to_string(workshop.path("all/learning_layout_error_m.svg")).unwrap();
    assert!(learned.contains("+ both") && !learned.contains("language only"), "{learned}");
    assert!(readme.contains("(learning_layout_error_m.svg)"), "{readme}");
    assert!(
        table.contains("- + camera token (full) against geometry at the input (true), exact match"),
        "{table}"
    );
    // Who has no such head claims nothing.
    let row =
        |name: &str| table.lines().find(|line| line.starts_with(&format!("| {name}"))).unwrap().to_owned();
    assert!(row("language only").contains("| - "), "{table}");
    assert!(!row("+ camera token (full)").contains("| - "), "{table}");
    assert!(row("+ both, seed 0").contains('['), "{table}");
    let difference = row("+ camera token (full), minus language only");
    assert!(difference.contains("| - ") && difference.contains(" ["), "{table}");
    let outcome = workshop.path("all/full-0/outcome_2.json");
    let written = std::fs::metadata(&outcome).unwrap().modified().unwrap();
    assert_eq!(workshop.run(&command).success(), table);
    assert_eq!(std::fs::metadata(&outcome).unwrap().modified().unwrap(), written);
    let (told, place) = table.trim().rsplit_once('\n').unwrap();
    assert!(readme.starts_with(told.trim()) && place == "All tables: all/README.md", "{table}");
    assert_eq!(std::fs::read_to_string(workshop.path("all/README.md")).unwrap(), readme);
    assert!(workshop.path("all/both-0/joint_loss.svg").exists());
    let steps = |run: &str| {
        let progress = workshop.path(&format!("all/{run}/checkpoints/joint/progress.json"));
        let progress: Value = serde_json::from_slice(&std::fs::read(progress).unwrap()).unwrap();
        progress["step"].as_u64()
    };
    assert_eq!((steps("shared"), steps("both-0")), (Some(3), Some(2)));

    let other = [&command[..], &["--set", "joint.learning_rate=0.5"]].concat();
    let message = workshop.run(&other).failure();
    assert!(message.contains("other settings") && message.contains("all/"), "{message}");
}

const ROOMS: &str = r#"{"scene0000_00": {"objects": [
      {"label": "couch", "centroid": [1.0, 0.0, -0.5], "axesLengths": [0.8, 2.0, 0.9],
       "normalizedAxes": [0,0,1, 0,1,0, 1,0,0], "min": [0.5,-1,-0.9], "max": [1.5,1,-0.1]},
      {"label": "guitar", "centroid": [-1, -1, -0.4], "axesLengths": [0.4, 0.2, 1.0],
       "normalizedAxes": [1,0,0, 0,1,0, 0,0,1], "min": [-1.2,-1.1,-0.9], "max": [-0.8,-0.9,0.1]}],
    "situations": [{"text": "I am on the couch with my banjo.", "position": [1.0, 0.25],
      "heading_deg_facing": 180.0,
      "qa": [{"question": "What is in front of me?", "answer": "guitar"}]}]}}"#;

#[test]
fn real_rooms_are_measured_beside_the_baselines() {
    let workshop = Workshop::new();
    std::fs::write(workshop.path("rooms.json"), ROOMS).unwrap();
    let command = ["evaluate", "--model", "model", "--layouts", "rooms.json", "--plots", "plots", "--json"];
    let report: Value = serde_json::from_str(&workshop.run(&command).success()).unwrap();
    assert_eq!((report["benchmark"].as_str(), report["questions"].as_u64()), (Some("real rooms"), Some(1)));
    assert_eq!(report["baselines"]["oracle"]["acc_0_5m"], 100.0);
    assert!(report.get("notice").is_none(), "nothing is to be said of this model");
    assert_eq!(report["unknown_categories"], serde_json::json!(["guitar"]));
    assert!(report["unknown_words"].as_array().unwrap().contains(&"banjo".into()));
    for chart in ["calibration.svg", "error_by_sigma.svg"] {
        let svg = std::fs::read_to_string(workshop.path("plots").join(chart)).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("2D Gaussian"), "{svg}");
    }

    std::fs::write(workshop.path("rooms.json"), "{").unwrap();
    let message = workshop.run(&command).failure();
    assert!(message.contains("rooms.json") && message.contains("objects"), "{message}");
}

#[test]
fn real_rooms_become_scene_files_that_are_rendered() {
    let workshop = Workshop::new();
    std::fs::write(workshop.path("rooms.json"), ROOMS).unwrap();
    let run = workshop.run(&["synth", "--layouts", "rooms.json", "--out", "scenes"]);
    assert_eq!(run.success().trim(), "scenes/scene0000_00.scene.json");
    assert!(run.stderr().contains("warning: ") && run.stderr().contains("guitar"), "{}", run.stderr());
    let file = workshop.path("scenes/scene0000_00.scene.json");
    let mut scene: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(scene["objects"][0]["category"], "sofa");
    assert_eq!(scene["objects"][1]["category"], "guitar");

    // One second of the walk is enough here.
    scene["walk"]["seconds"] = 1.0.into();
    std::fs::write(&file, scene.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let render = ["synth", "--scene", file, "--out", "clips", "--frames", "--samples", "0"];
    let told = workshop.run(&render).success();
    assert_eq!(told.trim(), "clips/scene0000_00: 12 frames, 1 rooms, 2 objects");
    assert!(workshop.path("clips/scene0000_00/00011.png").exists());

    std::fs::write(workshop.path("rooms.json"), ROOMS.replace("scene0000_00", "../elsewhere")).unwrap();
    let message = workshop.run(&["synth", "--layouts", "rooms.json", "--out", "scenes"]).failure();
    assert!(message.contains("../elsewhere") && message.contains("rename"), "{message}");
    assert!(!workshop.path("elsewhere.scene.json").exists());
}
