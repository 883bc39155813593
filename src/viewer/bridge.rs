//! Between the worker threads and the app: events of the model thread and frames of
//! the player thread are taken once per drawn frame, requests are sent without
//! waiting.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bevy::prelude::{App, IntoScheduleConfigs as _, Res, ResMut, Resource, Time, Update};

use super::ViewerSet;
use super::playback::PlaybackClock;
use super::window::Pace;
use super::workbench::Workbench;
use crate::session::{Compute, RequestId, Session, SessionEvent, SessionRequest, SessionState};
use crate::video::{Frame, FrameIndex, PlayerEvent, VideoPlayer};
use crate::worker::SendError;

/// The conversation as the model thread told it.
#[derive(Debug, Default, Resource)]
pub(super) struct Conversation(pub SessionState);

impl Conversation {
    /// Takes down what belongs to another clip than `clip`, so that it is never shown
    /// beside it. What is not complete goes in any case: it may be of a clip that is not open
    /// yet, and it comes again.
    pub(crate) fn leave(&mut self, clip: &Path) {
        let state = &mut self.0;
        state.give_up_so_far();
        if state.video.as_ref().is_some_and(|video| video.path != clip) {
            *state = SessionState {
                model: state.model.take(),
                activity: state.activity.clone(),
                scene_revision: state.scene_revision + 1,
                ..SessionState::default()
            };
        }
    }
}

/// Requests and events of the model thread.
#[derive(Debug, Resource)]
pub(super) struct ModelLink {
    session: Option<Session>,
    compute: Compute,
    /// A model is loaded or being loaded.
    model_wanted: bool,
    /// A model is being loaded: opening a clip must not cancel it.
    loading: bool,
    /// The request that loads it, once it is sent.
    load: Option<RequestId>,
    /// The clip to be opened once the model is loaded.
    held: Option<PathBuf>,
    /// The clip that was asked for last.
    clip: Option<PathBuf>,
    /// Requests that found the queue full.
    waiting: VecDeque<SessionRequest>,
    /// Events read from a log, shown instead of a model's.
    replay: VecDeque<SessionEvent>,
    /// Events for the recorder, in order.
    pub unrecorded: Vec<SessionEvent>,
}

impl ModelLink {
    /// The connection to `session` (none: the app works without a model).
    pub(crate) fn new(session: Option<Session>, compute: Compute, replay: Vec<SessionEvent>) -> Self {
        Self {
            session,
            compute,
            model_wanted: false,
            loading: false,
            load: None,
            held: None,
            clip: None,
            waiting: VecDeque::new(),
            replay: replay.into(),
            unrecorded: Vec::new(),
        }
    }

    /// Sends a request, or keeps it until there is room.
    pub(crate) fn request(&mut self, request: SessionRequest) {
        self.waiting.push_back(request);
        self.send_waiting();
    }

    /// Loads a checkpoint folder on the chosen device, in place of the model in use, and has
    /// it look at the open clip.
    pub(crate) fn load_model(&mut self, folder: PathBuf) {
        self.cancel();
        self.waiting.clear();
        (self.model_wanted, self.loading, self.load) = (true, true, None);
        self.held.clone_from(&self.clip);
        self.request(SessionRequest::LoadModel { folder, compute: self.compute });
    }

    /// Lets go of the model; the player goes on showing the clip.
    pub(crate) fn unload_model(&mut self) {
        self.waiting.clear();
        self.cancel();
        self.model_wanted = false;
        self.loading = false;
        self.held = None;
        self.request(SessionRequest::UnloadModel);
    }

    /// Opens a clip; whatever runs is cancelled, except loading the model that is to
    /// look at it: then the clip waits, and is not asked for when loading fails.
    /// Without a model the player shows the clip alone.
    pub(crate) fn open_video(&mut self, path: PathBuf) {
        self.clip = Some(path.clone());
        if self.loading {
            self.held = Some(path);
            return;
        }
        self.held = None;
        self.cancel();
        if self.model_wanted {
            self.request(SessionRequest::OpenVideo { path });
        }
    }

