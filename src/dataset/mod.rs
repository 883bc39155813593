//! Importers of public data sets.

mod real_rooms;
mod sqa3d;

use std::path::PathBuf;

pub use real_rooms::{RealObject, RealRoom, RealSituation, read_real_rooms};
pub use sqa3d::{ScanPose, Skipped, Sqa3dImport, Sqa3dSample, read_sqa3d};

/// What can go wrong with a data set; messages name the file and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}; check the path and its permissions")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// A file has another format.
    #[error(
        "{path} is not in the official SQA3D format: {reason}; download it again from Zenodo record 7792397"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        reason: String,
    },
    /// A file of rooms has another format.
    #[error(
        "{path} does not hold rooms as boxes with situations: {reason}; give a JSON object of rooms, each with `objects` and `situations`"
    )]
    Rooms {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        reason: String,
    },
    /// No question could be used.
    #[error(
        "{path} and its annotations have no usable question ({skipped} skipped, the first: {reason}); both files must be of one split"
    )]
    NothingUsable {
        /// The file with the questions.
        path: PathBuf,
        /// How many questions were skipped.
        skipped: usize,
        /// Why the first one was.
        reason: String,
    },
}
