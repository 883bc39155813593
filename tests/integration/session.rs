//! The session with a real (tiny, random) network: events, cancelling, replay.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

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

fn opened(folder: &std::path::Path) -> (Session, Vec<SessionEvent>) {
    write_tiny(&folder.join("model"), |_| {});
    write_clip(&folder.join("clip"));
    opened_with(folder, None)
}

fn opened_with(folder: &std::path::Path, cache: Option<FeatureCache>) -> (Session, Vec<SessionEvent>) {
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
