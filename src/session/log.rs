//! The session log: every event as one line of JSON, so that a conversation can be
//! looked at again without a model (`loc3r view --replay LOG`).
//!
//! The file starts with a header line; each event is written as one whole line, so
//! a crash costs at most the last one, which reading forgives.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::SessionEvent;

/// Version of the file format.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    loc3r_session: u32,
}

/// An event with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// Seconds since the start of the log.
    pub at_secs: f64,
    /// The event.
    pub event: SessionEvent,
}

/// Why a log cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Creating or appending failed.
    #[error(
        "cannot write the session log {path}: {reason}; the session goes on without it, free some space or choose another place"
    )]
    Write {
        /// The log.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// Opening or reading failed.
    #[error("cannot read the session log {path}: {reason}; check the path and its permissions")]
    Read {
        /// The log.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// The file is something else.
    #[error(
        "{path} is not a session log of this program (line {line}: {reason}); pass a .jsonl file written by a session"
    )]
    NotALog {
        /// The file.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// What was found.
        reason: String,
    },
}

/// Writes a session as it happens.
#[derive(Debug)]
pub struct SessionLog {
    path: PathBuf,
    file: Option<File>,
    started: Instant,
}

impl SessionLog {
    /// Creates (or replaces) the log at `path`.
    ///
    /// # Errors
    /// [`LogError::Write`] when the file cannot be created or the header not written.
    pub fn create(path: &Path) -> Result<Self, LogError> {
        let failed =
            |error: std::io::Error| LogError::Write { path: path.to_owned(), reason: error.to_string() };
        let file = File::create(path).map_err(failed)?;
        let mut log = Self { path: path.to_owned(), file: Some(file), started: Instant::now() };
        log.write_line(&Header { loc3r_session: VERSION })?;
        Ok(log)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one event, unless it is provisional. After a failure, told once, the log is
    /// closed and later events are not kept.
    ///
    /// # Errors
    /// [`LogError::Write`] when the disk is full or gone.
    pub fn append(&mut self, event: &SessionEvent) -> Result<(), LogError> {
        #[derive(Serialize)]
        struct Line<'a> {
            at_secs: f64,
            event: &'a SessionEvent,
        }
        if event.is_provisional() {
            return Ok(());
        }
        self.write_line(&Line { at_secs: self.started.elapsed().as_secs_f64(), event })
    }

    fn write_line(&mut self, line: &impl Serialize) -> Result<(), LogError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = serde_json::to_vec(line).map_err(std::io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            file.write_all(&bytes)
        });
        written.map_err(|error| {
            self.file = None;
            LogError::Write { path: self.path.clone(), reason: error.to_string() }
        })
    }

    /// Reads a whole log.
    ///
    /// # Errors
    /// [`LogError`] when it cannot be read or is something else; a damaged last
    /// line is forgiven and noted in [`Replay::truncated`].
    pub fn replay(path: &Path) -> Result<Replay, LogError> {
        let unreadable =
            |error: std::io::Error| LogError::Read { path: path.to_owned(), reason: error.to_string() };
        let not_a_log =
            |line: usize, reason: String| LogError::NotALog { path: path.to_owned(), line, reason };
        let mut lines = BufReader::new(File::open(path).map_err(unreadable)?).split(b'\n').enumerate();
        let (_, first) = lines.next().ok_or_else(|| not_a_log(1, "the file is empty".to_owned()))?;
        let header: Header = serde_json::from_slice(&first.map_err(unreadable)?)
            .map_err(|error| not_a_log(1, error.to_string()))?;
        if header.loc3r_session != VERSION {
            return Err(not_a_log(
                1,
                format!("version {}, this program reads {VERSION}", header.loc3r_session),
            ));
        }
        let mut replay = Replay::default();
        let mut lines = lines.peekable();
        while let Some((number, line)) = lines.next() {
            match serde_json::from_slice(&line.map_err(unreadable)?) {
                Ok(event) => replay.events.push(event),
                Err(_) if lines.peek().is_none() => replay.truncated = true,
                Err(error) => return Err(not_a_log(number + 1, error.to_string())),
            }
        }
        Ok(replay)
    }
}

/// A log that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replay {
    /// Events in order.
    pub events: Vec<LoggedEvent>,
    /// The last line was incomplete and left out.
    pub truncated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{RequestId, Stage};

    fn events() -> Vec<SessionEvent> {
        let request = RequestId(7);
        vec![
            SessionEvent::Started { request, question: None },
            SessionEvent::Progress { request, stage: Stage::Vision, done: 1, total: 2 },
            SessionEvent::AnswerPiece { request, piece: "zwölf\n\"x\"".to_owned() },
            SessionEvent::Cancelled { request },
        ]
    }

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("session.jsonl");
        let mut log = SessionLog::create(&path).unwrap();
        for event in events() {
            log.append(&event).unwrap();
        }
        path
    }

    #[test]
    fn what_was_written_is_replayed() {
        let folder = tempfile::tempdir().unwrap();
        let replay = SessionLog::replay(&written(folder.path())).unwrap();
        assert!(!replay.truncated);
        assert_eq!(replay.events.into_iter().map(|line| line.event).collect::<Vec<_>>(), events());
    }

    #[test]
    fn a_torn_last_line_is_forgiven_and_noted() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        let replay = SessionLog::replay(&path).unwrap();
        assert!(replay.truncated);
        assert_eq!(replay.events.len(), events().len() - 1);
    }

    #[test]
    fn other_files_are_refused_with_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.jsonl");
        for (content, expected) in [
            ("", "empty"),
            ("hello\n", "line 1"),
            ("{\"loc3r_session\":99}\n", "version 99"),
            ("{\"loc3r_session\":1}\n[]\n[]\n", "line 2"),
        ] {
            std::fs::write(&path, content).unwrap();
            let message = SessionLog::replay(&path).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("other.jsonl"), "{message}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_once() {
        let full = Path::new("/dev/full");
        let message = SessionLog::create(full).unwrap_err().to_string();
        assert!(message.contains("/dev/full"), "{message}");
        let mut log = SessionLog {
            path: full.to_owned(),
            file: Some(File::create(full).unwrap()),
            started: Instant::now(),
        };
        assert!(log.append(&events()[0]).is_err());
        assert!(log.append(&events()[0]).is_ok());
    }
}
