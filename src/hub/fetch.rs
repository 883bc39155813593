//! The whole job: list, select, check what is there, make sure of the room, download.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::download::{Job, download, partial_path};
use super::free_space::free_space;
use super::manifest::{Manifest, Source};
use super::selection::{Patterns, select};
use super::{Client, HubError, Listing, RemoteFile, RepositoryName};
use crate::worker::CancelFlag;

/// What to fetch, and where to.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The repository.
    pub repository: RepositoryName,
    /// Branch, tag or commit.
    pub revision: String,
    /// The checkpoint folder that it becomes.
    pub folder: PathBuf,
    /// Patterns of files to fetch besides those that loc3r reads.
    pub include: Vec<String>,
    /// Patterns of files not to fetch.
    pub exclude: Vec<String>,
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum FetchEvent<'a> {
    /// What there is to fetch, before anything is downloaded.
    Listed {
        /// The commit, or the revision asked for where the hub names none.
        revision: &'a str,
        /// Number of files.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// A file that is there is checked.
    Checking {
        /// Its name.
        file: &'a str,
    },
    /// A file is downloaded.
    Downloading {
        /// Its name.
        file: &'a str,
    },
    /// Bytes of all files that are there by now.
    Progress {
        /// Bytes.
        done: u64,
    },
    /// Something failed and is tried again.
    Waiting {
        /// What failed.
        problem: &'a HubError,
        /// How long until the next try.
        wait: Duration,
    },
    /// What was there of a file was of another version; all of it is downloaded.
    StartedOver {
        /// Its name.
        file: &'a str,
    },
}

/// What a fetch left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Files of the selection, all checked.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were not there before.
    pub downloaded: usize,
}

/// Sums bytes up and tells of them.
pub(super) struct Meter<'a> {
    done: u64,
    observe: &'a mut dyn FnMut(FetchEvent<'_>),
}

impl Meter<'_> {
    pub(super) fn tell(&mut self, event: FetchEvent<'_>) {
        (self.observe)(event);
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        self.tell(FetchEvent::Progress { done: self.done });
    }

    pub(super) fn take_back(&mut self, bytes: u64) {
        self.done = self.done.saturating_sub(bytes);
        self.tell(FetchEvent::Progress { done: self.done });
    }
}

/// Fetches a repository into a folder, or what is missing there of it. Files get their names
/// only when they are complete and hash to what the hub lists.
///
/// # Errors
/// When the hub, the network or the disk fails; what came until then is kept.
pub fn fetch(
    client: &Client,
    request: &FetchRequest,
    cancel: &CancelFlag,
    observe: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<Fetched, HubError> {
    let FetchRequest { repository, folder, .. } = request;
    let mut meter = Meter { done: 0, observe };
    let listing = list(client, request, cancel, &mut meter)?;
    let patterns = Patterns { include: &request.include, exclude: &request.exclude };
    let files = select(repository, &listing, &patterns)?;
    let revision = listing.commit.as_deref().unwrap_or(&request.revision);
    let bytes = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    meter.tell(FetchEvent::Listed { revision, files: files.len(), bytes });
    let mut manifest = Manifest::read(folder)?.unwrap_or_default();
    let before = manifest.source(repository).cloned();
    let here = Here { folder, before: before.as_ref() };
    let missing = here.missing(&files, cancel, &mut meter)?;
    here.make_room(&missing)?;
    fs::create_dir_all(folder).map_err(|error| HubError::file(folder, &error))?;
    let mut noted = here.tidy(&files, &missing, &listing)?;
    noted.extend(files.iter().cloned());
    manifest.put(Source {
        repository: repository.to_string(),
        endpoint: client.endpoint().to_string(),
        revision: revision.to_owned(),
        files: noted,
    });
    manifest.write(folder)?;
    let job = Job { client, repository, revision, folder, cancel };
    for file in &missing {
        meter.tell(FetchEvent::Downloading { file: &file.name });
        download(&job, file, &mut meter)?;
    }
    Ok(Fetched { files: files.len(), bytes, downloaded: missing.len() })
}

fn list(
    client: &Client,
    request: &FetchRequest,
    cancel: &CancelFlag,
    meter: &mut Meter<'_>,
) -> Result<Listing, HubError> {
    let mut tries = client.tries(cancel);
    loop {
        match client.list(&request.repository, &request.revision) {
            Ok(listing) => return Ok(listing),
            Err(failure) => tries.after(failure, &mut |failure, wait| {
                meter.tell(FetchEvent::Waiting { problem: failure, wait });
            })?,
        }
    }
}

/// A folder with what an earlier fetch of the same repository put there.
struct Here<'a> {
    folder: &'a Path,
    before: Option<&'a Source>,
}