    /// Something else takes the place of the clip: it is neither asked for nor waited for.
    pub(crate) fn leave_video(&mut self) {
        (self.held, self.clip) = (None, None);
        // A model being loaded is for whatever is opened next.
        if !self.loading {
            self.cancel();
        }
    }

    /// Cancels what runs and what waits.
    pub(crate) fn cancel(&mut self) {
        // A model being loaded is wanted by whatever comes next.
        self.waiting.retain(|request| matches!(request, SessionRequest::LoadModel { .. }));
        if let Some(session) = &self.session {
            session.cancel();
        }
    }

    /// Bytes of the videos that the model in use holds.
    pub(crate) fn held_by_videos(&self) -> u64 {
        self.session.as_ref().map_or(0, Session::held_by_videos)
    }

    /// Starts the model thread again.
    ///
    /// # Errors
    /// A sentence for the status bar.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        match &mut self.session {
            Some(session) => session.restart().map_err(|error| error.to_string()),
            None => Err("there is no model thread in this session; start the app with a model".to_owned()),
        }
    }

    fn send_waiting(&mut self) {
        let Some(session) = &mut self.session else {
            self.waiting.clear();
            return;
        };
        while let Some(request) = self.waiting.front() {
            match session.request(request.clone()) {
                Ok(id) => {
                    if matches!(request, SessionRequest::LoadModel { .. }) {
                        self.load = Some(id);
                    }
                    self.waiting.pop_front();
                }
                Err(SendError::Busy) => break,
                // The crash event has told why; a restart loads model and video again.
                Err(SendError::Stopped) => self.waiting.clear(),
            }
        }
    }

    fn poll(&mut self) -> Option<SessionEvent> {
        let event = self.replay.pop_front().or_else(|| self.session.as_mut()?.poll())?;
        let ends_load = match &event {
            SessionEvent::Crashed { .. } => true,
            SessionEvent::ModelLoaded { .. }
            | SessionEvent::Failed { .. }
            | SessionEvent::Cancelled { .. } => self.load.is_some() && event.request() == self.load,
            _ => false,
        };
        if self.loading && ends_load {
            self.loading = false;
            self.model_wanted = !matches!(event, SessionEvent::Failed { .. });
            let held = self.held.take();
            if matches!(event, SessionEvent::ModelLoaded { .. })
                && let Some(path) = held
            {
                self.request(SessionRequest::OpenVideo { path });
            }
        }
        Some(event)
    }
}

/// The player thread of the open clip and the picture on screen.
#[derive(Debug, Default, Resource)]
pub(super) struct VideoLink {
    player: Option<VideoPlayer>,
    /// Starts playing as soon as it is open.
    autoplay: bool,
    /// A frame that is due later.
    early: Option<Frame>,
    /// Revision of the clock that the player was last told.
    told: Option<u64>,
    /// The picture on screen.
    pub shown: Option<Frame>,
    /// The picture is a stand-in while the wanted frame is decoded.
    pub is_stand_in: bool,
    /// Grows with every new picture.
    pub revision: u64,
    /// Why there is no picture.
    pub failure: Option<String>,
}

impl VideoLink {
    /// Opens a clip; the old picture stays until the first new one.
    pub(crate) fn open(&mut self, path: &Path, autoplay: bool) {
        *self = Self {
            shown: self.shown.take(),
            is_stand_in: true,
            revision: self.revision,
            autoplay,
            ..Self::default()
        };
        match VideoPlayer::open(path) {
            Ok(player) => self.player = Some(player),
            Err(error) => {
                self.failure = Some(format!("cannot start the video thread: {error}; close other programs"));
            }
        }
    }

    /// Whether the picture on screen is exactly the one the clock asks for.
    pub(crate) fn shows(&self, index: FrameIndex) -> bool {
        !self.is_stand_in && self.shown.as_ref().is_some_and(|frame| frame.index == index)
    }

