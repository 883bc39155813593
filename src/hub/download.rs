//! One file: from the hub to `NAME.partial`, checked, then to its name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use ureq::http::StatusCode;

use super::client::{FileAnswer, Rest};
use super::digest::Hasher;
use super::fetch::{FetchEvent, Meter};
use super::listing::PARTIAL;
use super::{Client, HubError, RemoteFile, RepositoryName};
use crate::worker::CancelFlag;

/// Bytes taken from a connection at once.
const BLOCK: usize = 256 << 10;

/// Where files come from and go to.
pub(super) struct Job<'a> {
    pub(super) client: &'a Client,
    pub(super) repository: &'a RepositoryName,
    /// The commit, where the hub named it.
    pub(super) revision: &'a str,
    pub(super) folder: &'a Path,
    pub(super) cancel: &'a CancelFlag,
}

/// Where a file lies until it is complete and checked.
pub(super) fn partial_path(folder: &Path, file: &RemoteFile) -> PathBuf {
    folder.join(format!("{}{PARTIAL}", file.name))
}

/// Downloads a file; goes on with what is there of it.
///
/// # Errors
/// When the hub gives up, the file cannot be written, or does not hash to what the hub lists.
pub(super) fn download(job: &Job<'_>, file: &RemoteFile, meter: &mut Meter<'_>) -> Result<(), HubError> {
    let mut part = Partial::open(job, file, meter)?;
    let mut tries = job.client.tries(job.cancel);
    let (mut furthest, mut started_over) = (part.len, false);
    loop {
        match part.take_rest(job, meter) {
            Ok(()) if part.is_right() => return part.finish(&job.folder.join(&file.name)),
            // What an earlier answer left may be of another version of the file.
            Ok(()) if part.joined && !started_over => {
                meter.tell(FetchEvent::StartedOver { file: &file.name });
                part.empty(meter)?;
                (furthest, started_over) = (0, true);
            }
            Ok(()) => {
                part.empty(meter)?;
                fs::remove_file(&part.path).map_err(|error| HubError::file(&part.path, &error))?;
                return Err(HubError::Damaged { file: file.name.clone() });
            }
            Err(failure) => {
                if part.len > furthest {
                    furthest = part.len;
                    tries.progressed();
                }
                tries.after(failure, &mut |failure, wait| {
                    meter.tell(FetchEvent::Waiting { problem: failure, wait });
                })?;
            }
        }
    }
}

/// What is there of a file.
struct Partial<'a> {
    file: &'a RemoteFile,
    path: PathBuf,
    out: File,
    hasher: Hasher,
    len: u64,
    /// Whether its bytes come from more than one answer.
    joined: bool,
    /// The tag of the answer they come from.
    tag: Option<String>,
}

