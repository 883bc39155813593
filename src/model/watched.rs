//! The frames of a video on their way through the vision tower, one after the other as they
//! are decoded.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};

use super::camera::{CameraPass, CameraProgress};
use super::config::ModelConfig;
use super::exchange::Clip;
use super::siglip::{CHUNK, SiglipTower};
use super::{ModelError, preprocess};
use crate::geometry::ImageSize;
use crate::video::{Frame, FrameIndex, VideoInfo};

/// M frames in rising order, each once. The last few may still wait for the tower.
#[derive(Debug)]
pub struct Watched {
    info: VideoInfo,
    waiting: Vec<Frame>,
    frames: Vec<FrameIndex>,
    secs: Vec<f64>,
    /// What the tower saw of each, row-major RGB.
    images: Vec<Vec<u8>>,
    /// The same as numbers, (.., 3, S, S) each.
    pixels: Vec<Tensor>,
    /// What it made of them, (.., N, D) each.
    features: Vec<Tensor>,
    /// The camera encoder behind the tower, where it takes frames one after the other.
    camera: Option<Box<dyn CameraPass>>,
    /// Sampled frames that it took.
    taken: usize,
}

/// The frames that the camera encoder follows, with the sampled ones among them.
#[derive(Debug)]
pub(super) struct Followed {
    /// Output of the vision tower, (M, N, D).
    pub features: Tensor,
    /// Its input, (M, 3, S, S).
    pub pixels: Tensor,
    /// Presentation times, seconds.
    pub secs: Vec<f64>,
    /// Where the F sampled frames are among the M.
    pub sampled: Vec<usize>,
}

impl Watched {
    /// Nothing of a video yet.
    pub fn of(info: &VideoInfo) -> Self {
        Self {
            info: info.clone(),
            waiting: Vec::with_capacity(CHUNK),
            frames: Vec::new(),
            secs: Vec::new(),
            images: Vec::new(),
            pixels: Vec::new(),
            features: Vec::new(),
            camera: None,
            taken: 0,
        }
    }

    /// The video.
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Frames that the tower has seen.
    pub fn seen(&self) -> usize {
        self.images.len()
    }

    /// Takes a frame; true when enough wait for a pass of the tower.
    pub(super) fn take(&mut self, frame: Frame) -> Result<bool, ModelError> {
        let (index, size) = (frame.index.0, frame.size);
        if size.pixels() == 0 || frame.rgb.len() != 3 * size.pixels() {
            let (bytes, width, height) = (frame.rgb.len(), size.width, size.height);
            return Err(self.unusable(format!("frame {index} has {bytes} bytes for {width}x{height} pixels")));
        }
        if self.frames.last().is_some_and(|last| *last >= frame.index) {
            return Err(self.unusable(format!("frame {index} comes too late")));
        }
        self.frames.push(frame.index);
        self.secs.push(frame.pts_secs);
        self.waiting.push(frame);
        Ok(self.waiting.len() == CHUNK)
    }

