//! Decoded frames kept in memory, bounded by bytes: stepping back inside a group
//! of pictures is then a look-up.

use std::collections::{BTreeMap, VecDeque};

use super::{Frame, FrameIndex};

/// The most recently stored frames, oldest dropped first.
#[derive(Debug)]
pub(super) struct FrameCache {
    frames: BTreeMap<FrameIndex, Frame>,
    /// Indices in order of arrival; each is in `frames`.
    arrival: VecDeque<FrameIndex>,
    bytes: usize,
    capacity: usize,
}

impl FrameCache {
    /// An empty cache for `capacity` bytes of pixels; it always holds at least one frame.
    pub(super) fn new(capacity: usize) -> Self {
        Self { frames: BTreeMap::new(), arrival: VecDeque::new(), bytes: 0, capacity }
    }

    /// Stores a frame and drops the oldest ones that no longer fit.
    pub(super) fn insert(&mut self, frame: Frame) {
        if self.frames.contains_key(&frame.index) {
            self.arrival.retain(|&index| index != frame.index);
        }
        self.arrival.push_back(frame.index);
        self.bytes += frame.rgb.len();
        if let Some(old) = self.frames.insert(frame.index, frame) {
            self.bytes -= old.rgb.len();
        }
        while self.bytes > self.capacity && self.arrival.len() > 1 {
            let Some(oldest) = self.arrival.pop_front() else { break };
            if let Some(frame) = self.frames.remove(&oldest) {
                self.bytes -= frame.rgb.len();
            }
        }
    }

    /// The frame at `index`.
    pub(super) fn get(&self, index: FrameIndex) -> Option<&Frame> {
        self.frames.get(&index)
    }

    /// The stored frame with the smallest distance to `index`; the earlier one of two.
    pub(super) fn nearest(&self, index: FrameIndex) -> Option<&Frame> {
        let before = self.frames.range(..=index).next_back();
        let after = self.frames.range(index..).next();
        [before, after]
            .into_iter()
            .flatten()
            .map(|(_, frame)| frame)
            .min_by_key(|frame| frame.index.0.abs_diff(index.0))
    }

    /// How many frames of `frame_bytes` fit.
    pub(super) fn capacity_in_frames(&self, frame_bytes: usize) -> u32 {
        (self.capacity / frame_bytes.max(1)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ImageSize;

    fn frame(index: u32) -> Frame {
        Frame { index: FrameIndex(index), pts_secs: 0.0, size: ImageSize::new(2, 1), rgb: vec![0; 6].into() }
    }

    #[test]
    fn the_oldest_frames_make_room() {
        let mut cache = FrameCache::new(18);
        for index in [5, 1, 9, 5, 7] {
            cache.insert(frame(index));
        }
        let held: Vec<u32> = (0..10).filter(|&i| cache.get(FrameIndex(i)).is_some()).collect();
        assert_eq!(held, [5, 7, 9]);
        assert_eq!(cache.bytes, 18);
        assert_eq!(cache.capacity_in_frames(6), 3);
    }

    #[test]
    fn one_frame_is_kept_even_if_it_does_not_fit() {
        let mut cache = FrameCache::new(1);
        cache.insert(frame(0));
        cache.insert(frame(1));
        assert!(cache.get(FrameIndex(0)).is_none() && cache.get(FrameIndex(1)).is_some());
    }

    #[test]
    fn nearest_looks_both_ways() {
        let mut cache = FrameCache::new(100);
        assert!(cache.nearest(FrameIndex(3)).is_none());
        cache.insert(frame(2));
        cache.insert(frame(8));
        let nearest = |index| cache.nearest(FrameIndex(index)).map(|frame| frame.index.0);
        assert_eq!(
            [nearest(0), nearest(4), nearest(5), nearest(6), nearest(20)],
            [Some(2), Some(2), Some(2), Some(8), Some(8)]
        );
    }
}
