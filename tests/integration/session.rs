//! The session with a real (tiny, random) network: events, cancelling, replay.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use candle_core::DType;
#[cfg(target_os = "linux")]
use loc3r::model::{ModelConfig, random_weights::write_random};
use loc3r::qa::{Question, QuestionKind};
use loc3r::session::{
    AskedQuestion, ComputeDevice, FeatureCache, RequestId, Session, SessionEvent, SessionLog, SessionRequest,
    SessionState, Timing,
};

use crate::checkpoints::{write_clip, write_tiny};

fn question(text: &str) -> SessionRequest {
    let question = Question {
        kind: QuestionKind::of_sqa3d(text),
        text: text.to_owned(),
        situation_text: Some("I am standing in the room".to_owned()),
        choices: vec![],
    };
    SessionRequest::Ask { question, placed: None }
}

/// All events up to the end of request `last`.
fn events_until(session: &mut Session, last: RequestId) -> Vec<SessionEvent> {
    let deadline = Instant::now() + Duration::from_mins(2);
    let mut events = Vec::new();
    while Instant::now() < deadline {
        let Some(event) = session.recv_timeout(Duration::from_millis(100)) else { continue };
        let ends = matches!(
            event,
            SessionEvent::ModelLoaded { .. }
                | SessionEvent::LayoutReady { .. }
                | SessionEvent::AnswerReady { .. }
                | SessionEvent::Cancelled { .. }
                | SessionEvent::Failed { .. }
                | SessionEvent::ModelUnloaded { .. }
        );
        let request = event.request();
        events.push(event);
        if ends && request == Some(last) {
            return events;
        }
    }
    panic!("request {last:?} does not end");
}

fn state_after(events: &[SessionEvent]) -> SessionState {
    let mut state = SessionState::default();
    for event in events {
        state.apply(event.clone());
    }
    state
}

fn opened(folder: &Path) -> (Session, Vec<SessionEvent>) {
    write_tiny(&folder.join("model"), |_| {});
    write_clip(&folder.join("clip"));
    opened_with(folder, None)
}

fn opened_with(folder: &Path, cache: Option<FeatureCache>) -> (Session, Vec<SessionEvent>) {
    let (model, clip) = (folder.join("model"), folder.join("clip"));
    let mut session = Session::start(cache).unwrap();
    session.request(SessionRequest::LoadModel { folder: model, compute: ComputeDevice::Cpu.into() }).unwrap();
    let last = session.request(SessionRequest::OpenVideo { path: clip }).unwrap();
    let events = events_until(&mut session, last);
    (session, events)
}

#[test]
fn a_conversation_ends_with_answers_and_replays_to_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let (mut session, mut events) = opened(folder.path());
    session.request(question("What is on my left?")).unwrap();
    let last = session.request(question("Is it red?")).unwrap();
    events.extend(events_until(&mut session, last));
    let state = state_after(&events);
    assert_eq!(state.layout.as_ref().unwrap().tokens.len(), 4 * 2 * 2);
    let sight = state.sight.as_ref().unwrap();
    assert_eq!(sight.rgb.len(), 4 * 3 * sight.size.pixels());
    for asked in &state.questions {
        let answer = asked.answer.as_ref().unwrap();
        assert!(asked.estimate.is_some() && answer.tokens.reused > sight.prefix_tokens / 2);
        assert_eq!(answer.text.trim(), asked.partial.trim());
    }

    let path = folder.path().join("log.jsonl");
    let mut log = SessionLog::create(&path).unwrap();
    for event in &events {
        log.append(event).unwrap();
    }
    let replayed: Vec<SessionEvent> =
        SessionLog::replay(&path).unwrap().events.into_iter().map(|line| line.event).collect();
    let again = state_after(&replayed);
    assert_eq!(untimed(again.questions), untimed(state.questions));
    assert_eq!(again.layout, state.layout);
}

#[test]
fn a_video_that_was_seen_before_is_neither_decoded_nor_encoded_and_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(&folder.path().join("model"), |_| {});
    write_clip(&folder.path().join("clip"));
    let cache = FeatureCache { folder: folder.path().join("cache"), limit: 1 << 30 };
    let run = |cache: Option<&FeatureCache>| {
        let (mut session, mut events) = opened_with(folder.path(), cache.cloned());
        let last = session.request(question("What is on my left?")).unwrap();
        events.extend(events_until(&mut session, last));
        state_after(&events)
    };
    let (without, first, second) = (run(None), run(Some(&cache)), run(Some(&cache)));
    assert!(without.encoded_frames >= 4 && first.encoded_frames == without.encoded_frames);
    assert_eq!(second.encoded_frames, 0);
    let timing = second.video_timing.unwrap();
    assert_eq!((timing.decode, timing.vision), (0.0, 0.0));
    for state in [first, second] {
        assert_eq!(state.layout, without.layout);
        assert_eq!((&state.cameras, &state.points), (&without.cameras, &without.points));
        assert_eq!(state.sight, without.sight);
        assert_eq!(untimed(state.questions), untimed(without.questions.clone()));
    }
    // Other weights see for themselves.
    write_tiny(&folder.path().join("model"), |tensors| {
        for tensor in tensors.values_mut() {
            *tensor = tensor.affine(1.01, 0.0).unwrap();
        }
    });
    assert!(run(Some(&cache)).encoded_frames > 0);
    assert_eq!(cache.entries().unwrap().len(), 2);
}

