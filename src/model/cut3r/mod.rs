//! CUT3R (Wang et al., arXiv 2501.12387): the recurrent camera encoder of the
//! published model. Every frame is encoded by a ViT; a two-stream decoder reads and
//! rewrites a persistent state; a pose memory hands each frame its pose query. Row 0
//! of the image stream is the camera token.
//!
//! Tensor names are those of `cut3r_512_dpt_4_64.pth`. Shapes: B clips, N image
//! tokens of a frame (row-major), S state tokens, E encoder width, D decoder width.
//! Poses are camera-to-world in the space of the first camera (OpenCV axes, metric,
//! not gravity aligned).

mod blocks;
mod config;
mod dpt;
mod encoder;
mod heads;
mod memory;
mod pose;

use candle_core::{Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Module as _, VarBuilder};

use super::layers::{LayerNorm, Linear, linear};
use blocks::{Block, DecoderBlock, Rope2d, RopePrecision};
pub use config::{Cut3rConfig, DptConfig, Gravity, HeadKind, InputResize, RopeDtype};
pub use encoder::build;
pub(super) use encoder::working_numbers;
use heads::Heads;
pub use heads::{DenseOutput, FrameHeads, OwnView};
use memory::PoseMemory;
pub use pose::{camera_from_encoding, encoding_from_camera, inverse_encoding, pose_encoding};

/// The network.
#[derive(Debug, Clone)]
pub struct Cut3r {
    config: Cut3rConfig,
    patch_embed: Conv2d,
    encoder: Vec<Block>,
    encoder_norm: LayerNorm,
    embed: Linear,
    embed_state: Linear,
    register_tokens: Tensor,
    pose_token: Tensor,
    image_blocks: Vec<DecoderBlock>,
    state_blocks: Vec<DecoderBlock>,
    image_norm: LayerNorm,
    state_norm: LayerNorm,
    memory: PoseMemory,
    heads: Option<Heads>,
}

/// A frame after the encoder.
#[derive(Debug, Clone)]
pub struct EncodedFrame {
    /// (B, N, E) after the last norm.
    pub tokens: Tensor,
    /// Rows and columns of the token grid.
    pub grid: (usize, usize),
}

/// What goes from frame to frame.
#[derive(Debug, Clone)]
pub struct Recurrence {
    /// State tokens (B, S, D), normalised.
    pub state: Tensor,
    /// Pose memory (B, M, 2D).
    pub memory: Tensor,
    frames: usize,
}

/// Whether a frame changes what the next frame sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
    /// Keep the new state and memory.
    Update,
    /// Go on with the old ones.
    Hold,
    /// Start again from the initial ones.
    Reset,
}

/// A frame after the decoder.
#[derive(Debug, Clone)]
pub struct DecodedFrame {
    /// The pose query that entered (B, 1, D).
    pub pose_query: Tensor,
    /// The camera token (B, D): row 0 of the last layer, normalised.
    pub camera_token: Tensor,
    /// Image stream after every block, [pose; patches] (B, 1 + N, D); the last one normalised.
    pub image_layers: Vec<Tensor>,
    /// State stream after every block (B, S, D); the last one normalised.
    pub state_layers: Vec<Tensor>,
}