impl Here<'_> {
    /// The files that are not there as they must be.
    fn missing<'f>(
        &self,
        files: &'f [RemoteFile],
        cancel: &CancelFlag,
        meter: &mut Meter<'_>,
    ) -> Result<Vec<&'f RemoteFile>, HubError> {
        let mut missing = Vec::new();
        for file in files {
            let path = self.folder.join(&file.name);
            let there = path.symlink_metadata().is_ok();
            if there && is_right(&path, file, cancel, meter)? {
                continue;
            }
            if there && self.noted(&file.name).is_none() {
                return Err(HubError::Occupied { path });
            }
            missing.push(file);
        }
        Ok(missing)
    }

    fn noted(&self, name: &str) -> Option<&RemoteFile> {
        self.before.and_then(|source| source.file(name))
    }

    /// Refuses files for which the disk has not the room.
    fn make_room(&self, missing: &[&RemoteFile]) -> Result<(), HubError> {
        let needed = missing
            .iter()
            .map(|file| {
                let goes_on = self.noted(&file.name) == Some(*file);
                let there = fs::metadata(partial_path(self.folder, file)).map_or(0, |data| data.len());
                file.size.saturating_sub(if goes_on { there } else { 0 })
            })
            .fold(0, u64::saturating_add);
        match free_space(self.folder) {
            Some(free) if free < needed => {
                Err(HubError::Room { folder: self.folder.to_owned(), needed, free })
            }
            _ => Ok(()),
        }
    }

    /// Removes what an earlier fetch left of other versions: a stale index or part must not
    /// be taken for the new one. Gives the files of it that stay beside the new ones.
    fn tidy(
        &self,
        files: &[RemoteFile],
        missing: &[&RemoteFile],
        listing: &Listing,
    ) -> Result<Vec<RemoteFile>, HubError> {
        for file in missing.iter().filter(|file| self.noted(&file.name) != Some(**file)) {
            remove(&partial_path(self.folder, file))?;
            remove(&self.folder.join(&file.name))?;
        }
        let mut kept = Vec::new();
        let before = self.before.map_or(&[][..], |source| &source.files);
        for file in before.iter().filter(|file| !files.iter().any(|new| new.name == file.name)) {
            let path = self.folder.join(&file.name);
            remove(&partial_path(self.folder, file))?;
            let is_current = listing.entries.iter().any(|entry| entry.checked().as_ref() == Ok(file));
            if is_current && path.is_file() {
                kept.push(file.clone());
            } else {
                remove(&path)?;
            }
        }
        Ok(kept)
    }
}

/// Whether a file on the disk is what the hub lists.
fn is_right(
    path: &Path,
    file: &RemoteFile,
    cancel: &CancelFlag,
    meter: &mut Meter<'_>,
) -> Result<bool, HubError> {
    let fail = |error: &std::io::Error| HubError::file(path, error);
    let data = fs::metadata(path).map_err(|error| fail(&error))?;
    if !data.is_file() || data.len() != file.size {
        return Ok(false);
    }
    meter.tell(FetchEvent::Checking { file: &file.name });
    let mut source = fs::File::open(path).map_err(|error| fail(&error))?;
    let mut hasher = file.digest.hasher(file.size);
    let read = hasher.update_from(&mut source, cancel, &fail, &mut |count| meter.add(count))?;
    let is_right = file.digest.is(hasher);
    if !is_right {
        meter.take_back(read);
    }
    Ok(is_right)
}

fn remove(path: &Path) -> Result<(), HubError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(HubError::file(path, &error)),
        _ => Ok(()),
    }
}
