//! Hands session events to the Rerun recorder; starting, stopping and failing never
//! touch the conversation.

use std::time::Duration;

use bevy::app::AppExit;
use bevy::prelude::{MessageReader, ResMut, Resource};
use bevy::tasks::IoTaskPool;

use super::bridge::ModelLink;
use super::workbench::{RecordingState, Workbench};
use crate::recording::{Recorder, RecorderEvent, RecordingConfig, numbered};
use crate::session::SessionEvent;

/// Longest time that closing the window waits for the end of the recording.
const CLOSING_SECS: Duration = Duration::from_secs(5);

/// The recorder and what it must be told when it starts late.
#[derive(Debug, Default, Resource)]
pub(super) struct Recording {
    recorder: Option<Recorder>,
    config: RecordingConfig,
    /// Facts of the open clip so far.
    known: Vec<SessionEvent>,
    wanted: bool,
    /// Recordings begun so far; a file is never written twice.
    begun: u32,
}

impl Recording {
    /// Records to `config` from the start when it names a place; else to the live
    /// viewer once it is switched on.
    pub(crate) fn new(config: RecordingConfig) -> Self {
        let wanted = config.is_on();
        let config =
            if wanted { config } else { RecordingConfig { viewer: true, ..RecordingConfig::default() } };
        Self { config, wanted, ..Self::default() }
    }

    /// Starts or stops.
    pub(crate) fn toggle(&mut self) {
        self.wanted = !self.wanted;
    }

    fn remember(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Progress { .. } | SessionEvent::AnswerPiece { .. } => return,
            SessionEvent::ModelLoaded { .. } => self.known.clear(),
            SessionEvent::VideoOpened { .. } => {
                self.known.retain(|event| matches!(event, SessionEvent::ModelLoaded { .. }));
            }
            _ => {}
        }
        self.known.push(event.clone());
    }

    fn start(&mut self) -> Result<(), String> {
        let rrd = self.config.rrd.as_deref().map(|path| numbered(path, self.begun));
        let config = RecordingConfig { rrd, ..self.config.clone() };
        let mut recorder = Recorder::start(config).map_err(|error| error.to_string())?;
        self.begun += 1;
        for event in &self.known {
            recorder.record(event);
        }
        self.recorder = Some(recorder);
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            IoTaskPool::get()
                .spawn(async move {
                    if let Err(error) = recorder.finish(CLOSING_SECS) {
                        tracing::warn!("{error}");
                    }
                })
                .detach();
        }
    }
}

/// Passes on what happened, starts and stops as wanted, shows what the recorder says.
pub(super) fn record(
    mut recording: ResMut<Recording>,
    mut link: ResMut<ModelLink>,
    mut workbench: ResMut<Workbench>,
) {
    use bevy::prelude::DetectChangesMut as _;
    let recording = &mut *recording;
    let link = link.bypass_change_detection();
    if workbench.recording == RecordingState::Unavailable && cfg!(feature = "rerun") {
        workbench.recording = RecordingState::Off;
    }
    match (recording.wanted, recording.recorder.is_some()) {
        (true, false) => {
            workbench.recording = RecordingState::On("starting".to_owned());
            if let Err(problem) = recording.start() {
                recording.wanted = false;
                workbench.recording = RecordingState::Off;
                workbench.notice = Some(problem);
            }
        }
        (false, true) => {
            recording.stop();
            workbench.recording = RecordingState::Off;
        }
        _ => {}
    }
    for event in std::mem::take(&mut link.unrecorded) {
        recording.remember(&event);
        if let Some(recorder) = &mut recording.recorder {
            recorder.record(&event);
        }
    }
    while let Some(message) = recording.recorder.as_mut().and_then(Recorder::poll) {
        match message {
            RecorderEvent::Ready { places } => workbench.recording = RecordingState::On(places),
            RecorderEvent::Warning { message } => workbench.notice = Some(message),
            RecorderEvent::Failed { message } => {
                workbench.notice = Some(message);
                workbench.recording = RecordingState::Off;
                recording.wanted = false;
                recording.recorder = None;
            }
            RecorderEvent::Finished(_) => {}
        }
    }
}

/// Ends the recording before the window closes.
pub(super) fn finish_recording(mut exits: MessageReader<AppExit>, mut recording: ResMut<Recording>) {
    if exits.read().next().is_some()
        && let Some(recorder) = recording.recorder.take()
        && let Err(error) = recorder.finish(CLOSING_SECS)
    {
        tracing::error!("{error}");
    }
}
