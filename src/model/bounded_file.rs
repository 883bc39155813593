//! Whole small files of a checkpoint. Somebody else made them: one may be far larger than any
//! honest one, and a link may lead to a device that never ends.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Bytes of a `config.json`; published ones have a few thousand. As values in memory JSON
/// takes up to a hundred times as much.
pub(super) const LARGEST_CONFIG: u64 = 1 << 20;
/// Bytes of an index; that of ten thousand tensors has about a million.
pub(super) const LARGEST_INDEX: u64 = 4 << 20;
/// Bytes of a `tokenizer.json`; those of the largest vocabularies have about 35 million.
pub(super) const LARGEST_TOKENIZER: u64 = 64 << 20;

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// One sentence: it is larger, or the system's words.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    check(bytes.len(), most)?;
    Ok(bytes)
}

/// [`read`] of a text.
///
/// # Errors
/// The same, or that it is no UTF-8.
pub(super) fn read_text(path: &Path, most: u64) -> Result<String, String> {
    String::from_utf8(read(path, most)?).map_err(|error| error.to_string())
}

/// Refuses a content of more than `most` bytes.
///
/// # Errors
/// One sentence.
pub(super) fn check(bytes: usize, most: u64) -> Result<(), String> {
    if bytes as u64 > most {
        return Err(format!(
            "it has more than {most} bytes, which no file of its kind needs; download it again"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"12345").unwrap();
        assert_eq!(read(file.path(), 5).unwrap(), b"12345");
        assert!(read(file.path(), 4).unwrap_err().contains("more than 4 bytes"));
        assert!(read(&file.path().join("none"), 4).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_device_without_end_is_refused() {
        assert!(read(Path::new("/dev/zero"), 1000).unwrap_err().contains("more than 1000 bytes"));
    }
}
