//! The camera encoder on rendered clips.

use super::clip::Clip;
use super::pixels::pixel_tensor;
use crate::model::Network;
use crate::model::odometry::{Footage, OdometryCamera, TrackedFrames};

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
    let pixels = pixel_tensor(&pictures, side, None, network.device())?;
    let features = network.vision.forward_in_chunks(&pixels)?;
    let footage = Footage {
        features: &features,
        pixels: &pixels,
        secs: &footage.secs,
        sampled: &footage.sampled,
        aspect: footage.aspect,
    };
    camera.track(&footage, &mut |_| true)
}
