//! Which position of the token sequence is what: text, frame i, camera token, patch,
//! newline, `<Pos>`, `<Ori>`.

use super::config::{CameraPlace, ModelConfig, NewlineMode};

/// How the visual tokens of one video are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisualLayout {
    /// Frames.
    pub frames: usize,
    /// Rows of the pooled grid.
    pub rows: usize,
    /// Columns of the pooled grid.
    pub columns: usize,
    /// Where newline vectors go.
    pub newline: NewlineMode,
    /// Whether every frame has a camera token.
    pub camera: bool,
    /// Where in its frame it stands.
    pub camera_place: CameraPlace,
    /// Whether a newline vector follows it.
    pub camera_newline: bool,
}

impl VisualLayout {
    /// The order for `frames` frames of this model.
    pub fn new(config: &ModelConfig, frames: usize) -> Self {
        let side = config.token_grid();
        Self {
            frames,
            rows: side,
            columns: side,
            newline: config.newline,
            camera: config.has_camera_tokens(),
            camera_place: config.camera_place,
            camera_newline: config.camera_newline && config.has_camera_tokens(),
        }
    }

    /// Tokens of one frame, its newlines included.
    pub fn frame_len(&self) -> usize {
        let patches = match self.newline {
            NewlineMode::Grid => self.rows * (self.columns + 1),
            NewlineMode::Frame => self.rows * self.columns + 1,
            NewlineMode::OneToken | NewlineMode::NoToken => self.rows * self.columns,
        };
        self.camera_len() + patches
    }

    /// Tokens of the whole video.
    pub fn len(&self) -> usize {
        self.frames * self.frame_len() + usize::from(self.newline == NewlineMode::OneToken)
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Offset of a patch token inside the video.
    pub fn patch(&self, frame: usize, row: usize, column: usize) -> usize {
        let row_len = self.columns + usize::from(self.newline == NewlineMode::Grid);
        frame * self.frame_len() + self.before_patches() + row * row_len + column
    }

    /// Offsets of all patch tokens, frame-major, then row-major.
    pub fn patches(&self) -> Vec<u32> {
        let mut offsets = Vec::with_capacity(self.frames * self.rows * self.columns);
        for frame in 0..self.frames {
            for row in 0..self.rows {
                offsets.extend((0..self.columns).map(|column| self.patch(frame, row, column) as u32));
            }
        }
        offsets
    }

    /// Offsets of the camera tokens, one per frame; empty without.
    pub fn cameras(&self) -> Vec<u32> {
        let frames = if self.camera { self.frames } else { 0 };
        let inside = match self.camera_place {
            CameraPlace::First => 0,
            CameraPlace::Last => self.frame_len() - self.camera_len(),
        };
        (0..frames).map(|frame| (frame * self.frame_len() + inside) as u32).collect()
    }

    /// The camera token with its newline.
    fn camera_len(&self) -> usize {
        usize::from(self.camera) + usize::from(self.camera_newline)
    }

    fn before_patches(&self) -> usize {
        match self.camera_place {
            CameraPlace::First => self.camera_len(),
            CameraPlace::Last => 0,
        }
    }
}

/// A whole prompt: text, video, text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSequence {
    /// Token ids before the video.
    pub head: Vec<u32>,
    /// Order of the visual tokens.
    pub video: VisualLayout,
    /// Token ids after the video.
    pub tail: Vec<u32>,
    /// Offsets of `<Pos>` and `<Ori>` in `tail`; `None` for a base model.
    pub situation: Option<(usize, usize)>,
}

impl TokenSequence {
    /// Puts the parts together. `situation_ids` are those of `<Pos>` and `<Ori>`, `None` for a
    /// base model; `None` unless `tail` holds each of them exactly once, position first.
    pub fn new(
        head: Vec<u32>,
        video: VisualLayout,
        tail: Vec<u32>,
        situation_ids: Option<(u32, u32)>,
    ) -> Option<Self> {
        let Some((position_id, orientation_id)) = situation_ids else {
            return Some(Self { head, video, tail, situation: None });
        };
        let only = |id: u32| {
            let mut found = tail.iter().enumerate().filter(|&(_, &token)| token == id).map(|(at, _)| at);
            found.next().filter(|_| found.next().is_none())
        };
        let (position, orientation) = (only(position_id)?, only(orientation_id)?);
        let situation = Some((position, orientation));
        (position < orientation).then_some(Self { head, video, tail, situation })
    }

    /// Tokens in all.
    pub fn len(&self) -> usize {
        self.head.len() + self.video.len() + self.tail.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// First position after the video.
    pub fn tail_start(&self) -> usize {
        self.head.len() + self.video.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::{PoolingConfig, PoolingMode};

    #[test]
    fn published_lengths() {
        let mut config = ModelConfig::llava_video_7b();
        let layout = VisualLayout::new(&config, 32);
        assert_eq!((layout.frame_len(), layout.len()), (211, 6752));
        config.pooling = PoolingConfig { mode: PoolingMode::Average, stride: 2 };
        assert_eq!(VisualLayout::new(&config, 32).len(), 5856);
    }

    #[test]
    fn offsets_skip_camera_tokens_and_newlines() {
        let layout = VisualLayout {
            frames: 2,
            rows: 2,
            columns: 2,
            newline: NewlineMode::Grid,
            camera: true,
            camera_place: CameraPlace::First,
            camera_newline: false,
        };
        assert_eq!(layout.cameras(), [0, 7]);
        assert_eq!(layout.patches(), [1, 2, 4, 5, 8, 9, 11, 12]);
        assert_eq!(layout.len(), 14);
        let layout = VisualLayout { camera_place: CameraPlace::Last, camera_newline: true, ..layout };
        assert_eq!(layout.cameras(), [6, 14]);
        assert_eq!(layout.patches(), [0, 1, 3, 4, 8, 9, 11, 12]);
        assert_eq!(layout.len(), 16);
    }

    #[test]
    fn situation_tokens_must_be_there_once_and_in_order() {
        let layout = VisualLayout::new(&ModelConfig::tiny(), 1);
        let sequence = |tail: &[u32]| TokenSequence::new(vec![1], layout, tail.to_vec(), Some((7, 8)));
        let good = sequence(&[3, 7, 8, 4]).unwrap();
        assert_eq!((good.situation, good.tail_start()), (Some((1, 2)), 5));
        assert!(sequence(&[3, 8, 7]).is_none());
        assert!(sequence(&[7, 7, 8]).is_none());
        assert!(sequence(&[7]).is_none());
        let base = TokenSequence::new(vec![1], layout, vec![7, 7], None).unwrap();
        assert_eq!((base.situation, base.tail), (None, vec![7, 7]));
    }
}