    fn show(&mut self, frame: Frame, exact: bool) {
        self.shown = Some(frame);
        self.is_stand_in = !exact;
        self.revision += 1;
    }
}

pub(super) fn plugin(app: &mut App) {
    app.init_resource::<Conversation>()
        .init_resource::<VideoLink>()
        .init_resource::<PlaybackClock>()
        .add_systems(
            Update,
            (receive_session, (advance_clock, receive_frames).chain()).in_set(ViewerSet::Receive),
        );
    app.add_systems(Update, (steer_player, send_requests).in_set(ViewerSet::Send));
}

/// Most events taken in one frame: a burst of answer pieces must not delay the picture.
const EVENTS_PER_FRAME: usize = 64;

fn receive_session(mut link: ResMut<ModelLink>, mut conversation: ResMut<Conversation>) {
    use bevy::prelude::DetectChangesMut as _;
    for _ in 0..EVENTS_PER_FRAME {
        let Some(event) = link.bypass_change_detection().poll() else { break };
        link.unrecorded.push(event.clone());
        conversation.0.apply(event);
    }
}

fn send_requests(mut link: ResMut<ModelLink>) {
    link.send_waiting();
}

fn advance_clock(time: Res<Time>, mut clock: ResMut<PlaybackClock>) {
    if clock.is_playing() {
        clock.advance(time.delta_secs_f64());
    }
}

/// Whether a frame of the video at `pts` is to be shown at `position`; around the end
/// of a loop the nearer way round counts.
fn is_due(pts: f64, position: f64, duration: f64) -> bool {
    let ahead = pts - position;
    if ahead > 0.5 * duration {
        return true;
    }
    ahead <= 1e-9 && ahead > -0.5 * duration
}

fn receive_frames(
    mut link: ResMut<VideoLink>,
    mut clock: ResMut<PlaybackClock>,
    mut workbench: ResMut<Workbench>,
) {
    use bevy::prelude::DetectChangesMut as _;
    let (position, playing) = (clock.position_secs(), clock.is_playing());
    let duration = clock.video().map_or(1.0, |video| video.duration_secs());
    if let Some(frame) = link.bypass_change_detection().early.take() {
        if playing && !is_due(frame.pts_secs, position, duration) {
            link.bypass_change_detection().early = Some(frame);
            return;
        }
        link.show(frame, true);
    }
    while let Some(event) = link.bypass_change_detection().player.as_mut().and_then(VideoPlayer::poll) {
        match event {
            PlayerEvent::Opened(info) => {
                let autoplay = link.autoplay;
                clock.open(Arc::new(info), autoplay);
            }
            PlayerEvent::Frame { frame, exact, .. } => {
                if playing && !is_due(frame.pts_secs, position, duration) {
                    link.early = Some(frame);
                    break;
                }
                link.show(frame, exact);
            }
            PlayerEvent::EndOfVideo => {}
            PlayerEvent::Failed(message) => {
                // What could not be opened must not stand beside the picture of another clip.
                if clock.video().is_none() {
                    link.shown = None;
                }
                workbench.notice = Some(message.clone());
                link.failure = Some(message);
            }
        }
    }
}