impl Cut3r {
    /// Reads the weights under `vb`. The heads are read when `with_heads` is set by
    /// [`Cut3rConfig::heads`]; the camera token alone does not need them.
    pub fn new(config: &Cut3rConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let c = config;
        let conv = Conv2dConfig { stride: c.patch_size, ..Conv2dConfig::default() };
        let decoder = |name: &str, heads: usize| -> Result<Vec<DecoderBlock>> {
            (0..c.dec_depth)
                .map(|i| DecoderBlock::new(c.dec_embed_dim, heads, c, &vb.pp(name).pp(i)))
                .collect()
        };
        Ok(Self {
            patch_embed: candle_nn::conv2d(
                3,
                c.enc_embed_dim,
                c.patch_size,
                conv,
                vb.pp("patch_embed.proj"),
            )?,
            encoder: (0..c.enc_depth)
                .map(|i| Block::new(c.enc_embed_dim, c.enc_num_heads, c, &vb.pp("enc_blocks").pp(i)))
                .collect::<Result<_>>()?,
            encoder_norm: LayerNorm::new(c.enc_embed_dim, c.norm_eps, &vb.pp("enc_norm"))?,
            embed: linear(c.enc_embed_dim, c.dec_embed_dim, true, &vb.pp("decoder_embed"))?,
            embed_state: linear(c.enc_embed_dim, c.dec_embed_dim, true, &vb.pp("decoder_embed_state"))?,
            register_tokens: vb.get((c.state_size, c.enc_embed_dim), "register_tokens.weight")?,
            pose_token: vb.get((1, 1, c.dec_embed_dim), "pose_token")?,
            image_blocks: decoder("dec_blocks", c.dec_num_heads)?,
            state_blocks: decoder("dec_blocks_state", c.state_dec_num_heads)?,
            image_norm: LayerNorm::new(c.dec_embed_dim, c.norm_eps, &vb.pp("dec_norm"))?,
            state_norm: LayerNorm::new(c.dec_embed_dim, c.norm_eps, &vb.pp("dec_norm_state"))?,
            memory: PoseMemory::new(c, &vb.pp("pose_retriever"))?,
            heads: c.heads.as_ref().map(|kind| Heads::new(kind, c, &vb.pp("downstream_head"))).transpose()?,
            config: c.clone(),
        })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &Cut3rConfig {
        &self.config
    }

    /// Encodes images (B, 3, H, W) in [-1, 1]; H and W are multiples of the patch size.
    pub fn encode(&self, images: &Tensor) -> Result<EncodedFrame> {
        let (_, _, height, width) = images.dims4()?;
        let patch = self.config.patch_size;
        if height % patch != 0 || width % patch != 0 {
            candle_core::bail!("CUT3R needs image sides that are multiples of {patch}, got {width}x{height}");
        }
        let mut tokens = self.patch_embed.forward(images)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        let grid = (height / patch, width / patch);
        let head_dim = self.config.enc_embed_dim / self.config.enc_num_heads;
        let precision = match self.config.encoder_rope {
            RopeDtype::F32 => RopePrecision::Full,
            RopeDtype::F16 => RopePrecision::Half,
        };
        let rope = Rope2d::new(&grid_positions(grid), head_dim, precision, images.device())?;
        for block in &self.encoder {
            tokens = block.forward(&tokens, &rope)?;
        }
        Ok(EncodedFrame { tokens: self.encoder_norm.forward(&tokens)?, grid })
    }

    /// The recurrence before the first frame of `batch` clips.
    pub fn start(&self, batch: usize) -> Result<Recurrence> {
        let (size, width) = (self.config.state_size, self.config.dec_embed_dim);
        let state = self.embed_state.forward(&self.register_tokens)?;
        let state = state.unsqueeze(0)?.expand((batch, size, width))?.contiguous()?;
        Ok(Recurrence { state, memory: self.memory.initial(batch)?, frames: 0 })
    }

    /// Decodes one frame against the recurrence and moves the recurrence on.
    pub fn step(
        &self,
        frame: &EncodedFrame,
        recurrence: &mut Recurrence,
        carry: Carry,
    ) -> Result<DecodedFrame> {
        let batch = frame.tokens.dim(0)?;
        let summary = frame.tokens.mean_keepdim(1)?; // (B, 1, E)
        let pose_query = if recurrence.frames == 0 {
            self.pose_token.expand((batch, 1, self.config.dec_embed_dim))?.contiguous()?
        } else {
            self.memory.inquire(&summary, &recurrence.memory)?
        };
        let (image_layers, state_layers) = self.decode(frame, &pose_query, &recurrence.state)?;
        let (Some(image), Some(state)) = (image_layers.last(), state_layers.last()) else {
            candle_core::bail!("CUT3R needs at least one decoder block");
        };
        let camera_row = image.narrow(1, 0, 1)?; // (B, 1, D)
        match carry {
            Carry::Update => {
                recurrence.memory = self.memory.update(&recurrence.memory, &summary, &camera_row)?;
                recurrence.state = state.clone();
            }
            Carry::Hold => {}
            Carry::Reset => *recurrence = self.start(batch)?,
        }
        // A reset restores the tensors; the pose query still comes from the memory.
        recurrence.frames += 1;
        let camera_token = camera_row.squeeze(1)?;
        Ok(DecodedFrame { pose_query, camera_token, image_layers, state_layers })
    }

    /// Everything that the heads say about a decoded frame; `None` without heads.
    pub fn heads(&self, frame: &EncodedFrame, decoded: &DecodedFrame) -> Result<Option<FrameHeads>> {
        self.heads.as_ref().map(|heads| heads.forward(frame, decoded)).transpose()
    }

    /// Pose and own points of a decoded frame, as [`Self::heads`] gives them, for a third of the
    /// work; `None` without heads.
    pub fn own_view(&self, frame: &EncodedFrame, decoded: &DecodedFrame) -> Result<Option<OwnView>> {
        self.heads.as_ref().map(|heads| heads.own_view(frame, decoded)).transpose()
    }

    /// Both streams after every block; the last entry is normalised.
    fn decode(
        &self,
        frame: &EncodedFrame,
        pose_query: &Tensor,
        state: &Tensor,
    ) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
        let c = &self.config;
        let device = frame.tokens.device();
        let mut positions = vec![(-1, -1)];
        positions.extend(grid_positions(frame.grid));
        let state_positions = state_positions(c.state_size);
        let rope = |positions: &[(i32, i32)], heads: usize| {
            Rope2d::new(positions, c.dec_embed_dim / heads, RopePrecision::Full, device)
        };
        // Each stream rotates queries and keys by its own head size.
        let image_ropes = (rope(&positions, c.dec_num_heads)?, rope(&state_positions, c.dec_num_heads)?);
        let state_ropes =
            (rope(&state_positions, c.state_dec_num_heads)?, rope(&positions, c.state_dec_num_heads)?);
        let mut image = Tensor::cat(&[pose_query, &self.embed.forward(&frame.tokens)?], 1)?;
        let mut state = state.clone();
        let (mut image_layers, mut state_layers) = (Vec::new(), Vec::new());
        for (image_block, state_block) in self.image_blocks.iter().zip(&self.state_blocks) {
            // Both read the other stream as it was before this block.
            let next_state = state_block.forward(&state, &image, Some((&state_ropes.0, &state_ropes.1)))?;
            let next_image = image_block.forward(&image, &state, Some((&image_ropes.0, &image_ropes.1)))?;
            (state, image) = (next_state, next_image);
            image_layers.push(image.clone());
            state_layers.push(state.clone());
        }
        if let (Some(image), Some(state)) = (image_layers.last_mut(), state_layers.last_mut()) {
            *image = self.image_norm.forward(image)?;
            *state = self.state_norm.forward(state)?;
        }
        Ok((image_layers, state_layers))
    }
}

