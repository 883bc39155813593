//! The pose memory: what the camera tokens of earlier frames were, looked up by
//! the mean image feature.

use candle_core::{Result, Tensor};
use candle_nn::{Module as _, VarBuilder};

use super::Cut3rConfig;
use super::blocks::DecoderBlock;
use crate::model::layers::{Linear, linear};

/// Blocks of each direction.
const BLOCKS: usize = 2;

#[derive(Debug, Clone)]
pub(super) struct PoseMemory {
    initial: Tensor,
    masked_token: Tensor,
    proj_q: Linear,
    write_blocks: Vec<DecoderBlock>,
    read_blocks: Vec<DecoderBlock>,
}

impl PoseMemory {
    pub(super) fn new(c: &Cut3rConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let width = 2 * c.dec_embed_dim;
        let blocks = |name: &str| -> Result<Vec<DecoderBlock>> {
            (0..BLOCKS).map(|i| DecoderBlock::new(width, c.dec_num_heads, c, &vb.pp(name).pp(i))).collect()
        };
        Ok(Self {
            initial: vb.get((1, c.local_mem_size, width), "mem")?,
            masked_token: vb.get((1, 1, c.dec_embed_dim), "masked_token")?,
            proj_q: linear(c.enc_embed_dim, c.dec_embed_dim, true, &vb.pp("proj_q"))?,
            write_blocks: blocks("write_blocks")?,
            read_blocks: blocks("read_blocks")?,
        })
    }

    /// (B, M, 2D) before the first frame.
    pub(super) fn initial(&self, batch: usize) -> Result<Tensor> {
        let (_, size, width) = self.initial.dims3()?;
        self.initial.expand((batch, size, width))?.contiguous()
    }

    /// The pose query (B, 1, D) for a frame whose mean feature is `summary` (B, 1, E).
    pub(super) fn inquire(&self, summary: &Tensor, memory: &Tensor) -> Result<Tensor> {
        let key = self.proj_q.forward(summary)?;
        let (batch, _, width) = key.dims3()?;
        let masked = self.masked_token.expand((batch, 1, width))?;
        let mut query = Tensor::cat(&[&key, &masked], 2)?;
        for block in &self.read_blocks {
            query = block.forward(&query, memory, None)?;
        }
        query.narrow(2, width, width)?.contiguous()
    }

    /// The memory after a frame with mean feature `summary` and camera token (B, 1, D).
    pub(super) fn update(&self, memory: &Tensor, summary: &Tensor, camera_token: &Tensor) -> Result<Tensor> {
        let entry = Tensor::cat(&[&self.proj_q.forward(summary)?, camera_token], 2)?;
        self.write_blocks
            .iter()
            .try_fold(memory.clone(), |memory, block| block.forward(&memory, &entry, None))
    }
}