    /// Runs the tower over the frames that wait.
    pub(super) fn pass(
        &mut self,
        config: &ModelConfig,
        tower: &SiglipTower,
        (dtype, device): (DType, &Device),
    ) -> candle_core::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let images: Vec<(&[u8], ImageSize)> = waiting.iter().map(|frame| (&*frame.rgb, frame.size)).collect();
        let side = config.vision.image_size as u32;
        let images = preprocess::squares(&images, side, config.frame_fit);
        let pixels = preprocess::pixels(&images, ImageSize::new(side, side), dtype, device)?;
        self.features.push(tower.forward(&pixels)?.detach());
        self.pixels.push(pixels);
        self.images.extend(images);
        Ok(())
    }

    /// Whether a camera encoder takes the frames one after the other.
    pub(super) fn has_camera(&self) -> bool {
        self.camera.is_some()
    }

    /// Sets the camera encoder that takes the frames one after the other, if there is such a one.
    pub(super) fn set_camera(&mut self, camera: Option<Box<dyn CameraPass>>) {
        self.camera = camera;
    }

    /// The camera encoder that took the frames.
    pub(super) fn take_camera(&mut self) -> Option<Box<dyn CameraPass>> {
        self.camera.take()
    }

    /// Hands the camera encoder those of the `sampled` frames that the tower has seen since the
    /// last time, as often as they are sampled; false when `progress` said stop.
    pub(super) fn follow(
        &mut self,
        sampled: &[FrameIndex],
        progress: CameraProgress<'_>,
    ) -> candle_core::Result<bool> {
        let Some(mut camera) = self.camera.take() else { return Ok(true) };
        let mut go_on = true;
        while go_on && let Some(index) = sampled.get(self.taken) {
            let Ok(place) = self.frames[..self.seen()].binary_search(index) else { break };
            go_on = camera.take(&self.picture(place)?, progress)?;
            self.taken += 1;
        }
        self.camera = Some(camera);
        Ok(go_on)
    }

    /// Frame number `place` of those that the tower has seen, (3, S, S).
    fn picture(&self, place: usize) -> candle_core::Result<Tensor> {
        let mut first = 0;
        for pixels in &self.pixels {
            let count = pixels.dim(0)?;
            if place < first + count {
                return pixels.get(place - first);
            }
            first += count;
        }
        candle_core::bail!("the tower has seen {first} frames, not {place}")
    }

    /// The pictures of `sampled` frames as the tower saw them, one after the other, RGB.
    pub(super) fn pictures(&self, sampled: &[FrameIndex]) -> Result<Vec<u8>, ModelError> {
        Ok(self.places(sampled)?.into_iter().flat_map(|at| &self.images[at]).copied().collect())
    }

    /// What the camera encoder gets: all frames when there are some between the sampled ones;
    /// else these alone, repeated where `sampled` repeats them.
    pub(super) fn followed(self, sampled: &[FrameIndex]) -> Result<Followed, ModelError> {
        let places = self.places(sampled)?;
        let Self { secs, pixels, features, .. } = self;
        let all = |parts: Vec<Tensor>| Tensor::cat(&parts, 0);
        let distinct = places.iter().collect::<BTreeSet<_>>().len();
        let (between, repeated) = (distinct < secs.len(), distinct < places.len());
        if between || !repeated {
            return Ok(Followed { features: all(features)?, pixels: all(pixels)?, secs, sampled: places });
        }
        let chosen: Vec<u32> = places.iter().map(|&at| at as u32).collect();
        let chosen = Tensor::from_vec(chosen, places.len(), pixels[0].device())?;
        Ok(Followed {
            features: all(features)?.index_select(&chosen, 0)?,
            pixels: all(pixels)?.index_select(&chosen, 0)?,
            secs: places.iter().map(|&at| secs[at]).collect(),
            sampled: (0..places.len()).collect(),
        })
    }

    fn places(&self, sampled: &[FrameIndex]) -> Result<Vec<usize>, ModelError> {
        if sampled.is_empty() {
            return Err(self.unusable("no frame was sampled".to_owned()));
        }
        let place = |index: &FrameIndex| {
            let known = self.frames[..self.seen()].binary_search(index);
            known.map_err(|_absent| self.unusable(format!("frame {} was not read", index.0)))
        };
        sampled.iter().map(place).collect()
    }

    fn unusable(&self, reason: String) -> ModelError {
        ModelError::Clip { path: self.info.path.clone(), reason }
    }
}

/// The frames of a clip in order, each once.
pub(super) fn in_order(clip: &Clip) -> Vec<&Frame> {
    // Sampled frames first: of two frames of one number the sampled one is kept.
    let mut frames: Vec<&Frame> = clip.frames.iter().chain(&clip.between).collect();
    frames.sort_by_key(|frame| frame.index);
    frames.dedup_by_key(|frame| frame.index);
    frames
}