/// What the session tells of opening `clip` and of a question about it.
fn told_of(session: &mut Session, clip: &Path) -> (Vec<SessionEvent>, SessionState) {
    let open = session.request(SessionRequest::OpenVideo { path: clip.to_owned() }).unwrap();
    let told = events_until(session, open);
    let last = session.request(question("What is on my left?")).unwrap();
    let asked = events_until(session, last);
    let state = state_after(&[&told[..], &asked[..]].concat());
    (told, state)
}

#[test]
fn a_clip_opened_again_is_told_at_once_from_what_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("clip"), folder.path().join("other"));
    write_tiny(&folder.path().join("model"), |_| {});
    write_clip(&a);
    let cache = FeatureCache { folder: folder.path().join("cache"), limit: 1 << 30 };
    let (mut session, told) = opened_with(folder.path(), Some(cache));
    let last = session.request(question("What is on my left?")).unwrap();
    let first = state_after(&[told, events_until(&mut session, last)].concat());
    assert!(first.reused_tokens == 0 && first.encoded_frames > 0);
    write_clip(&b);
    std::fs::remove_file(b.join("2.png")).unwrap();
    let steps = |told: &[SessionEvent]| {
        told.iter().filter(|event| matches!(event, SessionEvent::Progress { .. })).count()
    };
    let (told, other) = told_of(&mut session, &b);
    assert!(steps(&told) > 0 && other.reused_tokens == 0 && other.encoded_frames > 0);
    assert_ne!(other.sight, first.sight);

    let (told, again) = told_of(&mut session, &a);
    // Nothing was decoded, looked at or read: as many tokens as every question reuses.
    assert_eq!((steps(&told), again.encoded_frames), (0, 0));
    let answer = |state: &SessionState| state.current_question().unwrap().answer.clone().unwrap();
    assert!(again.reused_tokens > again.sight.as_ref().unwrap().prefix_tokens);
    assert_eq!(again.reused_tokens, answer(&again).tokens.reused);
    assert_eq!(again.layout, first.layout);
    assert_eq!((&again.cameras, &again.points, &again.sight), (&first.cameras, &first.points, &first.sight));
    assert_eq!(answer(&again).text, answer(&first).text);

    // Another model has read nothing yet, though it bears the same name.
    write_tiny(&folder.path().join("model"), |tensors| {
        for tensor in tensors.values_mut() {
            *tensor = tensor.affine(1.01, 0.0).unwrap();
        }
    });
    let load =
        SessionRequest::LoadModel { folder: folder.path().join("model"), compute: ComputeDevice::Cpu.into() };
    session.request(load).unwrap();
    let (_, state) = told_of(&mut session, &a);
    assert!(state.reused_tokens == 0 && state.encoded_frames > 0);
}

/// Bytes of this process in memory.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

/// The system gets back what a model of 270 MB took, once it has read a video and answered.
#[cfg(target_os = "linux")]
#[test]
fn an_unloaded_model_gives_its_memory_back() {
    const ALONE: &str = "LOC3R_TEST_ALONE";
    if let Some(folder) = std::env::var_os(ALONE) {
        return load_and_unload(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    write_clip(&folder.path().join("clip"));
    let mut config = ModelConfig::tiny();
    // Matrices of 1 and of 17 MB, as those of the published models.
    (config.language.hidden_size, config.language.intermediate_size) = (512, 8192);
    (config.language.num_attention_heads, config.language.num_key_value_heads) = (8, 8);
    config.language.num_hidden_layers = 5;
    let written = write_random(&config, &folder.path().join("model"), DType::F32, 1, &mut |_, _| {}).unwrap();
    assert!(written.bytes > 250_000_000, "{written:?}");
    // Other tests take and give memory meanwhile: a process of its own.
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", "session::an_unloaded_model_gives_its_memory_back", "--nocapture"]);
    let run = alone.env(ALONE, folder.path()).output().unwrap();
    let told = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && told.contains("1 passed"), "{told}");
}

#[cfg(target_os = "linux")]
fn load_and_unload(folder: &Path) {
    let (model, clip) = (folder.join("model"), folder.join("clip"));
    let weights = std::fs::metadata(model.join("model.safetensors")).unwrap().len();
    loc3r::model::freed_memory::keep();
    let mut session = Session::start(None).unwrap();
    let before = resident();
    session.request(SessionRequest::LoadModel { folder: model, compute: ComputeDevice::Cpu.into() }).unwrap();
    let (_, state) = told_of(&mut session, &clip);
    assert!(state.current_question().unwrap().answer.is_some());
    let loaded = resident();
    let last = session.request(SessionRequest::UnloadModel).unwrap();
    events_until(&mut session, last);
    let after = resident();
    let message = format!("{before} bytes, {loaded} with the model, {after} without it again");
    assert!(loaded > before + weights / 10 * 9, "{message}");
    assert!(after + weights / 10 * 9 < loaded, "{message}");
}

/// Without times: text keeps them to the last bit but one.
fn untimed(mut questions: Vec<AskedQuestion>) -> Vec<AskedQuestion> {
    for answer in questions.iter_mut().filter_map(|asked| asked.answer.as_mut()) {
        answer.timing = Timing::default();
    }
    questions
}

#[test]
fn cancelling_leaves_a_session_that_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (mut session, mut events) = opened(folder.path());
    let cancelled = session.request(question("What is on my left?")).unwrap();
    session.cancel();
    let seen = events_until(&mut session, cancelled);
    let last = session.request(question("Is it red?")).unwrap();
    events.extend(seen);
    events.extend(events_until(&mut session, last));
    assert!(state_after(&events).current_question().unwrap().answer.is_some());
}
