//! GGUF files (version 2 and 3): one file of metadata and tensors, quantised or not.
//!
//! candle reads headers, too, but keeps every array of the metadata in memory, divides by an
//! alignment that may be 0, multiplies shapes without a check and names no tensor in most
//! errors. So headers are read here and checked against the length of the file, and candle
//! only sees the bytes of blocks whose number is right. Writing is done here as well: candle's
//! writer wants all tensors in memory at once.

mod header;
pub(super) mod names;
mod writer;

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use header::Header;
pub(super) use header::{ARCHITECTURE, Stored, Value};
pub(super) use writer::{Written, write_header, write_tensor};

/// File name ending.
pub(super) const ENDING: &str = "gguf";
/// Every tensor begins at a multiple of this many bytes, unless the file says otherwise.
const ALIGNMENT: u64 = 32;
/// Dimensions of a tensor.
const MOST_DIMENSIONS: u32 = 4;
/// First bytes.
const MAGIC: [u8; 4] = *b"GGUF";

/// Whether a path is that of a GGUF file, by its ending.
pub(super) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(ENDING)) && !path.is_dir()
}

/// An opened file.
pub(super) struct GgufFile {
    file: Mutex<File>,
    header: Header,
}

impl GgufFile {
    /// Opens a file and reads what it holds; no tensor is read.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let mut reader = BufReader::new(file);
        let header = Header::read(&mut reader, length)?;
        Ok(Self { file: Mutex::new(reader.into_inner()), header })
    }

    /// What is known of the tensors, in the order of their names.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.header.tensors.iter().map(|(name, stored)| (name.as_str(), stored))
    }

    /// A tensor by name.
    pub(super) fn tensor(&self, name: &str) -> Option<&Stored> {
        self.header.tensors.get(name)
    }

    /// A value of the metadata that this program knows.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.header.values.get(key)
    }

    /// A text of the metadata that this program knows.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The bytes of a tensor.
    ///
    /// # Errors
    /// One sentence that names the tensor.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let stored = self.tensor(name).ok_or_else(|| format!("{name} is not there"))?;
        let mut bytes = vec![0; stored.bytes];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(stored.start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| format!("{name} cannot be read: {error}"))?;
        Ok(bytes)
    }
}
