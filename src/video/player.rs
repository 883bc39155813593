//! The decoder thread behind an interactive view: "show this frame" and "play from
//! here" in, frames out through a queue of four.
//!
//! The newest command wins: commands that wait are read up to the last one, decoding
//! for an older one is interrupted, and its frames never leave [`VideoPlayer::poll`].
//! Time is the viewer's: while playing, the thread keeps the queue filled in order and
//! the viewer takes each frame when its clock says so. A full queue makes the thread wait,
//! but never longer than [`REACTION`] for the next command.

use std::path::PathBuf;
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, SendTimeoutError};

use super::{Frame, FrameIndex, FrameSource, VideoError, VideoInfo};
use crate::worker::{SendError, Worker, WorkerSide};

/// Longest time a full queue keeps the thread from seeing a new command.
const REACTION: Duration = Duration::from_millis(10);
/// Commands that may wait; they are tiny and superseded by newer ones.
const COMMAND_BOUND: usize = 16;
/// Frames decoded ahead.
const FRAME_BOUND: usize = 4;

/// What the view asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlayerCommand {
    /// Show one frame; pauses.
    Show(FrameIndex),
    /// Deliver frames in order.
    Play {
        /// The first one.
        from: FrameIndex,
        /// Speed of the viewer's clock, 0.25 to 4. From 4 on every second frame is left
        /// out, which no screen could show.
        rate: f32,
        /// Start again at frame 0 after the last one.
        looping: bool,
    },
    /// Stop delivering frames.
    Pause,
}

/// What the decoder has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum PlayerEvent {
    /// The first event of a video that can be read.
    Opened(VideoInfo),
    /// A picture.
    Frame {
        /// The picture, with its own index.
        frame: Frame,
        /// Number of the command that asked for it, as [`VideoPlayer::show`] returned it.
        generation: u64,
        /// False for a stand-in near the wanted frame while that is being decoded.
        exact: bool,
    },
    /// The last frame has been delivered; playing stops.
    EndOfVideo,
    /// A file or a frame cannot be read; the text names it and a remedy.
    Failed(String),
}

/// A command with its number.
#[derive(Debug, Clone, Copy)]
struct Numbered {
    generation: u64,
    command: PlayerCommand,
}

/// An event with the number of the command it answers; 0 for opening the file.
#[derive(Debug)]
struct Answer {
    generation: u64,
    event: PlayerEvent,
}

/// Handle of the decoder thread of one video. Dropping it ends the thread.
#[derive(Debug)]
pub struct VideoPlayer {
    worker: Worker<Numbered, Answer>,
    generation: u64,
    /// The newest command, while the queue had no room for it.
    unsent: Option<Numbered>,
    /// The thread's end has been seen.
    stopped: bool,
}

impl VideoPlayer {
    /// Starts a thread that opens the file or folder at `path`; the first event is
    /// [`PlayerEvent::Opened`] or [`PlayerEvent::Failed`].
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn open(path: impl Into<PathBuf>) -> std::io::Result<Self> {
        let path = path.into();
        Self::with_source(move || super::open(&path))
    }

    /// Like [`VideoPlayer::open`] for any source, which `open_source` makes on the thread.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn with_source(
        open_source: impl FnOnce() -> Result<Box<dyn FrameSource>, VideoError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let worker = Worker::start(
            "loc3r-video",
            COMMAND_BOUND,
            FRAME_BOUND,
            move |side| run(side, open_source()),
            |message| Answer {
                generation: 0,
                event: PlayerEvent::Failed(format!(
                    "the video decoder stopped: {message}; open the video again"
                )),
            },
        )?;
        Ok(Self { worker, generation: 0, unsent: None, stopped: false })
    }

    /// Asks for one frame and voids all older requests. Returns the number its answers carry.
    pub fn show(&mut self, index: FrameIndex) -> u64 {
        self.command(PlayerCommand::Show(index))
    }

    /// Asks for frames in order from `from` and voids all older requests. Returns the number
    /// its answers carry.
    pub fn play(&mut self, from: FrameIndex, rate: f32, looping: bool) -> u64 {
        self.command(PlayerCommand::Play { from, rate, looping })
    }

    /// Stops playing; frames decoded ahead are dropped.
    pub fn pause(&mut self) {
        self.command(PlayerCommand::Pause);
    }

    /// Sends a command and voids all older ones. Returns the number its answers carry.
    pub fn command(&mut self, command: PlayerCommand) -> u64 {
        self.generation += 1;
        self.unsent = Some(Numbered { generation: self.generation, command });
        self.send_newest();
        self.generation
    }

    /// The next event, `None` when there is none yet. Never blocks; call it once per
    /// drawn frame and again while it returns what cannot wait.
    pub fn poll(&mut self) -> Option<PlayerEvent> {
        loop {
            self.send_newest();
            let Answer { generation, event } = self.worker.events().try_recv().ok()?;
            if generation == 0 || generation == self.generation {
                return Some(event);
            }
        }
    }

    fn send_newest(&mut self) {
        let Some(numbered) = self.unsent else { return };
        match self.worker.try_send(numbered) {
            Ok(()) => self.unsent = None,
            Err(SendError::Busy) => {}
            Err(SendError::Stopped) => {
                // The last event has told why.
                self.unsent = None;
                self.stopped = true;
            }
        }
    }

    /// Whether the thread has ended, because the file could not be opened or the decoder failed.
    pub fn has_stopped(&self) -> bool {
        self.stopped
    }
}

