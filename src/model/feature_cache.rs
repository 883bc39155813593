//! What models saw of videos, kept on disk: a video that was read once needs neither
//! decoding nor vision tower nor camera encoder again.
//!
//! An entry is found by the content of the video, the frames taken from it, the weights
//! and the type of numbers, so that it gives exactly what would be computed anew. The
//! entries used longest ago go first when the limit is reached.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use candle_core::Device;
use sha2::{Digest as _, Sha256};

use super::perception::{Perception, PerceptionFacts, facts_of, stored_bytes};

/// Ending of the entries' names.
const ENDING: &str = "seen";
/// Weight files up to this size are read as a whole for their fingerprint, bytes.
const READ_WHOLE: u64 = 256 << 20;
/// Larger ones in so many pieces of a mebibyte, spread evenly.
const PIECES: u64 = 256;
const PIECE: u64 = 1 << 20;
/// Longest header of an entry, bytes.
const LONGEST_HEADER: u64 = 1 << 20;

/// A folder of entries with a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureCache {
    /// Where the entries are; made when the first one is stored.
    pub folder: PathBuf,
    /// Bytes of all entries together.
    pub limit: u64,
}

/// One stored video.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheEntry {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was stored or used last.
    pub used: SystemTime,
    /// What it says of itself; `None` for a damaged file or one of another version.
    pub facts: Option<PerceptionFacts>,
}

/// Identity of what a model sees in a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheKey(String);

impl CacheKey {
    /// The key of a video (a file, or a folder of images) looked at by the model with
    /// `fingerprint` in the way that `manner` describes.
    ///
    /// # Errors
    /// When the video cannot be read.
    pub fn new(video: &Path, fingerprint: &str, manner: &str) -> std::io::Result<Self> {
        let mut hasher = Sha256::new();
        for part in [fingerprint, manner] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        if video.is_dir() {
            let entries = std::fs::read_dir(video)?.collect::<std::io::Result<Vec<_>>>()?;
            let mut files: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
            files.retain(|path| path.is_file());
            files.sort();
            for file in files {
                hasher.update(file.file_name().unwrap_or_default().as_encoded_bytes());
                hash_file(&mut hasher, &file)?;
            }
        } else {
            hash_file(&mut hasher, video)?;
        }
        Ok(Self(in_hex(hasher)))
    }
}

impl FeatureCache {
    /// What is stored under `key`, on `device`; it counts as used now. A damaged entry is
    /// removed and said to be so.
    pub fn find(&self, key: &CacheKey, device: &Device) -> Option<Perception> {
        let path = self.path(key);
        if !path.is_file() {
            return None;
        }
        match Perception::load(&path, device) {
            Ok(perception) => {
                let touched = File::options().append(true).open(&path);
                if let Err(error) = touched.and_then(|file| file.set_modified(SystemTime::now())) {
                    tracing::warn!("{} cannot be marked as used: {error}", path.display());
                }
                Some(perception)
            }
            Err(reason) => {
                tracing::warn!("{} is damaged ({reason}); the video is read anew", path.display());
                drop(std::fs::remove_file(&path));
                None
            }
        }
    }

    /// Stores `perception`; entries used longest ago make room. One that is larger than
    /// the limit is not stored.
    ///
    /// # Errors
    /// When the folder or the file cannot be written; the message says which.
    pub fn store(
        &self,
        key: &CacheKey,
        perception: &Perception,
        video: &str,
        model: &str,
    ) -> Result<(), String> {
        let needed = stored_bytes(perception) as u64;
        if needed > self.limit {
            return Ok(());
        }
        let fail = |reason: String| {
            format!("{} cannot be written: {reason}; check the disk, or --no-cache", self.folder.display())
        };
        std::fs::create_dir_all(&self.folder).map_err(|error| fail(error.to_string()))?;
        self.trim(self.limit - needed);
        let path = self.path(key);
        let partial = path.with_extension(format!("partial-{}", std::process::id()));
        let written = perception
            .save(&partial, video, model)
            .and_then(|()| std::fs::rename(&partial, &path).map_err(|error| error.to_string()));
        written.map_err(|reason| {
            drop(std::fs::remove_file(&partial));
            fail(reason)
        })
    }

    /// All entries, the one used last first; none where there is no folder yet.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn entries(&self) -> std::io::Result<Vec<CacheEntry>> {
        let listing = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut entries = Vec::new();
        for found in listing {
            let path = found?.path();
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            let Ok(meta) = path.metadata() else { continue };
            let facts = header_of(&path).ok().and_then(|header| facts_of(&header).ok());
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            entries.push(CacheEntry { path, bytes: meta.len(), used, facts });
        }
        entries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.path.cmp(&b.path)));
        Ok(entries)
    }

    /// Removes all entries; gives how many and their bytes.
    ///
    /// # Errors
    /// When an entry cannot be removed.
    pub fn clear(&self) -> std::io::Result<(usize, u64)> {
        let entries = self.entries()?;
        for entry in &entries {
            std::fs::remove_file(&entry.path)?;
        }
        Ok((entries.len(), entries.iter().map(|entry| entry.bytes).sum()))
    }

    /// Removes the entries used longest ago until the rest fits `limit`.
    fn trim(&self, limit: u64) {
        let mut sum = 0;
        for entry in self.entries().unwrap_or_default() {
            sum += entry.bytes;
            if sum > limit
                && let Err(error) = std::fs::remove_file(&entry.path)
            {
                tracing::warn!("{} cannot be removed: {error}", entry.path.display());
            }
        }
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        self.folder.join(format!("{}.{ENDING}", key.0))
    }
}

