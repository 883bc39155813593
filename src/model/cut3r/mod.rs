//! CUT3R: a recurrent camera encoder with a persistent state (arXiv 2501.12387).

use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::camera::CameraEncoder;

/// Sizes of CUT3R; defaults are those of `cut3r_512_dpt_4_64`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut3rConfig {
    /// Side of the square input, pixels (open: 432, so that tokens match SigLIP's grid).
    pub image_size: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
    /// Width of the encoder.
    pub enc_embed_dim: usize,
    /// Layers of the encoder.
    pub enc_depth: usize,
    /// Heads of the encoder.
    pub enc_num_heads: usize,
    /// Width of both decoder streams and of the camera token.
    pub dec_embed_dim: usize,
    /// Layers of the decoder.
    pub dec_depth: usize,
    /// Heads of the image stream.
    pub dec_num_heads: usize,
    /// Heads of the state stream.
    pub state_dec_num_heads: usize,
    /// State tokens.
    pub state_size: usize,
    /// Slots of the pose memory.
    pub local_mem_size: usize,
    /// RoPE base.
    pub rope_base: f64,
}

impl Cut3rConfig {
    /// The released model.
    pub fn published() -> Self {
        Self {
            image_size: 432,
            patch_size: 16,
            enc_embed_dim: 1024,
            enc_depth: 24,
            enc_num_heads: 16,
            dec_embed_dim: 768,
            dec_depth: 12,
            dec_num_heads: 12,
            state_dec_num_heads: 16,
            state_size: 768,
            local_mem_size: 256,
            rope_base: 100.0,
        }
    }
}

/// Builds the encoder from its weights.
pub fn build(_config: &Cut3rConfig, _weights: VarBuilder<'_>) -> candle_core::Result<Box<dyn CameraEncoder>> {
    candle_core::bail!("CUT3R is not part of this build")
}
