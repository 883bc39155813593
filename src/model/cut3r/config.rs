//! Sizes and switches of CUT3R; names as in its configuration.

use serde::{Deserialize, Serialize};

/// Arithmetic of the encoder's rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RopeDtype {
    /// Exact.
    F32,
    /// Queries and keys rounded to half precision around the rotation, as the
    /// released code does on a GPU.
    F16,
}

/// Sizes of the DPT heads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DptConfig {
    /// Channels of the fusion blocks.
    pub feature_dim: usize,
    /// Channels before the last convolution.
    pub last_dim: usize,
    /// Channels of the four adapted layers.
    pub layer_dims: [usize; 4],
}

/// Which heads follow the decoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadKind {
    /// Convolutional, full resolution.
    Dpt(DptConfig),
    /// One MLP per patch.
    Linear,
}

/// Configuration of [`super::Cut3r`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut3rConfig {
    /// Encoder width E.
    pub enc_embed_dim: usize,
    /// Encoder blocks.
    pub enc_depth: usize,
    /// Encoder heads.
    pub enc_num_heads: usize,
    /// Decoder width D: the width of the camera token.
    pub dec_embed_dim: usize,
    /// Blocks of each decoder stream.
    pub dec_depth: usize,
    /// Heads of the image stream, the memory and the head transform.
    pub dec_num_heads: usize,
    /// Heads of the state stream.
    pub state_dec_num_heads: usize,
    /// State tokens S.
    pub state_size: usize,
    /// Tokens of the pose memory.
    pub local_mem_size: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
    /// Hidden width of the MLPs over their width.
    pub mlp_ratio: usize,
    /// Of every LayerNorm.
    pub norm_eps: f64,
    /// Arithmetic of the encoder's rotary embedding.
    pub encoder_rope: RopeDtype,
    /// Heads to read; `None` reads none.
    pub heads: Option<HeadKind>,
    /// Side of the square input made from the vision tower's pixels.
    pub image_size: usize,
}

impl Cut3rConfig {
    /// The released `cut3r_512_dpt_4_64`.
    pub fn published() -> Self {
        Self {
            enc_embed_dim: 1024,
            enc_depth: 24,
            enc_num_heads: 16,
            dec_embed_dim: 768,
            dec_depth: 12,
            dec_num_heads: 12,
            state_dec_num_heads: 16,
            state_size: 768,
            local_mem_size: 256,
            patch_size: 16,
            mlp_ratio: 4,
            norm_eps: 1e-6,
            encoder_rope: RopeDtype::F32,
            heads: Some(HeadKind::Dpt(DptConfig {
                feature_dim: 256,
                last_dim: 128,
                layer_dims: [96, 192, 384, 768],
            })),
            image_size: 432,
        }
    }
}
