//! The note in a folder of what was fetched into it: whether all is there, what a partial
//! file is part of, and what may be removed when the hub has something newer.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::listing::{PARTIAL, check_file_name};
use super::{HubError, RemoteFile, RepositoryName};

/// The name of the note.
pub(super) const MANIFEST_FILE: &str = "fetched.json";
/// Longest note that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// What was fetched into a folder, by repository: CUT3R's weights may lie beside others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) sources: Vec<Source>,
}

/// What was fetched from one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) repository: String,
    pub(super) endpoint: String,
    /// The commit, where the hub named it.
    pub(super) revision: String,
    pub(super) files: Vec<RemoteFile>,
}

impl Manifest {
    /// The note of a folder; `None` when nothing was fetched into it.
    ///
    /// # Errors
    /// When there is one and it cannot be used.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, HubError> {
        let path = folder.join(MANIFEST_FILE);
        let fail = |reason: String| HubError::Manifest { path: path.clone(), reason };
        match fs::metadata(&path) {
            Ok(data) if data.len() > LONGEST => return Err(fail("it is too long".to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error.to_string())),
        }
        let bytes = fs::read(&path).map_err(|error| fail(error.to_string()))?;
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
        // Files named here may be removed: nobody's hand may lead that elsewhere.
        for file in manifest.sources.iter().flat_map(|source| &source.files) {
            check_file_name(&file.name).map_err(&fail)?;
        }
        Ok(Some(manifest))
    }

    /// Writes the note; it changes all at once.
    pub(super) fn write(&self, folder: &Path) -> Result<(), HubError> {
        let (path, partial) = (folder.join(MANIFEST_FILE), folder.join(format!("{MANIFEST_FILE}{PARTIAL}")));
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| HubError::Manifest { path: path.clone(), reason: error.to_string() })?;
        fs::write(&partial, json + "\n").map_err(|error| HubError::file(&partial, &error))?;
        fs::rename(&partial, &path).map_err(|error| HubError::file(&path, &error))
    }

    /// What was fetched from a repository.
    pub(super) fn source(&self, repository: &RepositoryName) -> Option<&Source> {
        self.sources.iter().find(|source| source.repository == repository.to_string())
    }

    /// Puts what is fetched from a repository in the place of what was.
    pub(super) fn put(&mut self, source: Source) {
        self.sources.retain(|other| other.repository != source.repository);
        self.sources.push(source);
    }

    /// Files that are not there at their full length, and all.
    pub(super) fn missing(&self, folder: &Path) -> (usize, usize) {
        let files: Vec<&RemoteFile> = self.sources.iter().flat_map(|source| &source.files).collect();
        let there = |file: &&&RemoteFile| {
            fs::metadata(folder.join(&file.name)).is_ok_and(|data| data.is_file() && data.len() == file.size)
        };
        (files.len() - files.iter().filter(there).count(), files.len())
    }
}

impl Source {
    /// The file of that name.
    pub(super) fn file(&self, name: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Digest;

    fn manifest(name: &str) -> Manifest {
        let digest = Digest::git_blob(&"0".repeat(40)).unwrap();
        let files = vec![RemoteFile { name: name.to_owned(), size: 3, digest }];
        let source = Source {
            repository: "a/b".to_owned(),
            endpoint: "https://h".to_owned(),
            revision: "main".to_owned(),
            files,
        };
        Manifest { sources: vec![source] }
    }

    #[test]
    fn a_note_is_read_back_and_tells_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), None);
        let written = manifest("config.json");
        written.write(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), Some(written.clone()));
        assert_eq!(written.missing(folder.path()), (1, 1));
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert_eq!(written.missing(folder.path()), (1, 1));
        fs::write(folder.path().join("config.json"), "{ }").unwrap();
        assert_eq!(written.missing(folder.path()), (0, 1));
    }

    #[test]
    fn a_note_that_leads_elsewhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        manifest("../../config.json").write(folder.path()).unwrap();
        let message = Manifest::read(folder.path()).unwrap_err().to_string();
        assert!(message.contains("fetched.json") && message.contains("delete it"), "{message}");
        fs::write(folder.path().join(MANIFEST_FILE), "{").unwrap();
        assert!(Manifest::read(folder.path()).is_err());
    }
}