/// A fingerprint of weight files and their configuration. Files beyond 256 MiB are read in
/// pieces: training moves every weight.
///
/// # Errors
/// When a file cannot be read.
pub fn fingerprint(files: &[PathBuf]) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    for path in files {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        hasher.update(length.to_le_bytes());
        if length <= READ_WHOLE {
            std::io::copy(&mut file, &mut hasher)?;
            continue;
        }
        for piece in 0..PIECES {
            file.seek(SeekFrom::Start((length - PIECE) * piece / (PIECES - 1)))?;
            std::io::copy(&mut (&file).take(PIECE), &mut hasher)?;
        }
    }
    Ok(in_hex(hasher))
}

fn hash_file(hasher: &mut Sha256, path: &Path) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    hasher.update(file.metadata()?.len().to_le_bytes());
    std::io::copy(&mut file, hasher).map(|_| ())
}

fn in_hex(hasher: Sha256) -> String {
    format!("{:x}", hasher.finalize())
}

/// The header of a safetensors file.
fn header_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let mut header = length.to_vec();
    file.take(u64::from_le_bytes(length).min(LONGEST_HEADER)).read_to_end(&mut header)?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::super::perception::sample;
    use super::*;

    fn cache(folder: &Path, limit: u64) -> FeatureCache {
        FeatureCache { folder: folder.join("cache"), limit }
    }

    fn key(name: &str) -> CacheKey {
        CacheKey(name.to_owned())
    }

    #[test]
    fn keys_follow_content_weights_and_manner() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.mp4"), folder.path().join("b.mp4"));
        std::fs::write(&a, "pictures").unwrap();
        std::fs::write(&b, "pictures").unwrap();
        let of = |path: &Path, model: &str, manner: &str| CacheKey::new(path, model, manner).unwrap();
        let first = of(&a, "m", "f32");
        assert_eq!(first, of(&b, "m", "f32"));
        assert_ne!(first, of(&a, "n", "f32"));
        assert_ne!(first, of(&a, "m", "bf16"));
        assert_ne!(of(&a, "mf", "32"), first);
        std::fs::write(&b, "picturez").unwrap();
        assert_ne!(first, of(&b, "m", "f32"));
        let of_folder = of(folder.path(), "m", "f32");
        std::fs::rename(&b, folder.path().join("c.mp4")).unwrap();
        assert_ne!(of_folder, of(folder.path(), "m", "f32"));
        assert!(CacheKey::new(&b, "m", "f32").is_err());
    }

    #[test]
    fn entries_are_found_listed_and_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 1 << 20);
        assert_eq!(cache.entries().unwrap(), []);
        assert!(cache.find(&key("one"), &Device::Cpu).is_none());
        cache.store(&key("one"), &sample(), "walk.mp4", "mini").unwrap();
        let found = cache.find(&key("one"), &Device::Cpu).unwrap();
        assert_eq!(found.secs, sample().secs);
        let entries = cache.entries().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].facts.as_ref().unwrap().video, "walk.mp4");
        assert_eq!(cache.clear().unwrap(), (1, entries[0].bytes));
        assert!(cache.find(&key("one"), &Device::Cpu).is_none());
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let all = cache(folder.path(), 1 << 20);
        let now = SystemTime::now();
        for (age, name) in [(30, "old"), (20, "older"), (10, "young")] {
            all.store(&key(name), &sample(), name, "mini").unwrap();
            let used = now - std::time::Duration::from_secs(age);
            File::options().append(true).open(all.path(&key(name))).unwrap().set_modified(used).unwrap();
        }
        let bytes = all.entries().unwrap()[0].bytes;
        all.find(&key("old"), &Device::Cpu).unwrap();
        let small = FeatureCache { limit: bytes * 3, ..all.clone() };
        small.store(&key("new"), &sample(), "new", "mini").unwrap();
        let names: Vec<String> =
            small.entries().unwrap().into_iter().filter_map(|entry| Some(entry.facts?.video)).collect();
        assert!(names.len() <= 3 && names.contains(&"new".to_owned()), "{names:?}");
        assert!(names.contains(&"old".to_owned()) && !names.contains(&"older".to_owned()), "{names:?}");
        let none = FeatureCache { limit: 10, ..all };
        none.store(&key("huge"), &sample(), "huge", "mini").unwrap();
        assert!(none.find(&key("huge"), &Device::Cpu).is_none());
    }

    #[test]
    fn a_damaged_entry_is_removed_and_a_locked_folder_explained() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), 1 << 20);
        cache.store(&key("one"), &sample(), "walk.mp4", "mini").unwrap();
        std::fs::write(cache.path(&key("one")), "broken").unwrap();
        assert!(cache.entries().unwrap()[0].facts.is_none());
        assert!(cache.find(&key("one"), &Device::Cpu).is_none());
        assert_eq!(cache.entries().unwrap(), []);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let blocked = FeatureCache { folder: file, limit: 1 << 20 };
        let message = blocked.store(&key("one"), &sample(), "walk.mp4", "mini").unwrap_err();
        assert!(message.contains("--no-cache"), "{message}");
    }

    #[test]
    fn large_weight_files_are_read_in_pieces_that_reach_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let file = File::create(&path).unwrap();
        file.set_len(READ_WHOLE + 5).unwrap();
        let before = fingerprint(std::slice::from_ref(&path)).unwrap();
        let mut file = File::options().write(true).open(&path).unwrap();
        file.seek(SeekFrom::End(-1)).unwrap();
        std::io::Write::write_all(&mut file, b"x").unwrap();
        assert_ne!(before, fingerprint(&[path]).unwrap());
    }
}
