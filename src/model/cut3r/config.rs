//! Sizes and switches of CUT3R; names as in its configuration.

use serde::{Deserialize, Serialize};

use crate::model::config::{MOST_LAYERS, divides};

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

/// How the square input is made from the vision tower's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputResize {
    /// Bilinear, half-pixel centres, no antialiasing (VLM-3R).
    #[default]
    Bilinear,
    /// Bilinear, corners on corners (`align_corners` of PyTorch).
    BilinearCorners,
}

/// Which way is up, where no poses are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gravity {
    /// The mean image-up direction of all frames: hand-held video is level on average.
    #[default]
    MeanCameraUp,
    /// The image-up direction of the first frame.
    FirstCameraUp,
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
    /// How that input is made (open: bilinear).
    #[serde(default)]
    pub resize: InputResize,
    /// Which way is up (open: the mean of the cameras).
    #[serde(default)]
    pub gravity: Gravity,
}

/// The hidden width of an MLP over its width, at most.
const WIDEST_MLP: usize = 64;

impl Cut3rConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// One sentence naming the field.
    pub fn validate(&self) -> Result<(), String> {
        let rules = [
            (
                divides(self.enc_num_heads, self.enc_embed_dim),
                "camera.enc_num_heads must divide camera.enc_embed_dim",
            ),
            (
                divides(self.dec_num_heads, self.dec_embed_dim)
                    && divides(self.state_dec_num_heads, self.dec_embed_dim),
                "camera.dec_num_heads and camera.state_dec_num_heads must divide camera.dec_embed_dim",
            ),
            // The dense heads read the outputs of half and three quarters of the decoder.
            (
                (1..=MOST_LAYERS).contains(&self.enc_depth) && (2..=MOST_LAYERS).contains(&self.dec_depth),
                "camera.enc_depth must be 1 to 1000, camera.dec_depth 2 to 1000",
            ),
            (
                divides(self.patch_size, self.image_size) && self.image_size <= 4096,
                "camera.image_size must be a multiple of camera.patch_size and at most 4096",
            ),
            ((1..=WIDEST_MLP).contains(&self.mlp_ratio), "camera.mlp_ratio must be 1 to 64"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, rule)) => Err((*rule).to_owned()),
        }
    }

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
            resize: InputResize::Bilinear,
            gravity: Gravity::MeanCameraUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_nothing_can_be_built_with_are_named() {
        let published = Cut3rConfig::published();
        published.validate().unwrap();
        let cases: [(Cut3rConfig, &str); 7] = [
            (Cut3rConfig { enc_num_heads: 0, ..published.clone() }, "enc_num_heads"),
            (Cut3rConfig { enc_embed_dim: 0, ..published.clone() }, "enc_embed_dim"),
            (Cut3rConfig { state_dec_num_heads: 0, ..published.clone() }, "state_dec_num_heads"),
            (Cut3rConfig { enc_depth: usize::MAX, ..published.clone() }, "enc_depth"),
            (Cut3rConfig { patch_size: 0, ..published.clone() }, "patch_size"),
            (Cut3rConfig { image_size: 433, ..published.clone() }, "image_size"),
            (Cut3rConfig { mlp_ratio: usize::MAX, ..published }, "mlp_ratio"),
        ];
        for (config, field) in cases {
            assert!(config.validate().unwrap_err().contains(field), "{field}");
        }
    }
}
