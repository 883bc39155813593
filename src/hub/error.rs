//! What can go wrong between here and a hub; messages say what to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// What goes on after a stop of any kind.
macro_rules! goes_on {
    () => {
        "what came is kept: the same command goes on from there"
    };
}

/// A problem with a hub, a download or the folder of installed models.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not the name of a repository.
    #[error("{name:?} is not the name of a model on a hub: {reason}; names look like OWNER/NAME")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not the address of a hub.
    #[error("{address:?} is not the address of a hub: {reason}; addresses look like https://huggingface.co")]
    Endpoint {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A token that cannot be one. Never holds the token.
    #[error("the token in {place} cannot be used: {reason}")]
    Token {
        /// A variable or a file.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The hub was never reached.
    #[error(
        "cannot reach {host}: {reason}; check the network, or name a mirror with --endpoint URL or HF_ENDPOINT; a folder copied from another machine needs no network (--model FOLDER)"
    )]
    Unreachable {
        /// Scheme, host and port.
        host: String,
        /// The system's words.
        reason: String,
    },
    /// A connection broke; trying again may help.
    #[error("the connection to {host} broke: {reason}")]
    Broken {
        /// Scheme, host and port.
        host: String,
        /// What happened last.
        reason: String,
    },
    /// The server is too busy or has trouble of its own; trying again may help.
    #[error("{host} answers {status}{}", asked(.wait.as_ref()))]
    Busy {
        /// Scheme, host and port.
        host: String,
        /// The status.
        status: u16,
        /// How long it asks to wait.
        wait: Option<Duration>,
    },
    /// What may pass did not, often enough.
    #[error("{problem} ({failures} times, and nothing new came between); {}", goes_on!())]
    GaveUp {
        /// What happened last.
        problem: Box<Self>,
        /// Failures in a row.
        failures: u32,
    },
    /// No secure connection.
    #[error(
        "no secure connection to {host}: {reason}; behind a proxy with a certificate of its own, name it with SSL_CERT_FILE"
    )]
    Certificate {
        /// Scheme, host and port.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// Somebody must log in, or accept a licence.
    #[error("{page} refuses to serve its files ({status}): {advice}")]
    Refused {
        /// The page of the model.
        page: String,
        /// 401 or 403.
        status: u16,
        /// What to do.
        advice: String,
    },
    /// There is no such repository, revision or file.
    #[error("{host} has no {what} (404); check the spelling of OWNER/NAME and --revision")]
    NotFound {
        /// Scheme, host and port.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// Any other status.
    #[error("{host} answers {status} to a request for {what}{words}")]
    Status {
        /// Scheme, host and port.
        host: String,
        /// The status.
        status: u16,
        /// What was asked for.
        what: String,
        /// What the server says to it, with a colon before it.
        words: String,
    },
    /// A redirect that is not followed.
    #[error("{host} redirects {what}: {reason}")]
    Redirect {
        /// Scheme, host and port.
        host: String,
        /// What was asked for.
        what: String,
        /// Why not.
        reason: String,
    },
    /// The list of files cannot be used.
    #[error("the list of files of {repository} cannot be used: {reason}")]
    Listing {
        /// OWNER/NAME.
        repository: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing that loc3r reads.
    #[error(
        "{repository} has nothing that loc3r reads; it holds {held}; --include PATTERN fetches other files"
    )]
    NothingToFetch {
        /// OWNER/NAME.
        repository: String,
        /// Some of its files.
        held: String,
    },
    /// The server's file is longer or shorter than its list says.
    #[error(
        "{file} has {got} bytes on the server and {listed} in its list; run the command again, or take another endpoint"
    )]
    Length {
        /// The file.
        file: String,
        /// Bytes according to the list.
        listed: u64,
        /// Bytes according to the answer.
        got: u64,
    },
    /// What came is not what the list says.
    #[error(
        "{file} came with a wrong hash, it was damaged or changed on its way; nothing of it is kept: run the command again, or take another endpoint"
    )]
    Damaged {
        /// The file.
        file: String,
    },
    /// The disk has not the room.
    #[error(
        "{} has {} MB free and {} MB more are needed; make room, or take another disk with --into FOLDER",
        .folder.display(), .free / 1_000_000, .needed.div_ceil(1_000_000)
    )]
    Room {
        /// Where the files would go.
        folder: PathBuf,
        /// Bytes still to come.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The disk is full.
    #[error("the disk is full, {} cannot be written; make room: {}", .path.display(), goes_on!())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// A file that no fetch put there stands in the way.
    #[error(
        "{} is there already and is not the file of the model; move it away, or take another folder with --into FOLDER",
        .path.display()
    )]
    Occupied {
        /// The file.
        path: PathBuf,
    },
    /// Another process downloads the same file.
    #[error("{} is being written by another loc3r; wait for it", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The note of what was fetched cannot be read.
    #[error(
        "{} cannot be read: {reason}; delete it and fetch again, finished files are found by their hash",
        .path.display()
    )]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{} cannot be used: {reason}; check the disk and its permissions", .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// The caller asked to stop.
    #[error("stopped; {}", goes_on!())]
    Cancelled,
}

/// The wait that a busy server asks for, in words.
fn asked(wait: Option<&Duration>) -> String {
    wait.map_or_else(String::new, |wait| format!(" and asks to wait {} s", wait.as_secs()))
}

impl HubError {
    /// Whether the same request may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Busy { .. })
    }

    /// A problem with a file of this machine.
    pub(super) fn file(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned() }
            }
            _ => Self::File { path: path.to_owned(), reason: error.to_string() },
        }
    }
}
