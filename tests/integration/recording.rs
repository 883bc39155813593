//! Recordings of a real session: the file holds every entity, and reading it back works.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use loc3r::recording::{Recorder, RecordingConfig, entity_paths};
use loc3r::session::{ComputeDevice, Session, SessionEvent, SessionRequest};

use crate::checkpoints::{write_clip, write_tiny};

fn record(folder: &std::path::Path) -> (std::path::PathBuf, loc3r::recording::RecordingSummary) {
    let (model, clip) = (folder.join("model"), folder.join("clip"));
    write_tiny(&model, |_| {});
    write_clip(&clip);
    let rrd = folder.join("a.rrd");
    let mut recorder = Recorder::start(RecordingConfig { rrd: Some(rrd.clone()), viewer: false }).unwrap();
    recorder.wait_until_ready(Duration::from_secs(30)).unwrap();
    let mut session = Session::start(None).unwrap();
    session.request(SessionRequest::LoadModel { folder: model, compute: ComputeDevice::Cpu.into() }).unwrap();
    session.request(SessionRequest::OpenVideo { path: clip }).unwrap();
    let question = loc3r::qa::Question {
        kind: loc3r::qa::QuestionKind::What,
        text: "What is on my left?".to_owned(),
        situation_text: None,
        choices: vec![],
    };
    session.request(SessionRequest::Ask { question, placed: None }).unwrap();
    loop {
        let event = session.recv_timeout(Duration::from_mins(1)).expect("an event");
        recorder.record(&event);
        if matches!(event, SessionEvent::AnswerReady { .. }) {
            break;
        }
    }
    (rrd, recorder.finish(Duration::from_mins(1)).unwrap())
}

#[test]
fn a_recording_holds_every_entity_and_all_frames() {
    let folder = tempfile::tempdir().unwrap();
    let (rrd, summary) = record(folder.path());
    // 0.2 s of video at ten frames a second, and the four frames that the model saw.
    assert!(summary.frames >= 4 && summary.dropped_frames == 0 && summary.dropped_events == 0, "{summary:?}");
    let bytes = std::fs::read(&rrd).unwrap();
    assert!(bytes.starts_with(b"RRF"), "{:?}", &bytes[..4]);
    // Entity paths stand uncompressed in the manifest at the end of the file.
    for entity in [
        entity_paths::VIDEO,
        entity_paths::CAMERA,
        entity_paths::CAMERA_PATH,
        entity_paths::LAYOUT,
        entity_paths::LAYOUT_SIGMA,
        entity_paths::SITUATION,
        entity_paths::ANSWER,
        entity_paths::TIMING,
    ] {
        let found = bytes.windows(entity.len()).any(|window| window == entity.as_bytes());
        assert!(found, "{entity} is not in the recording");
    }
}

#[test]
fn a_recorder_that_is_dropped_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let config = RecordingConfig { rrd: Some(folder.path().join("a.rrd")), viewer: false };
    drop(Recorder::start(config).unwrap());
}
