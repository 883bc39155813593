//! The camera encoder on rendered clips.

use candle_core::{Device, Tensor};

use super::clip::Clip;
use super::pixels::pixel_tensor;
use crate::model::Network;
use crate::model::odometry::{Footage, OdometryCamera, TrackedFrames};

/// Frames of one pass through the vision tower.
const CHUNK: usize = 16;

/// What the camera encoder finds out about the views of a clip; `None` when the clip
/// has no footage between them.
pub fn tracked(
    clip: &Clip,
    network: &Network,
    camera: &OdometryCamera,
) -> candle_core::Result<Option<TrackedFrames>> {
    let Some(footage) = &clip.footage else { return Ok(None) };
    let pictures: Vec<&[u8]> = footage.rgb.iter().map(Vec::as_slice).collect();
    let side = pictures.first().map_or(0, |rgb| (rgb.len() / 3).isqrt());
    let pixels = pixel_tensor(&pictures, side, None, &Device::Cpu)?;
    let features = (0..pictures.len())
        .step_by(CHUNK)
        .map(|start| {
            let chunk = pixels.narrow(0, start, CHUNK.min(pictures.len() - start))?;
            Ok(network.vision.forward(&chunk)?.detach())
        })
        .collect::<candle_core::Result<Vec<Tensor>>>()?;
    let footage = Footage {
        features: &Tensor::cat(&features, 0)?,
        pixels: &pixels,
        secs: &footage.secs,
        sampled: &footage.sampled,
        aspect: footage.aspect,
    };
    camera.track(&footage, &mut |_, _| true)
}
