//! The hashes that a hub lists: SHA-256 of large files, git's object name of small ones.

use std::io::Read;

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::HubError;
use crate::worker::CancelFlag;

/// Bytes read from a disk at once.
const BLOCK: usize = 1 << 20;

/// What a file must hash to, in lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Digest {
    /// SHA-256 of the content.
    Sha256(String),
    /// SHA-1 of the content as a git blob.
    GitBlob(String),
}

impl Digest {
    /// Reads a SHA-256; `None` when it is none.
    pub(super) fn sha256(text: &str) -> Option<Self> {
        is_hex(text, 64).then(|| Self::Sha256(text.to_ascii_lowercase()))
    }

    /// Reads the name of a git blob; `None` when it is none.
    pub(super) fn git_blob(text: &str) -> Option<Self> {
        is_hex(text, 40).then(|| Self::GitBlob(text.to_ascii_lowercase()))
    }

    /// Starts hashing a file of `size` bytes.
    pub(super) fn hasher(&self, size: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::GitBlob(_) => Hasher::GitBlob(Sha1::new_with_prefix(format!("blob {size}\0").as_bytes())),
        }
    }

    /// Whether a finished hash is this one.
    pub(super) fn is(&self, hasher: Hasher) -> bool {
        match (self, hasher) {
            (Self::Sha256(wanted), Hasher::Sha256(hasher)) => *wanted == hex(&hasher.finalize()),
            (Self::GitBlob(wanted), Hasher::GitBlob(hasher)) => *wanted == hex(&hasher.finalize()),
            _ => false,
        }
    }
}

/// A hash in the making.
#[derive(Clone)]
pub(super) enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    /// Takes all that `source` holds; `seen` hears of every block's length. Gives the sum.
    ///
    /// # Errors
    /// When reading fails (`fail` makes the error) or the caller asked to stop.
    pub(super) fn update_from(
        &mut self,
        source: &mut dyn Read,
        cancel: &CancelFlag,
        fail: &dyn Fn(&std::io::Error) -> HubError,
        seen: &mut dyn FnMut(u64),
    ) -> Result<u64, HubError> {
        let mut block = vec![0; BLOCK];
        let mut sum = 0;
        loop {
            if cancel.is_raised() {
                return Err(HubError::Cancelled);
            }
            let count = source.read(&mut block).map_err(|error| fail(&error))?;
            let Some(bytes) = block.get(..count).filter(|bytes| !bytes.is_empty()) else { return Ok(sum) };
            self.update(bytes);
            sum += count as u64;
            seen(count as u64);
        }
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'hello\n' | sha256sum`, and `| git hash-object --stdin`.
    const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    const GIT_BLOB: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

    #[test]
    fn both_kinds_agree_with_their_tools() {
        for digest in [Digest::sha256(SHA256).unwrap(), Digest::git_blob(GIT_BLOB).unwrap()] {
            let mut hasher = digest.hasher(6);
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            assert!(digest.is(hasher), "{digest:?}");
            let mut hasher = digest.hasher(6);
            hasher.update(b"Hello\n");
            assert!(!digest.is(hasher), "{digest:?}");
        }
    }

    #[test]
    fn only_hexadecimal_digits_of_the_right_number_are_hashes() {
        assert!(Digest::sha256(&SHA256.to_uppercase()) == Digest::sha256(SHA256));
        assert_eq!(Digest::sha256(GIT_BLOB), None);
        assert_eq!(Digest::git_blob(&SHA256[..39]), None);
        assert_eq!(Digest::git_blob(&GIT_BLOB.replace('c', "g")), None);
    }
}