/// Tells the player when the clock jumped, started, stopped or changed its speed.
fn steer_player(clock: Res<PlaybackClock>, mut link: ResMut<VideoLink>, pace: Res<Pace>) {
    use bevy::prelude::DetectChangesMut as _;
    if clock.video().is_none() || link.told == Some(clock.revision()) {
        return;
    }
    let link = link.bypass_change_detection();
    link.told = Some(clock.revision());
    link.early = None;
    let Some(player) = &mut link.player else { return };
    if clock.is_playing() {
        player.play(clock.frame(), clock.rate(), clock.is_looping());
    } else {
        player.show(clock.frame());
    }
    pace.keep_drawing();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{CameraPose, ImageSize, Intrinsics};
    use crate::scene::CameraEstimate;
    use crate::session::ComputeDevice;

    #[test]
    fn the_path_of_a_clip_that_is_not_open_yet_goes_when_another_is_chosen() {
        let intrinsics = Intrinsics::from_horizontal_fov(ImageSize::new(4, 3), 1.0);
        let camera = CameraEstimate { frame: FrameIndex(0), pose: CameraPose::IDENTITY, intrinsics };
        let mut conversation = Conversation::default();
        let request = RequestId(1);
        conversation.0.apply(SessionEvent::Started { request, question: None });
        conversation.0.apply(SessionEvent::CamerasSoFar { request, cameras: vec![camera] });
        let before = conversation.0.scene_revision;
        assert!(conversation.0.video.is_none() && conversation.0.shown_cameras().len() == 1);
        conversation.leave(Path::new("another.mp4"));
        assert!(conversation.0.shown_cameras().is_empty());
        assert!(conversation.0.scene_revision > before);
    }

    #[test]
    fn a_clip_is_not_asked_for_when_its_model_does_not_load() {
        let session = Session::start(None).unwrap();
        let mut link = ModelLink::new(Some(session), ComputeDevice::Cpu.into(), Vec::new());
        link.load_model("no-such-folder".into());
        link.open_video("clip.mp4".into());
        let mut conversation = SessionState::default();
        while conversation.status.is_none() {
            if let Some(event) = link.poll() {
                conversation.apply(event);
            }
        }
        assert!(conversation.status.unwrap().text.contains("no-such-folder"));
        assert!(link.held.is_none() && !link.model_wanted && link.waiting.is_empty());
    }

    /// Polls until `is_reached`.
    fn follow(link: &mut ModelLink, is_reached: impl Fn(&SessionState) -> bool) -> SessionState {
        let mut conversation = SessionState::default();
        while !is_reached(&conversation) {
            match link.poll() {
                Some(event) => conversation.apply(event),
                None => std::thread::sleep(std::time::Duration::from_millis(2)),
            }
        }
        conversation
    }

    #[test]
    fn a_new_model_looks_at_the_open_clip_and_an_unloaded_one_at_nothing() {
        let session = Session::start(None).unwrap();
        let mut link = ModelLink::new(Some(session), ComputeDevice::Cpu.into(), Vec::new());
        // The clip was opened before there was a model.
        link.open_video("no-such-clip.mp4".into());
        link.load_model("assets/models/loc3r-mini".into());
        let opened = |state: &SessionState| state.status.is_some();
        let state = follow(&mut link, opened);
        assert!(state.model.is_some());
        assert!(state.status.unwrap().text.contains("no-such-clip"));
        // While a request runs, another folder takes its place.
        link.load_model("no-such-folder".into());
        let state = follow(&mut link, |state| state.status.is_some());
        assert!(state.status.unwrap().text.contains("no-such-folder"));
        assert!(state.model.is_none() && !link.model_wanted);
        link.load_model("assets/models/loc3r-mini".into());
        follow(&mut link, opened);
        link.unload_model();
        let is_gone = std::cell::Cell::new(false);
        while !is_gone.get() {
            if let Some(event) = link.poll() {
                is_gone.set(matches!(event, SessionEvent::ModelUnloaded { .. }));
            }
        }
        link.open_video("another.mp4".into());
        assert!(link.waiting.is_empty() && !link.model_wanted);
    }

    #[test]
    fn frames_are_due_when_their_time_has_come_also_around_a_loop() {
        assert!(is_due(1.0, 1.0, 10.0));
        assert!(is_due(0.5, 1.0, 10.0));
        assert!(!is_due(1.1, 1.0, 10.0));
        // The clock has started again: late frames of the last round go by.
        assert!(is_due(9.9, 0.1, 10.0));
        // The decoder has started again before the clock: its frame waits.
        assert!(!is_due(0.0, 9.9, 10.0));
    }
}