/// Frames to be delivered in order.
#[derive(Debug, Clone, Copy)]
struct Playback {
    next: u32,
    step: u32,
    looping: bool,
}

/// The owner is gone.
struct Gone;

/// The thread's state.
struct Decoding<'a> {
    side: &'a WorkerSide<Numbered, Answer>,
    source: Box<dyn FrameSource>,
    generation: u64,
    playback: Option<Playback>,
}

fn run(side: &WorkerSide<Numbered, Answer>, opened: Result<Box<dyn FrameSource>, VideoError>) {
    let (event, source) = match opened {
        Ok(source) => (PlayerEvent::Opened(source.info().clone()), Some(source)),
        Err(error) => (PlayerEvent::Failed(error.to_string()), None),
    };
    if side.events.send(Answer { generation: 0, event }).is_err() {
        return;
    }
    let Some(source) = source else { return };
    let mut decoding = Decoding { side, source, generation: 0, playback: None };
    while !side.cancel.is_raised() {
        let outcome = match decoding.newest_command() {
            Ok(Some(command)) => decoding.obey(command),
            Ok(None) => decoding.play_on(),
            Err(Gone) => Err(Gone),
        };
        if outcome.is_err() {
            return;
        }
    }
}

impl Decoding<'_> {
    /// The last of the waiting commands; `None` when there is none and frames are to be played.
    fn newest_command(&mut self) -> Result<Option<PlayerCommand>, Gone> {
        let mut newest = self.side.commands.try_iter().last();
        while newest.is_none() && self.playback.is_none() {
            // A timeout only lets the loop look at the cancel flag.
            newest = match self.side.commands.recv_timeout(Duration::from_millis(100)) {
                Ok(first) => Some(self.side.commands.try_iter().last().unwrap_or(first)),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Err(Gone),
            };
            if self.side.cancel.is_raised() {
                return Err(Gone);
            }
        }
        Ok(newest.map(|numbered| {
            self.generation = numbered.generation;
            numbered.command
        }))
    }

    fn obey(&mut self, command: PlayerCommand) -> Result<(), Gone> {
        self.playback = None;
        match command {
            PlayerCommand::Show(index) => self.show(index),
            PlayerCommand::Play { from, rate, looping } => {
                let step = if rate >= 4.0 { 2 } else { 1 };
                self.playback = Some(Playback { next: from.0, step, looping });
                Ok(())
            }
            PlayerCommand::Pause => Ok(()),
        }
    }

    fn show(&mut self, index: FrameIndex) -> Result<(), Gone> {
        if let Some(frame) = self.source.preview(index) {
            self.send(PlayerEvent::Frame { frame, generation: self.generation, exact: false })?;
        }
        self.deliver(index)
    }

    fn play_on(&mut self) -> Result<(), Gone> {
        let Some(mut playback) = self.playback else { return Ok(()) };
        let count = self.source.info().frame_count();
        if playback.next >= count {
            if !playback.looping {
                self.playback = None;
                return self.send(PlayerEvent::EndOfVideo);
            }
            playback.next = 0;
        }
        let index = FrameIndex(playback.next);
        playback.next += playback.step;
        self.playback = Some(playback);
        self.deliver(index)
    }

    /// Decodes and sends one frame, unless a new command comes first.
    fn deliver(&mut self, index: FrameIndex) -> Result<(), Gone> {
        let side = self.side;
        let mut interrupted = || !side.commands.is_empty() || side.cancel.is_raised();
        match self.source.frame_unless(index, &mut interrupted) {
            Ok(Some(frame)) => {
                self.send(PlayerEvent::Frame { frame, generation: self.generation, exact: true })
            }
            Ok(None) => Ok(()),
            Err(error) => self.send(PlayerEvent::Failed(error.to_string())),
        }
    }

    /// Waits for room in the queue; gives up quietly when a new command makes the event void.
    fn send(&self, event: PlayerEvent) -> Result<(), Gone> {
        let mut answer = Answer { generation: self.generation, event };
        loop {
            match self.side.events.send_timeout(answer, REACTION) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Disconnected(_)) => return Err(Gone),
                Err(SendTimeoutError::Timeout(_)) if self.side.cancel.is_raised() => return Err(Gone),
                Err(SendTimeoutError::Timeout(_)) if !self.side.commands.is_empty() => return Ok(()),
                Err(SendTimeoutError::Timeout(unsent)) => answer = unsent,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam::channel::{Sender, bounded};

    use super::*;
    use crate::geometry::ImageSize;
    use crate::video::MemorySource;

    fn clip(frames: u8) -> Box<dyn FrameSource> {
        let frames = (0..frames).map(|value| Arc::from([value; 3])).collect();
        Box::new(MemorySource::new("clip", ImageSize::new(1, 1), 30.0, frames).unwrap())
    }

    fn player(frames: u8) -> VideoPlayer {
        let mut player = VideoPlayer::with_source(move || Ok(clip(frames))).unwrap();
        assert!(
            matches!(next(&mut player), PlayerEvent::Opened(info) if info.frame_count() == u32::from(frames))
        );
        player
    }

    /// Polls until there is an event; a decoder that hangs fails the test.
    fn next(player: &mut VideoPlayer) -> PlayerEvent {
        for _ in 0..5000 {
            if let Some(event) = player.poll() {
                return event;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no event within five seconds");
    }

    fn next_index(player: &mut VideoPlayer) -> (u32, u64, bool) {
        match next(player) {
            PlayerEvent::Frame { frame, generation, exact } => {
                assert_eq!(u32::from(frame.rgb[0]), frame.index.0);
                (frame.index.0, generation, exact)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn playing_delivers_every_frame_in_order_and_ends() {
        let mut player = player(20);
        let generation = player.play(FrameIndex(3), 1.0, false);
        for index in 3..20 {
            assert_eq!(next_index(&mut player), (index, generation, true));
        }
        assert_eq!(next(&mut player), PlayerEvent::EndOfVideo);
    }

    #[test]
    fn looping_starts_again_and_high_speed_leaves_frames_out() {
        let mut player = player(4);
        player.play(FrameIndex(2), 4.0, true);
        let got: Vec<u32> = (0..5).map(|_| next_index(&mut player).0).collect();
        assert_eq!(got, [2, 0, 2, 0, 2]);
    }

    #[test]
    fn a_newer_request_voids_frames_decoded_ahead() {
        let mut player = player(100);
        player.play(FrameIndex(0), 1.0, false);
        next_index(&mut player);
        for index in 20..60 {
            player.show(FrameIndex(index));
        }
        let last = player.show(FrameIndex(77));
        assert_eq!(next_index(&mut player), (77, last, true));
        player.play(FrameIndex(5), 1.0, false);
        assert_eq!(next_index(&mut player).0, 5);
        player.pause();
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(player.poll(), None);
    }

    #[test]
    fn failures_are_events() {
        let mut player = player(2);
        player.show(FrameIndex(9));
        assert_eq!(
            next(&mut player),
            PlayerEvent::Failed("frame 9 does not exist: clip has 2 frames".to_owned())
        );
        player.show(FrameIndex(1));
        assert_eq!(next_index(&mut player).0, 1);

        let mut missing = VideoPlayer::open("/nowhere/clip.mp4").unwrap();
        assert!(
            matches!(next(&mut missing), PlayerEvent::Failed(text) if text.contains("/nowhere/clip.mp4"))
        );
    }

    /// A source whose every frame takes as long as nobody interrupts it.
    struct Endless {
        clip: Box<dyn FrameSource>,
        _alive: Option<Sender<()>>,
    }

    impl FrameSource for Endless {
        fn info(&self) -> &VideoInfo {
            self.clip.info()
        }
        fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
            self.clip.frame(index)
        }
        fn frame_unless(
            &mut self,
            index: FrameIndex,
            interrupted: &mut dyn FnMut() -> bool,
        ) -> Result<Option<Frame>, VideoError> {
            if index.0 == 0 {
                return self.clip.frame(index).map(Some);
            }
            while !interrupted() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(None)
        }
        fn preview(&mut self, index: FrameIndex) -> Option<Frame> {
            (index.0 != 0).then(|| self.clip.frame(FrameIndex(index.0 - 1)).ok()).flatten()
        }
    }

    #[test]
    fn scrubbing_shows_a_stand_in_and_interrupts_slow_decoding() {
        let mut player =
            VideoPlayer::with_source(|| Ok(Box::new(Endless { clip: clip(9), _alive: None }))).unwrap();
        assert!(matches!(next(&mut player), PlayerEvent::Opened(_)));
        let first = player.show(FrameIndex(5));
        assert_eq!(next_index(&mut player), (4, first, false));
        let second = player.show(FrameIndex(0));
        assert_eq!(next_index(&mut player), (0, second, true));
    }

    #[test]
    fn dropping_the_player_ends_a_busy_thread() {
        let (alive, gone) = bounded(1);
        let mut player =
            VideoPlayer::with_source(move || Ok(Box::new(Endless { clip: clip(9), _alive: Some(alive) })))
                .unwrap();
        assert!(matches!(next(&mut player), PlayerEvent::Opened(_)));
        player.show(FrameIndex(3));
        drop(player);
        assert!(gone.recv_timeout(Duration::from_secs(5)).is_err());
    }
}