/// (row, column) of every image token.
fn grid_positions((rows, columns): (usize, usize)) -> Vec<(i32, i32)> {
    (0..rows).flat_map(|row| (0..columns).map(move |column| (row as i32, column as i32))).collect()
}

/// (row, column) of every state token on a square-ish grid of even width.
fn state_positions(count: usize) -> Vec<(i32, i32)> {
    let root = count.isqrt();
    let width = root + root % 2;
    (0..count).map(|i| ((i / width) as i32, (i % width) as i32)).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::SeededVariables;

    /// A small network and random frames for it, (count, 3, 32, 32).
    pub(super) fn tiny(heads: HeadKind, count: usize) -> (Cut3r, Tensor) {
        let config = Cut3rConfig {
            enc_embed_dim: 16,
            enc_depth: 2,
            enc_num_heads: 2,
            dec_embed_dim: 24,
            dec_depth: 4,
            dec_num_heads: 2,
            state_dec_num_heads: 3,
            state_size: 6,
            local_mem_size: 5,
            heads: Some(heads),
            image_size: 32,
            ..Cut3rConfig::published()
        };
        let weights = SeededVariables::new(6).builder(DType::F32, &Device::Cpu);
        let images = Tensor::rand(-1f32, 1.0, (count, 3, 32, 32), &Device::Cpu).unwrap();
        (Cut3r::new(&config, &weights).unwrap(), images)
    }

    #[test]
    fn frames_encoded_together_are_those_encoded_alone() {
        let (network, images) = tiny(HeadKind::Linear, 5);
        let together = network.encode(&images).unwrap();
        assert_eq!((together.tokens.dims(), together.grid), ([5, 4, 16].as_slice(), (2, 2)));
        for at in 0..5 {
            let alone = network.encode(&images.narrow(0, at, 1).unwrap()).unwrap();
            let apart = |other: usize| {
                let other = together.tokens.narrow(0, other, 1).unwrap();
                let apart = (&alone.tokens - other).unwrap().abs().unwrap().max_all().unwrap();
                apart.to_scalar::<f32>().unwrap()
            };
            let (same, other) = (apart(at), apart((at + 1) % 5));
            assert!(same < 1e-5 && other > 1e-2, "{at}: {same} {other}");
        }
    }
}
