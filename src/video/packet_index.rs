//! Which frames a file holds and where decoding can start, from its packets alone.
//!
//! A packet's time is its presentation time in ticks of the stream's time base.
//! Frame i is the i-th shown packet in order of time.

use std::collections::HashMap;

use super::FrameIndex;

/// What the demuxer says about one packet of the video stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PacketFacts {
    /// Presentation time; decoding time where the container has no other.
    pub(super) pts: i64,
    /// Decoding can start here.
    pub(super) key: bool,
    /// Yields a picture to be shown: not cut off by an edit list, not an auxiliary picture.
    pub(super) shown: bool,
}

/// The packets of one stream in decoding order and its frames in presentation order.
#[derive(Debug, Clone)]
pub(super) struct PacketIndex {
    packets: Vec<PacketFacts>,
    /// Decoding position of the packet with a time.
    position: HashMap<i64, usize>,
    /// Times of the shown frames, strictly rising.
    frames: Vec<i64>,
}

impl PacketIndex {
    /// Indexes packets given in decoding order. Packets before the first key packet
    /// cannot be decoded and are not counted. A stream without any key packet (periodic
    /// intra refresh) is entered at its first packet.
    pub(super) fn new(mut packets: Vec<PacketFacts>) -> Self {
        let entry = packets.iter().position(|packet| packet.key).unwrap_or(0);
        if let Some(first) = packets.get_mut(entry) {
            first.key = true;
        }
        for packet in &mut packets[..entry] {
            packet.shown = false;
        }
        let mut frames: Vec<i64> =
            packets.iter().filter(|packet| packet.shown).map(|packet| packet.pts).collect();
        frames.sort_unstable();
        frames.dedup();
        let mut position = HashMap::with_capacity(packets.len());
        for (at, packet) in packets.iter().enumerate() {
            position.entry(packet.pts).or_insert(at);
        }
        Self { packets, position, frames }
    }

    /// Times of the frames in presentation order.
    pub(super) fn frames(&self) -> &[i64] {
        &self.frames
    }

    /// The frame shown at exactly `pts`.
    pub(super) fn frame_at(&self, pts: i64) -> Option<FrameIndex> {
        self.frames.binary_search(&pts).ok().map(|index| FrameIndex(index as u32))
    }

    /// Time of a frame that exists.
    pub(super) fn pts(&self, index: FrameIndex) -> i64 {
        self.frames[index.0 as usize]
    }

    /// Decoding position of the packet with time `pts`.
    pub(super) fn position(&self, pts: i64) -> Option<usize> {
        self.position.get(&pts).copied()
    }

    /// Times of the key packets from which a frame can be decoded, nearest first. A frame
    /// shown before a key packet but stored after it (open group of pictures) needs the
    /// one before.
    pub(super) fn entries(&self, index: FrameIndex) -> impl Iterator<Item = i64> + '_ {
        let pts = self.pts(index);
        let end = self.position(pts).map_or(self.packets.len(), |at| at + 1);
        self.packets[..end]
            .iter()
            .rev()
            .filter(move |packet| packet.key && packet.pts <= pts)
            .map(|packet| packet.pts)
    }

    /// Time of the first key packet.
    pub(super) fn first_key(&self) -> Option<i64> {
        self.packets.iter().find(|packet| packet.key).map(|packet| packet.pts)
    }

    /// Frames at which decoding can start.
    pub(super) fn keyframes(&self) -> Vec<FrameIndex> {
        let mut keys: Vec<FrameIndex> = self
            .packets
            .iter()
            .filter(|packet| packet.key && packet.shown)
            .filter_map(|packet| self.frame_at(packet.pts))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Keeps only frames for which `decodable` holds. Returns how many went.
    pub(super) fn retain(&mut self, mut decodable: impl FnMut(i64) -> bool) -> usize {
        let before = self.frames.len();
        self.frames.retain(|&pts| decodable(pts));
        before - self.frames.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(list: &[(i64, bool)]) -> Vec<PacketFacts> {
        list.iter().map(|&(pts, key)| PacketFacts { pts, key, shown: true }).collect()
    }

    fn entries(index: &PacketIndex, frame: u32) -> Vec<i64> {
        index.entries(FrameIndex(frame)).collect()
    }

    #[test]
    fn frames_are_ranked_by_presentation_time() {
        let index = PacketIndex::new(packets(&[(20, true), (50, false), (30, false), (40, false)]));
        assert_eq!(index.frames(), [20, 30, 40, 50]);
        assert_eq!(index.frame_at(40), Some(FrameIndex(2)));
        assert_eq!(index.frame_at(41), None);
        assert_eq!(index.position(50), Some(1));
        assert_eq!(index.keyframes(), [FrameIndex(0)]);
    }

    #[test]
    fn leading_pictures_need_the_key_before() {
        // Decoding order I0 P1 | I4 B2 B3 P5: frames 2 and 3 are shown before the key at 4.
        let list = [(0, true), (1, false), (4, true), (2, false), (3, false), (5, false)];
        let index = PacketIndex::new(packets(&list));
        assert_eq!(entries(&index, 3), [0]);
        assert_eq!(entries(&index, 4), [4, 0]);
        assert_eq!(entries(&index, 5), [4, 0]);
        assert_eq!(index.first_key(), Some(0));
    }

    #[test]
    fn cut_off_packets_are_not_frames_but_entries() {
        let mut list = packets(&[(-20, true), (-10, false), (0, false), (10, false)]);
        list[0].shown = false;
        list[1].shown = false;
        let index = PacketIndex::new(list);
        assert_eq!(index.frames(), [0, 10]);
        assert_eq!(entries(&index, 0), [-20]);
        assert_eq!(index.keyframes(), []);
    }

    #[test]
    fn packets_before_the_first_key_are_not_counted() {
        let index = PacketIndex::new(packets(&[(0, false), (1, false), (2, true), (3, false)]));
        assert_eq!(index.frames(), [2, 3]);
        let refresh = PacketIndex::new(packets(&[(0, false), (1, false)]));
        assert_eq!((refresh.frames(), refresh.first_key()), (&[0, 1][..], Some(0)));
    }

    #[test]
    fn frames_that_do_not_decode_leave_the_count() {
        let mut index = PacketIndex::new(packets(&[(0, true), (1, false), (2, false)]));
        assert_eq!(index.retain(|pts| pts != 1), 1);
        assert_eq!(index.frame_at(2), Some(FrameIndex(1)));
    }
}
