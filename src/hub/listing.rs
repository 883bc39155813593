//! Names of repositories, and the list of files that a hub gives of one. The names in it
//! become names on this disk, so only plain ones are taken.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Digest, HubError};

/// Longest name of a repository's half, and of a file.
const LONGEST_NAME: usize = 96;
const LONGEST_FILE_NAME: usize = 240;
/// What a download in progress ends with.
pub(super) const PARTIAL: &str = ".partial";

/// OWNER/NAME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryName {
    owner: String,
    name: String,
}

impl RepositoryName {
    /// The half before the slash.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The half behind the slash.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for RepositoryName {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let fail = |reason: &str| HubError::Name { name: text.to_owned(), reason: reason.to_owned() };
        let (owner, name) = text.split_once('/').ok_or_else(|| fail("the owner is missing"))?;
        for half in [owner, name] {
            if half.is_empty() || half.len() > LONGEST_NAME {
                return Err(fail("owner and name have 1 to 96 characters"));
            }
            if !half.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
                return Err(fail("only letters, digits, - _ and . are possible"));
            }
            // Two hyphens part owner and name in the name of the folder.
            if half.contains("--")
                || half.contains("..")
                || half.starts_with(['-', '.'])
                || half.ends_with(['-', '.'])
            {
                return Err(fail("- and . stand alone, and neither first nor last"));
            }
        }
        Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
    }
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RemoteFile {
    /// Path inside the repository, parts divided by `/`.
    pub(super) name: String,
    /// Bytes.
    pub(super) size: u64,
    /// What the content hashes to.
    pub(super) digest: Digest,
}

/// The files of a repository at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    /// The commit where the hub names one: files are asked for by it, so that all are of one kind.
    pub(super) commit: Option<String>,
    /// Files by name, as the hub tells them.
    pub(super) entries: Vec<Entry>,
}

/// A file as the hub tells it; nothing of it is checked yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "rfilename")]
    pub(super) name: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct LargeFile {
    sha256: String,
    size: Option<u64>,
}

impl Listing {
    /// Reads the hub's answer to a question for a model.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Answer {
            sha: Option<String>,
            siblings: Vec<Entry>,
        }
        let answer: Answer = serde_json::from_slice(bytes)
            .map_err(|error| format!("it is not what a hub answers: {error}"))?;
        let commit = answer.sha.filter(|sha| Digest::git_blob(sha).is_some());
        Ok(Self { commit, entries: answer.siblings })
    }
}

impl Entry {
    /// The file, when its name can be used here, and size and hash are told.
    pub(super) fn checked(&self) -> Result<RemoteFile, String> {
        check_file_name(&self.name)?;
        let lfs = self.lfs.as_ref();
        let size = lfs
            .and_then(|lfs| lfs.size)
            .or(self.size)
            .ok_or_else(|| format!("it tells no size of {}", self.name))?;
        let digest = match (lfs, &self.blob) {
            (Some(lfs), _) => Digest::sha256(&lfs.sha256),
            (None, Some(blob)) => Digest::git_blob(blob),
            (None, None) => None,
        };
        let digest = digest
            .ok_or_else(|| format!("it tells no hash of {}, so that it cannot be checked", self.name))?;
        Ok(RemoteFile { name: self.name.clone(), size, digest })
    }
}

/// Refuses names that lead out of a folder, mean something to a system, or are ours.
pub(super) fn check_file_name(name: &str) -> Result<(), String> {
    let fail = |reason: &str| Err(format!("the file name {name:?} is refused: {reason}"));
    if name.is_empty() || name.len() > LONGEST_FILE_NAME {
        return fail("names have 1 to 240 characters");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.+=@,()[]~ ".contains(&byte);
    if !name.bytes().all(plain) {
        return fail("only letters, digits and -_.+=@,()[]~ are taken");
    }
    for part in name.split('/') {
        if part.is_empty() {
            return fail("it is absolute or has an empty part");
        }
        if part.starts_with(['.', ' ', '~']) || part.ends_with(['.', ' ']) {
            return fail("no part begins with . or ~, or ends with a . or blank");
        }
        let stem = part.split('.').next().unwrap_or(part).to_ascii_lowercase();
        let numbered = ["com", "lpt"].iter().any(|device| {
            stem.strip_prefix(device)
                .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_digit()))
        });
        if numbered || ["con", "prn", "aux", "nul"].contains(&stem.as_str()) {
            return fail("Windows has a device of that name");
        }
    }
    let lower = name.to_ascii_lowercase();
    if lower.ends_with(PARTIAL) || lower == super::manifest::MANIFEST_FILE {
        return fail("loc3r uses that name itself");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_have_an_owner_and_nothing_odd() {
        let name: RepositoryName = "lmms-lab/LLaVA-Video-7B-Qwen2".parse().unwrap();
        assert_eq!((name.owner(), name.name()), ("lmms-lab", "LLaVA-Video-7B-Qwen2"));
        for odd in ["", "gpt2", "a/", "/b", "a/b/c", "../b", "a/..", "a--b/c", "a/b c", "a/-b", "ä/b"] {
            assert!(odd.parse::<RepositoryName>().is_err(), "{odd}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for good in ["config.json", "model-00001-of-00004.safetensors", "a/b.txt", "a (1).txt"] {
            assert_eq!(check_file_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../config.json",
            "a/../b",
            "a//b",
            "a/",
            "C:\\x",
            "C:x",
            "a\\b",
            "~/x",
            ".bashrc",
            "a/.ssh",
            "a\nb",
            "a\u{1b}[1m",
            "nul",
            "Com1.txt",
            "x.",
            "x ",
            "config.json.partial",
            "Fetched.json",
            "é",
        ] {
            assert!(check_file_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_file_name(&"a".repeat(241)).is_err());
    }

    #[test]
    fn a_list_gives_size_and_hash_of_every_file() {
        let (sha256, blob) = ("ab".repeat(32), "cd".repeat(20));
        let json = format!(
            r#"{{"id": "a/b", "sha": "{blob}", "siblings": [
                {{"rfilename": "config.json", "size": 12, "blobId": "{blob}"}},
                {{"rfilename": "m.safetensors", "size": 9, "blobId": "{blob}",
                  "lfs": {{"sha256": "{sha256}", "size": 99, "pointerSize": 9}}}},
                {{"rfilename": "bare.json"}}, {{"rfilename": "odd.json", "size": 1, "blobId": "xyz"}}]}}"#
        );
        let listing = Listing::from_json(json.as_bytes()).unwrap();
        assert_eq!(listing.commit, Some(blob.clone()));
        let [small, large, bare, odd] = listing.entries.as_slice() else { panic!("{listing:?}") };
        assert_eq!(small.checked().unwrap().digest, Digest::GitBlob(blob));
        let large = large.checked().unwrap();
        assert_eq!((large.size, large.digest), (99, Digest::Sha256(sha256)));
        assert!(bare.checked().unwrap_err().contains("no size of bare.json"));
        assert!(odd.checked().unwrap_err().contains("no hash of odd.json"));
        assert!(Listing::from_json(b"<html>").is_err());
        assert!(Listing::from_json(b"{\"error\": \"no\"}").is_err());
    }
}
