//! Videos that were open before, with keys and values of their tokens: the last ones are
//! kept, as far as the memory of the device allows, so that nothing is computed when one of
//! them is opened again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::VideoEncoding;
use crate::model::feature_cache::CacheKey;
use crate::video::FrameIndex;

/// Room on a device that does not tell how much memory is free, bytes.
const UNTOLD_ROOM: u64 = 1 << 30;

/// Everything that is known of a video which the language model has read.
#[derive(Debug)]
pub(super) struct KnownVideo {
    /// The sampled frames.
    pub frames: Vec<FrameIndex>,
    /// How unlike the training data it looks, where the model can tell.
    pub strangeness: Option<f32>,
    /// Cameras and layout; keys and values of its tokens.
    pub encoding: VideoEncoding,
}

impl KnownVideo {
    /// Bytes held. On a graphics card it has only keys and values, which are most of it.
    pub(super) fn bytes(&self) -> u64 {
        let VideoEncoding { points, layout, sight_rgb, .. } = &self.encoding;
        let shown = size_of_val(points.points.as_slice()) + size_of_val(layout.tokens.as_slice());
        (self.encoding.bytes() + shown + sight_rgb.len()) as u64
    }
}

/// Bytes of all videos that the model in use holds, which go with it; clones tell the same.
#[derive(Debug, Clone, Default)]
pub(super) struct HeldBytes(Arc<AtomicU64>);

impl HeldBytes {
    /// How many there are now.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Tells of so many.
    pub(super) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Values under the keys of videos, the one put last first.
#[derive(Debug)]
pub(super) struct Shelf<V> {
    kept: Vec<Kept<V>>,
}

#[derive(Debug)]
struct Kept<V> {
    key: CacheKey,
    bytes: u64,
    value: V,
}

impl<V> Default for Shelf<V> {
    fn default() -> Self {
        Self { kept: Vec::new() }
    }
}

impl<V> Shelf<V> {
    /// What is kept under `key`.
    pub(super) fn find(&self, key: &CacheKey) -> Option<&V> {
        self.kept.iter().find(|kept| kept.key == *key).map(|kept| &kept.value)
    }

    /// Keeps a value of so many bytes, in place of the one under the same key.
    pub(super) fn put(&mut self, key: CacheKey, bytes: u64, value: V) {
        self.remove(&key);
        self.kept.insert(0, Kept { key, bytes, value });
    }

    /// Lets go of what is kept under `key`.
    pub(super) fn remove(&mut self, key: &CacheKey) {
        self.kept.retain(|kept| kept.key != *key);
    }

    /// Bytes of all values.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.iter().map(|kept| kept.bytes).sum()
    }

    /// Lets go of those put longest ago until the rest takes no more than `room` bytes.
    pub(super) fn trim(&mut self, room: u64) {
        while self.bytes() > room {
            self.kept.pop();
        }
    }
}

/// Bytes for videos that are not open, on a device that has `free` bytes beside the `held` ones
/// of such videos: half of what reading another video, which takes `needs` at most, leaves. A
/// model that fits its device by the memory plan can go on reading videos for ever.
pub(super) fn room(free: Option<u64>, held: u64, needs: u64) -> u64 {
    free.map_or(UNTOLD_ROOM, |free| free.saturating_add(held).saturating_sub(needs) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shelf with `names`, put in this order, ten bytes each, and the maker of their keys.
    fn shelf(names: &[&'static str]) -> (Shelf<&'static str>, impl Fn(&str) -> CacheKey) {
        let clip = tempfile::NamedTempFile::new().unwrap();
        let key = move |name: &str| CacheKey::new(clip.path(), name, "").unwrap();
        let mut shelf = Shelf::default();
        for name in names {
            shelf.put(key(name), 10, *name);
        }
        (shelf, key)
    }

    fn names(shelf: &Shelf<&'static str>) -> Vec<&'static str> {
        shelf.kept.iter().map(|kept| kept.value).collect()
    }

    #[test]
    fn what_was_put_longest_ago_goes_first() {
        let (mut shelf, key) = shelf(&["a", "b", "c"]);
        assert_eq!((names(&shelf), shelf.bytes()), (vec!["c", "b", "a"], 30));
        // The clip was opened again, and another one after it.
        assert_eq!(shelf.find(&key("a")), Some(&"a"));
        shelf.put(key("a"), 10, "a");
        assert_eq!((names(&shelf), shelf.bytes()), (vec!["a", "c", "b"], 30));
        shelf.trim(30);
        assert_eq!(names(&shelf), ["a", "c", "b"]);
        shelf.trim(29);
        assert_eq!(names(&shelf), ["a", "c"]);
        assert_eq!(shelf.find(&key("b")), None);
        shelf.remove(&key("a"));
        assert_eq!(names(&shelf), ["c"]);
        shelf.trim(9);
        assert_eq!(shelf.bytes(), 0);
    }

    #[test]
    fn reading_another_video_comes_before_those_that_are_kept() {
        // 10 free and 4 held: 14 without them, 6 of which the next video takes.
        assert_eq!(room(Some(10), 4, 6), 4);
        // A model that just fits keeps nothing.
        assert_eq!(room(Some(3), 2, 6), 0);
        assert_eq!(room(None, 4, 6), UNTOLD_ROOM);
    }
}
