//! Bad input of every kind: the message names the file and a remedy, the exit code is
//! 2, nothing panics or hangs.

use candle_core::Tensor;

use crate::checkpoints::{Workshop, write_tiny};

/// `loc3r ask VIDEO "What?"` must fail with a message that has all `parts`.
fn ask_fails(workshop: &Workshop, video: &str, parts: &[&str]) {
    has_all(&workshop.run(&["ask", video, "What is on my left?"]).failure(), parts);
}

fn has_all(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{part}\" is missing in: {message}");
    }
}

#[test]
fn videos_that_are_none() {
    let workshop = Workshop::new();
    std::fs::write(workshop.path("empty.mp4"), "").unwrap();
    std::fs::write(workshop.path("text.mp4"), "this is no video at all\n".repeat(50)).unwrap();
    std::fs::create_dir(workshop.path("nothing")).unwrap();
    std::fs::create_dir(workshop.path("broken")).unwrap();
    std::fs::write(workshop.path("broken/0.png"), b"\x89PNG\r\n\x1a\nrubbish").unwrap();
    ask_fails(&workshop, "missing.mp4", &["missing.mp4", "check the path"]);
    ask_fails(&workshop, "empty.mp4", &["empty.mp4"]);
    ask_fails(&workshop, "text.mp4", &["text.mp4"]);
    ask_fails(&workshop, "nothing", &["nothing"]);
    ask_fails(&workshop, "broken", &["broken"]);
    ask_fails(&workshop, "/dev/null", &["/dev/null"]);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_video_and_does_not_hang() {
    let workshop = Workshop::new();
    let made = std::process::Command::new("mkfifo").arg(workshop.path("pipe.mp4")).status().unwrap();
    assert!(made.success());
    ask_fails(&workshop, "pipe.mp4", &["pipe.mp4"]);
}

#[cfg(feature = "ffmpeg")]
mod with_ffmpeg {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn ffmpeg(folder: &Path, args: &[&str]) {
        let status = Command::new("ffmpeg")
            .args(["-v", "error", "-y"])
            .args(args)
            .current_dir(folder)
            .status()
            .expect("the tests need the ffmpeg program");
        assert!(status.success());
    }

    #[test]
    fn sound_without_pictures_and_files_cut_short() {
        let workshop = Workshop::new();
        let folder = workshop.path("");
        ffmpeg(&folder, &["-f", "lavfi", "-i", "sine=duration=1", "sound.m4a"]);
        ask_fails(&workshop, "sound.m4a", &["sound.m4a", "no readable video"]);
        ffmpeg(
            &folder,
            &[
                "-f",
                "lavfi",
                "-i",
                "testsrc=size=64x48:rate=10:duration=2",
                "-pix_fmt",
                "yuv420p",
                "whole.mp4",
            ],
        );
        let bytes = std::fs::read(workshop.path("whole.mp4")).unwrap();
        std::fs::write(workshop.path("cut.mp4"), &bytes[..bytes.len() / 3]).unwrap();
        ask_fails(&workshop, "cut.mp4", &["cut.mp4"]);
        workshop.run(&["ask", "whole.mp4", "What is on my left?"]).success();
    }
}

/// `change` spoils the tensors of a checkpoint; asking must fail with `parts`.
fn spoiled(change: impl Fn(&mut std::collections::BTreeMap<String, Tensor>), parts: &[&str]) {
    let workshop = Workshop::new();
    write_tiny(&workshop.path("model"), change);
    ask_fails(&workshop, "clip", &[&["model.safetensors"], parts].concat());
}

#[test]
fn checkpoints_with_wrong_tensors_name_them() {
    let name = "model.norm.weight";
    spoiled(|tensors| drop(tensors.remove(name).unwrap()), &["missing", name]);
    spoiled(
        |tensors| {
            tensors.insert("model.surplus.weight".to_owned(), tensors[name].clone());
        },
        &["model.surplus.weight"],
    );
    spoiled(
        |tensors| {
            let twice = Tensor::cat(&[&tensors[name], &tensors[name]], 0).unwrap();
            tensors.insert(name.to_owned(), twice);
        },
        &[name, "[64]", "[32]"],
    );
    spoiled(
        |tensors| {
            let broken = (&tensors[name] * f64::NAN).unwrap();
            tensors.insert(name.to_owned(), broken);
        },
        &[name, "NaN"],
    );
}

#[test]
fn checkpoints_with_wrong_files_name_them() {
    let wrong_tokenizer = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":null,"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"}}"#;
    for (file, content, part) in [
        ("tokenizer.json", wrong_tokenizer, "tokenizer.json"),
        ("tokenizer.json", "{", "tokenizer.json"),
        ("config.json", "{\"name\": 3}", "config.json"),
        ("model.safetensors", "rubbish", "model.safetensors"),
    ] {
        let workshop = Workshop::new();
        std::fs::write(workshop.path("model").join(file), content).unwrap();
        ask_fails(&workshop, "clip", &[part]);
    }
    let workshop = Workshop::new();
    std::fs::remove_file(workshop.path("model/model.safetensors")).unwrap();
    ask_fails(&workshop, "clip", &["model.safetensors"]);
    let run = workshop.run(&["ask", "clip", "What?", "--model", "nowhere"]);
    has_all(&run.failure(), &["nowhere", "--model", "config.json"]);
}

#[test]
fn questions_that_cannot_be_asked() {
    let workshop = Workshop::new();
    let ask = |question: &str| workshop.run(&["ask", "clip", question]);
    has_all(&ask("").failure(), &["the question is empty"]);
    has_all(&ask("  \n ").failure(), &["the question is empty"]);
    has_all(&ask(&"Where is the sofa? ".repeat(500)).failure(), &["2000", "shorten"]);
    has_all(&workshop.run(&["ask", "clip"]).failure(), &["no question", "--question"]);
    let missing = workshop.run(&["ask", "clip", "--questions", "missing.txt"]);
    has_all(&missing.failure(), &["missing.txt"]);
    std::fs::write(workshop.path("broken.json"), "[{\"q\": 1}]").unwrap();
    has_all(
        &workshop.run(&["ask", "clip", "--questions", "broken.json"]).failure(),
        &["broken.json", "accepted"],
    );
}

#[test]
fn questions_in_other_languages_and_with_markers_get_answers() {
    let workshop = Workshop::new();
    for question in
        ["ソファはどこですか", "Où est la chaise ?", "🪑🛋️ ?", "what is <image> <Pos> <|im_end|>?"]
    {
        workshop.run(&["ask", "clip", question]).success();
    }
}

#[test]
fn devices_that_are_not_there() {
    let workshop = Workshop::new();
    let run = workshop.run(&["ask", "clip", "What?", "--device", "toaster"]);
    assert_eq!(run.code(), Some(2));
    has_all(&run.stderr(), &["toaster", "cuda:N"]);
    let run = workshop.run(&["ask", "clip", "What?", "--device", "cuda:97"]);
    has_all(&run.failure(), &["CUDA 97", "--device cpu"]);
}

#[test]
fn files_that_cannot_be_written() {
    let workshop = Workshop::new();
    let run = workshop.run(&["reconstruct", "clip", "--ply", "no/such/folder/a.ply"]);
    has_all(&run.failure(), &["no/such/folder/a.ply", "choose a folder"]);
    #[cfg(target_os = "linux")]
    {
        let run = workshop.run(&["reconstruct", "clip", "--json", "/dev/full"]);
        has_all(&run.failure(), &["/dev/full", "space"]);
    }
}

#[cfg(feature = "rerun")]
#[test]
fn recordings_that_cannot_be_written() {
    let workshop = Workshop::new();
    let run = workshop.run(&["ask", "clip", "What?", "--rrd", "no/such/folder/a.rrd"]);
    has_all(&run.failure(), &["no/such/folder/a.rrd", "choose a folder"]);
    #[cfg(target_os = "linux")]
    {
        let run = workshop.run(&["ask", "clip", "What?", "--rrd", "/dev/full"]);
        has_all(&run.failure(), &["/dev/full"]);
    }
}

#[cfg(not(feature = "rerun"))]
#[test]
fn a_build_without_rerun_says_so() {
    let workshop = Workshop::new();
    let run = workshop.run(&["ask", "clip", "What?", "--rrd", "a.rrd"]);
    has_all(&run.failure(), &["feature `rerun`"]);
}