impl<'a> Partial<'a> {
    /// Opens the partial file, new or as an earlier run left it, for this process alone.
    fn open(job: &Job<'_>, file: &'a RemoteFile, meter: &mut Meter<'_>) -> Result<Self, HubError> {
        let path = partial_path(job.folder, file);
        let fail = |error: &std::io::Error| HubError::file(&path, error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| HubError::file(parent, &error))?;
        }
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut out = opened.map_err(|error| fail(&error))?;
        match out.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HubError::InUse { path }),
            // Some network disks have no locks.
            Err(TryLockError::Error(error)) => tracing::warn!("{} cannot be locked: {error}", path.display()),
        }
        if out.metadata().map_err(|error| fail(&error))?.len() > file.size {
            out.set_len(0).map_err(|error| fail(&error))?;
        }
        let mut hasher = file.digest.hasher(file.size);
        let len = hasher.update_from(&mut out, job.cancel, &fail, &mut |count| meter.add(count))?;
        Ok(Self { file, path, out, hasher, len, joined: len > 0, tag: None })
    }

    /// Asks once for what is missing.
    fn take_rest(&mut self, job: &Job<'_>, meter: &mut Meter<'_>) -> Result<(), HubError> {
        if self.len == self.file.size {
            return Ok(());
        }
        let rest = (self.len > 0).then_some(Rest { start: self.len, tag: self.tag.as_deref() });
        let answer = job.client.open(job.repository, job.revision, self.file, rest)?;
        self.fit(&answer, meter)?;
        if let Some(length) = answer.length()
            && self.len.saturating_add(length) != self.file.size
        {
            return Err(self.wrong_length(self.len.saturating_add(length)));
        }
        self.tag = answer.tag();
        self.copy(answer, job.cancel, meter)
    }

    /// Makes sure that an answer goes on where the file ends, or begins at its begin.
    fn fit(&mut self, answer: &FileAnswer, meter: &mut Meter<'_>) -> Result<(), HubError> {
        let start_over =
            |reason: &str| HubError::Broken { host: answer.host.clone(), reason: reason.to_owned() };
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (start, whole) = answer.range().unwrap_or((u64::MAX, None));
                if let Some(whole) = whole.filter(|&whole| whole != self.file.size) {
                    return Err(self.wrong_length(whole));
                }
                if start != self.len {
                    self.empty(meter)?;
                    return Err(start_over("it sends another part than it was asked for"));
                }
                if let (Some(before), Some(now)) = (&self.tag, answer.tag())
                    && *before != now
                {
                    self.empty(meter)?;
                    return Err(start_over("the file changed there"));
                }
                self.joined |= self.len > 0;
                Ok(())
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.empty(meter)?;
                Err(start_over("it does not have the rest of the file"))
            }
            // The whole file: the server cannot do parts, or has another version now.
            _ if self.len > 0 => self.empty(meter),
            _ => Ok(()),
        }
    }

    fn copy(
        &mut self,
        answer: FileAnswer,
        cancel: &CancelFlag,
        meter: &mut Meter<'_>,
    ) -> Result<(), HubError> {
        let host = answer.host.clone();
        let broken = |reason: String| HubError::Broken { host: host.clone(), reason };
        let mut reader = answer.reader();
        let mut block = vec![0; BLOCK];
        loop {
            if cancel.is_raised() {
                return Err(HubError::Cancelled);
            }
            let count = reader.read(&mut block).map_err(|error| broken(error.to_string()))?;
            let bytes = block.get(..count).unwrap_or_default();
            let len = self.len + bytes.len() as u64;
            if len > self.file.size {
                return Err(self.wrong_length(len));
            }
            if bytes.is_empty() {
                break;
            }
            self.out.write_all(bytes).map_err(|error| HubError::file(&self.path, &error))?;
            self.hasher.update(bytes);
            self.len = len;
            meter.add(bytes.len() as u64);
        }
        if self.len < self.file.size { Err(broken("it ended early".to_owned())) } else { Ok(()) }
    }

    /// Forgets what is there.
    fn empty(&mut self, meter: &mut Meter<'_>) -> Result<(), HubError> {
        let emptied = self.out.set_len(0).and_then(|()| self.out.rewind());
        emptied.map_err(|error| HubError::file(&self.path, &error))?;
        meter.take_back(self.len);
        self.hasher = self.file.digest.hasher(self.file.size);
        (self.len, self.joined, self.tag) = (0, false, None);
        Ok(())
    }

    fn is_right(&self) -> bool {
        self.file.digest.is(self.hasher.clone())
    }

    /// Gives the complete file its name, once it is safely on the disk.
    fn finish(self, path: &Path) -> Result<(), HubError> {
        self.out.sync_all().map_err(|error| HubError::file(&self.path, &error))?;
        drop(self.out);
        fs::rename(&self.path, path).map_err(|error| HubError::file(path, &error))
    }

    fn wrong_length(&self, got: u64) -> HubError {
        HubError::Length { file: self.file.name.clone(), listed: self.file.size, got }
    }
}
