//! Reads the layout off the rows of the vision tokens as they leave the language model.
//!
//! Its attention is causal: what a token says does not change when later ones come.

use candle_core::{DType, Device, Tensor};

use super::camera::cell_colors;
use super::perception::Perception;
use super::qwen2::HiddenStates;
use super::sequence::VisualLayout;
use super::{ModelError, Network, preprocess};
use crate::scene::{Layout, LayoutToken};

/// The layout of the vision tokens that came out so far.
pub(super) struct LayoutReader<'a> {
    network: &'a Network,
    perception: &'a Perception,
    /// Row of every vision token in the prompt, rising.
    rows: Vec<usize>,
    colors: Vec<[u8; 3]>,
    layout: Layout,
}

impl<'a> LayoutReader<'a> {
    /// For a video whose first token is row `start` of the prompt.
    pub(super) fn new(
        network: &'a Network,
        perception: &'a Perception,
        video: &VisualLayout,
        start: usize,
        floor_height: f32,
    ) -> Result<Self, ModelError> {
        let size = perception.sight_size;
        let images: Vec<&[u8]> = perception.sight_rgb.chunks(3 * size.pixels()).collect();
        let pixels = preprocess::pixels(&images, size, DType::F32, &Device::Cpu)?;
        let mut colors = Vec::with_capacity(video.frames * video.rows * video.columns);
        for frame in 0..video.frames {
            colors.extend(cell_colors(&pixels.get(frame)?, video.rows * video.columns)?);
        }
        let rows = video.patches().into_iter().map(|offset| start + offset as usize).collect();
        let grid = (video.rows as u16, video.columns as u16);
        let layout = Layout { grid, tokens: Vec::with_capacity(colors.len()), floor_height };
        Ok(Self { network, perception, rows, colors, layout })
    }

    /// Takes the rows of the prompt that end before row `end`, (1, T, h).
    pub(super) fn take(&mut self, end: usize, hidden: &HiddenStates) -> Result<&Layout, ModelError> {
        if !self.network.locates() {
            return Ok(&self.layout);
        }
        let rows = self.network.head_rows(hidden).get(0)?;
        let first = end - rows.dim(0)?;
        let known = self.layout.tokens.len();
        let new = self.rows[known..].iter().take_while(|row| **row < end);
        let new: Vec<u32> = new.map(|row| (row - first) as u32).collect();
        if new.is_empty() {
            return Ok(&self.layout);
        }
        let rows = rows.index_select(&Tensor::from_slice(&new, new.len(), rows.device())?, 0)?;
        let heads = self.network.heads()?;
        let points = heads.decode_points(&heads.layout(&rows)?)?;
        let columns = self.layout.grid.1 as usize;
        let per_frame = self.layout.grid.0 as usize * columns;
        self.layout.tokens.extend((known..).zip(points).map(|(token, (position, sigma))| {
            let cell = token % per_frame;
            LayoutToken {
                frame: self.perception.frames[token / per_frame],
                row: (cell / columns) as u16,
                column: (cell % columns) as u16,
                position,
                sigma,
                color: self.colors[token],
            }
        }));
        Ok(&self.layout)
    }

    /// The layout of what was taken.
    pub(super) fn so_far(&self) -> &Layout {
        &self.layout
    }

    /// The layout of all that was taken.
    pub(super) fn finish(self) -> Layout {
        self.layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ImageSize;
    use crate::model::ModelConfig;
    use crate::model::network::SeededVariables;
    use crate::video::FrameIndex;

    /// Rows `first..end` of hidden states that are drawn for the whole prompt.
    fn rows(whole: &Tensor, first: usize, end: usize) -> HiddenStates {
        let part = whole.narrow(1, first, end - first).unwrap();
        HiddenStates { last: part.clone(), unnormed: part, tapped: Vec::new() }
    }

    #[test]
    fn a_layout_taken_in_parts_is_the_one_taken_at_once() {
        let config = ModelConfig::tiny();
        let network =
            Network::new(&config, &SeededVariables::new(3).builder(DType::F32, &Device::Cpu)).unwrap();
        let side = config.vision.image_size as u32;
        let perception = Perception {
            frames: vec![FrameIndex(4), FrameIndex(9), FrameIndex(30)],
            sight_size: ImageSize::new(side, side),
            sight_rgb: (0..3 * 3 * side * side).map(|k| (k % 251) as u8).collect(),
            ..crate::model::perception::sample()
        };
        let video = VisualLayout::new(&config, 3);
        let (start, end) = (5, 5 + video.len() + 4);
        let whole = Tensor::randn(0f32, 1.0, (1, end, config.language.hidden_size), &Device::Cpu).unwrap();
        let reader = || LayoutReader::new(&network, &perception, &video, start, -1.4).unwrap();

        let mut at_once = reader();
        let complete = at_once.take(end, &rows(&whole, 0, end)).unwrap().clone();
        let per_frame = video.rows * video.columns;
        assert_eq!(complete.tokens.len(), 3 * per_frame);
        assert_eq!(complete.tokens[per_frame].frame, FrameIndex(9));

        for cut in 0..=end {
            let mut parts = reader();
            if cut > 0 {
                let first = parts.take(cut, &rows(&whole, 0, cut)).unwrap();
                assert_eq!(first.tokens, complete.tokens[..first.tokens.len()], "cut at {cut}");
            }
            if cut < end {
                parts.take(end, &rows(&whole, cut, end)).unwrap();
            }
            assert_eq!(parts.finish(), complete, "cut at {cut}");
        }
    }
}
