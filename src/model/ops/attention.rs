//! Scaled dot-product attention that never holds the scores of more than one
//! block of queries; the backward pass computes them again block by block
//! (Dao et al., FlashAttention, without the key blocks: a row of scores fits
//! the cache). Parallel over batch, heads and query blocks.
//!
//! Inside, a query head is a matrix (queries, dim) with any row stride, and
//! results are head-major: (batch, heads, length, dim).

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, CustomOp3, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::gemm::{Into, Matrix, Threads, multiply, multiply_strided};
use super::lanes::{dot, exp_shifted};
use super::storage::{Values, tensor_like};
use super::{AttentionMask, HeadCounts};

/// Scores of one block take about this many values (384 KiB: within L2).
const BLOCK_SCORES: usize = 96 * 1024;

/// How heads lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadLayout {
    /// (batch, heads, length, dim), any strides but the last.
    Separate,
    /// (batch, length, heads · dim) with these numbers of heads.
    InTokens(HeadCounts),
    /// (batch, length, (heads + 2 kv_heads) · dim): q, k, v in one tensor.
    Packed(HeadCounts),
}

/// The mask as the kernel sees it.
#[derive(Debug, Clone)]
enum Masking {
    None,
    Causal {
        offset: usize,
    },
    Continuations {
        prefix: usize,
        length: usize,
    },
    /// Expanded to (batch, heads, queries, keys), unit stride along keys.
    Additive(Tensor),
}

/// The operation; `q`, `k`, `v` in the same [`HeadLayout`].
pub(super) struct Attention {
    scale: f32,
    layout: HeadLayout,
    masking: Masking,
}

/// One operand: `length` rows of `dim` values for each batch and head.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "the number of heads is called heads")]
struct Heads<'a> {
    values: &'a [f32],
    batch: usize,
    heads: usize,
    length: usize,
    dim: usize,
    strides: [usize; 3],
}

impl<'a> Heads<'a> {
    /// All heads of (batch, heads, length, dim).
    fn separate(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let values = Self::values(storage, layout)?;
        let (&[batch, heads, length, dim], &[b, h, l, _]) = (layout.dims(), layout.stride()) else {
            candle_core::bail!("attention: an operand has shape {:?}", layout.dims())
        };
        Ok(Self { values, batch, heads, length, dim, strides: [b, h, l] })
    }

    /// Heads `first..first + heads` of the `parts` in (batch, length, parts · dim).
    fn in_tokens(
        storage: &'a CpuStorage,
        layout: &Layout,
        parts: usize,
        (first, heads): (usize, usize),
    ) -> Result<Self> {
        let values = Self::values(storage, layout)?;
        let (&[batch, length, width], &[b, l, _]) = (layout.dims(), layout.stride()) else {
            candle_core::bail!("attention: an operand has shape {:?}", layout.dims())
        };
        if parts == 0 || !width.is_multiple_of(parts) {
            candle_core::bail!("attention: {parts} heads in a width of {width}");
        }
        let dim = width / parts;
        let values = values.get(first * dim..).unwrap_or_default();
        Ok(Self { values, batch, heads, length, dim, strides: [b, dim, l] })
    }

    fn values(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
        if layout.stride().last() != Some(&1) && layout.dims().last().is_some_and(|&dim| dim > 1) {
            candle_core::bail!("attention: the values of a head must lie side by side");
        }
        match storage {
            CpuStorage::F32(values) => Ok(&values[layout.start_offset()..]),
            _ => candle_core::bail!("attention: operands must be f32"),
        }
    }

    /// Rows from `first` on, `count` of them.
    fn matrix(&self, batch: usize, head: usize, first: usize, count: usize) -> Matrix<'a> {
        let start = batch * self.strides[0] + head * self.strides[1] + first * self.strides[2];
        let values = self.values.get(start..).unwrap_or_default();
        Matrix::strided(values, count, self.dim, self.strides[2])
    }

    fn row(&self, batch: usize, head: usize, row: usize) -> &'a [f32] {
        let start = batch * self.strides[0] + head * self.strides[1] + row * self.strides[2];
        &self.values[start..start + self.dim]
    }
}

/// The operands of one call and its sizes.
struct Problem<'a> {
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    /// Query heads per key head.
    groups: usize,
    scale: f32,
    mask: Mask<'a>,
}

#[derive(Clone, Copy)]
enum Mask<'a> {
    None,
    Causal { offset: usize },
    Continuations { prefix: usize, length: usize },
    Additive { values: &'a [f32], strides: [usize; 3] },
}

impl Attention {
    /// The operation for operands of these shapes: `heads_queries_keys` are
    /// (batch, query heads, queries, keys).
    pub(super) fn new(
        scale: f64,
        layout: HeadLayout,
        mask: AttentionMask<'_>,
        shape: (usize, usize, usize, usize),
    ) -> Result<Self> {
        let masking = match mask {
            AttentionMask::None => Masking::None,
            AttentionMask::Causal { offset } => Masking::Causal { offset },
            AttentionMask::Continuations { prefix, length } => Masking::Continuations { prefix, length },
            AttentionMask::Additive(mask) => {
                let side_by_side = mask.layout().stride().last() == Some(&1);
                let full = mask.dim(D::Minus1).is_ok_and(|keys| keys == shape.3);
                let mask = if side_by_side && full {
                    mask.clone()
                } else {
                    let rows = mask.rank().checked_sub(2).map_or(Ok(1), |axis| mask.dim(axis))?;
                    mask.broadcast_as((rows, shape.3)).or_else(|_| mask.broadcast_as(shape))?.contiguous()?
                };
                Masking::Additive(mask.broadcast_as(shape)?.detach())
            }
        };
        Ok(Self { scale: scale as f32, layout, masking })
    }

    /// An operand with `heads` heads in the layout of results.
    fn heads<'a>(&self, storage: &'a CpuStorage, layout: &Layout, heads: usize) -> Result<Heads<'a>> {
        match self.layout {
            HeadLayout::Separate => Heads::separate(storage, layout),
            HeadLayout::InTokens(_) | HeadLayout::Packed(_) => {
                Heads::in_tokens(storage, layout, heads, (0, heads))
            }
        }
    }

    /// Heads of queries and of keys; 0 where the operands tell.
    fn counts(&self) -> HeadCounts {
        match self.layout {
            HeadLayout::Separate => HeadCounts::equal(0),
            HeadLayout::InTokens(counts) | HeadLayout::Packed(counts) => counts,
        }
    }

    fn with_problem<R>(&self, [q, k, v]: [Heads<'_>; 3], solve: impl FnOnce(&Problem<'_>) -> R) -> Result<R> {
        let matching = k.heads > 0
            && q.heads % k.heads == 0
            && (q.batch, q.dim) == (k.batch, k.dim)
            && (k.batch, k.heads, k.length, k.dim) == (v.batch, v.heads, v.length, v.dim);
        if !matching {
            candle_core::bail!("attention: shapes of q {q:?}, k {k:?} and v {v:?} disagree");
        }
        if let Masking::Causal { offset } = self.masking
            && offset + q.length > k.length
        {
            candle_core::bail!("attention: {} queries after {offset} keys, but {} keys", q.length, k.length);
        }
        if let Masking::Continuations { prefix, length } = self.masking
            && (prefix + q.length != k.length || length == 0 || !q.length.is_multiple_of(length))
        {
            candle_core::bail!(
                "attention: {} queries in continuations of {length} behind {prefix} keys, but {} keys",
                q.length,
                k.length
            );
        }
        let mask_values =
            if let Masking::Additive(mask) = &self.masking { Some(Values::of(mask)) } else { None };
        let mask = match (&self.masking, &mask_values) {
            (Masking::Additive(mask), Some(values)) => {
                let (CpuStorage::F32(values), layout) = values.cpu()? else {
                    candle_core::bail!("attention: the mask must be f32")
                };
                let strides = mask.layout().stride();
                let strides = [strides[0], strides[1], strides[2]];
                Mask::Additive { values: &values[layout.start_offset()..], strides }
            }
            (Masking::Causal { offset }, _) => Mask::Causal { offset: *offset },
            (Masking::Continuations { prefix, length }, _) => {
                Mask::Continuations { prefix: *prefix, length: *length }
            }
            _ => Mask::None,
        };
        Ok(solve(&Problem { q, k, v, groups: q.heads / k.heads, scale: self.scale, mask }))
    }

    /// Head-major values to the shape of the operand they belong to.
    fn lay_out(&self, values: Vec<f32>, heads: usize, length: usize, dim: usize) -> Vec<f32> {
        match self.layout {
            HeadLayout::Separate => values,
            HeadLayout::InTokens(_) | HeadLayout::Packed(_) => {
                to_tokens(&[(&values, heads)], values.len(), length, dim)
            }
        }
    }
}

impl Problem<'_> {
    /// Queries of a block; those of one continuation see the same keys.
    fn block_rows(&self) -> usize {
        match self.mask {
            Mask::Continuations { length, .. } => length,
            _ => (BLOCK_SCORES / self.k.length.max(1)).clamp(16, 128),
        }
    }

    /// The keys that any of `count` queries from `first` on may see.
    fn visible(&self, first: usize, count: usize) -> [Range<usize>; 2] {
        match self.mask {
            Mask::Causal { offset } => [0..(offset + first + count).min(self.k.length), 0..0],
            Mask::Continuations { prefix, .. } => [0..prefix, prefix + first..prefix + first + count],
            _ => [0..self.k.length, 0..0],
        }
    }

    /// Probabilities of `count` queries from `first` on over the keys that they see, (count,
    /// keys) in `scores`; returns the number of keys.
    fn probabilities(
        &self,
        (batch, head): (usize, usize),
        (first, count): (usize, usize),
        scores: &mut Vec<f32>,
    ) -> usize {
        let seen = self.visible(first, count);
        let keys = seen[0].len() + seen[1].len();
        scores.resize(count * keys, 0.0);
        let q = self.q.matrix(batch, head, first, count);
        for (at, seen) in [0, seen[0].len()].into_iter().zip(&seen) {
            let k = self.k.matrix(batch, head / self.groups, seen.start, seen.len());
            let scores = scores.get_mut(at..).unwrap_or_default();
            multiply_strided(scores, keys, Into::Replace, self.scale, q, k.t(), Threads::One);
        }
        for (i, row) in scores.chunks_mut(keys.max(1)).enumerate() {
            let open = match self.mask {
                Mask::None => keys,
                Mask::Causal { offset } => offset + first + i + 1,
                Mask::Continuations { prefix, .. } => prefix + i + 1,
                Mask::Additive { values, strides } => {
                    let start = batch * strides[0] + head * strides[1] + (first + i) * strides[2];
                    row.iter_mut().zip(&values[start..]).for_each(|(score, add)| *score += add);
                    keys
                }
            };
            let (row, closed) = row.split_at_mut(open);
            closed.fill(0.0);
            let (_, total) = exp_shifted(row);
            let inverse = 1.0 / total;
            for p in row.iter_mut() {
                *p *= inverse;
            }
        }
        keys
    }

    fn forward(&self) -> Vec<f32> {
        let (heads, length, dim) = (self.q.heads, self.q.length, self.q.dim);
        let rows = self.block_rows();
        let mut out = vec![0.0; self.q.batch * heads * length * dim];
        if out.is_empty() {
            return out;
        }
        out.par_chunks_mut(length * dim).enumerate().for_each(|(index, out)| {
            let (batch, head) = (index / heads, index % heads);
            out.par_chunks_mut(rows * dim).enumerate().for_each_init(Vec::new, |scores, (block, out)| {
                let count = out.len() / dim;
                let keys = self.probabilities((batch, head), (block * rows, count), scores);
                let seen = self.visible(block * rows, count);
                for (scores, seen, into) in parts(scores, (count, keys), seen) {
                    let v = self.v.matrix(batch, head / self.groups, seen.start, seen.len());
                    multiply(out, into, 1.0, scores, v, Threads::One);
                }
            });
        });
        out
    }

    /// Head-major gradients of q, k and v; those of k and v have one entry per
    /// key head. `out` and `grad` are the result and its gradient.
    fn backward(&self, out: Heads<'_>, grad: Heads<'_>) -> [Vec<f32>; 3] {
        let (heads, dim) = (self.q.heads, self.q.dim);
        let (q_size, k_size) = (self.q.length * dim, self.k.length * dim);
        let count = self.q.batch * heads;
        let mut dq = vec![0.0; count * q_size];
        let mut dk = vec![0.0; count * k_size];
        let mut dv = vec![0.0; count * k_size];
        if !dq.is_empty() && !dk.is_empty() {
            dq.par_chunks_mut(q_size)
                .zip(dk.par_chunks_mut(k_size))
                .zip(dv.par_chunks_mut(k_size))
                .enumerate()
                .for_each_init(<[Vec<f32>; 2]>::default, |scratch, (index, ((dq, dk), dv))| {
                    self.head_backward((index / heads, index % heads), out, grad, [dq, dk, dv], scratch);
                });
        }
        [dq, sum_groups(dk, k_size, self.groups), sum_groups(dv, k_size, self.groups)]
    }

    fn head_backward(
        &self,
        (batch, head): (usize, usize),
        out: Heads<'_>,
        grad: Heads<'_>,
        [dq, dk, dv]: [&mut [f32]; 3],
        [scores, slopes]: &mut [Vec<f32>; 2],
    ) {
        let dim = self.q.dim;
        let rows = self.block_rows();
        for (block, dq) in dq.chunks_mut(rows * dim).enumerate() {
            let (first, count) = (block * rows, dq.len() / dim);
            let keys = self.probabilities((batch, head), (first, count), scores);
            let seen = self.visible(first, count);
            let q = self.q.matrix(batch, head, first, count);
            let g = grad.matrix(batch, head, first, count);
            slopes.resize(count * keys, 0.0);
            for (at, seen) in [0, seen[0].len()].into_iter().zip(&seen) {
                let v = self.v.matrix(batch, head / self.groups, seen.start, seen.len());
                let slopes = slopes.get_mut(at..).unwrap_or_default();
                multiply_strided(slopes, keys, Into::Replace, 1.0, g, v.t(), Threads::One);
            }
            for (scores, seen, _) in parts(scores, (count, keys), seen.clone()) {
                let dv = &mut dv[seen.start * dim..seen.end * dim];
                multiply(dv, Into::Add, 1.0, scores.t(), g, Threads::One);
            }
            for (i, (slope, p)) in slopes.chunks_mut(keys).zip(scores.chunks(keys)).enumerate() {
                let (o, g) = (out.row(batch, head, first + i), grad.row(batch, head, first + i));
                let along = dot(o, g);
                slope.iter_mut().zip(p).for_each(|(slope, p)| *slope = p * (*slope - along));
            }
            for (slopes, seen, into) in parts(slopes, (count, keys), seen) {
                let k = self.k.matrix(batch, head / self.groups, seen.start, seen.len());
                multiply(dq, into, self.scale, slopes, k, Threads::One);
                let dk = &mut dk[seen.start * dim..seen.end * dim];
                multiply(dk, Into::Add, self.scale, slopes.t(), q, Threads::One);
            }
        }
    }
}

/// The columns of (count, keys) `values` that belong to each of the keys `seen`, and whether
/// their products are the first ones.
fn parts(
    values: &[f32],
    (count, keys): (usize, usize),
    seen: [Range<usize>; 2],
) -> impl Iterator<Item = (Matrix<'_>, Range<usize>, Into)> {
    let [first, second] = seen;
    let starts = [(0, first, Into::Replace), (keys - second.len(), second, Into::Add)];
    starts.into_iter().filter(|(_, seen, into)| !seen.is_empty() || *into == Into::Replace).map(
        move |(at, seen, into)| {
            let columns = values.get(at..).unwrap_or_default();
            (Matrix::strided(columns, count, seen.len(), keys), seen, into)
        },
    )
}

/// Adds up the `groups` query heads that share a key head.
fn sum_groups(values: Vec<f32>, size: usize, groups: usize) -> Vec<f32> {
    if groups == 1 || size == 0 {
        return values;
    }
    let mut out = vec![0.0; values.len() / groups];
    out.par_chunks_mut(size).zip(values.par_chunks(size * groups)).for_each(|(out, heads)| {
        for head in heads.chunks(size) {
            out.iter_mut().zip(head).for_each(|(out, value)| *out += value);
        }
    });
    out
}

/// Head-major (batch, heads, length, dim) parts side by side in the tokens of
/// one (batch, length, all heads · dim) of `size` values.
fn to_tokens(parts: &[(&[f32], usize)], size: usize, length: usize, dim: usize) -> Vec<f32> {
    let width = dim * parts.iter().map(|(_, heads)| heads).sum::<usize>();
    let mut out = vec![0.0; size];
    if out.is_empty() {
        return out;
    }
    out.par_chunks_mut(width).with_min_len(16).enumerate().for_each(|(token, mut out)| {
        let (batch, position) = (token / length, token % length);
        for &(values, heads) in parts {
            let (part, rest) = out.split_at_mut(heads * dim);
            for (head, out) in part.chunks_mut(dim).enumerate() {
                let start = ((batch * heads + head) * length + position) * dim;
                out.copy_from_slice(&values[start..start + dim]);
            }
            out = rest;
        }
    });
    out
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        ql: &Layout,
        k: &CpuStorage,
        kl: &Layout,
        v: &CpuStorage,
        vl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let counts = self.counts();
        let operands = [
            self.heads(q, ql, counts.queries)?,
            self.heads(k, kl, counts.keys)?,
            self.heads(v, vl, counts.keys)?,
        ];
        let out = self.with_problem(operands, |problem| {
            self.lay_out(problem.forward(), problem.q.heads, problem.q.length, problem.q.dim)
        })?;
        Ok((CpuStorage::F32(out), ql.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let operands = [q, k, v, out, &grad].map(Values::of);
        let counts = self.counts();
        let heads = |index: usize, heads: usize| {
            let (storage, layout) = operands[index].cpu()?;
            self.heads(storage, layout, heads)
        };
        let (out, grad) = (heads(3, counts.queries)?, heads(4, counts.queries)?);
        let operands = [heads(0, counts.queries)?, heads(1, counts.keys)?, heads(2, counts.keys)?];
        let [dq, dk, dv] = self.with_problem(operands, |problem| {
            let [dq, dk, dv] = problem.backward(out, grad);
            let (k, dim) = (problem.k, problem.q.dim);
            [
                self.lay_out(dq, problem.q.heads, problem.q.length, dim),
                self.lay_out(dk, k.heads, k.length, dim),
                self.lay_out(dv, k.heads, k.length, dim),
            ]
        })?;
        Ok((Some(tensor_like(dq, q)?), Some(tensor_like(dk, k)?), Some(tensor_like(dv, v)?)))
    }
}

/// [`Attention`] on one packed operand.
pub(super) struct PackedAttention(pub(super) Attention);

impl PackedAttention {
    fn operands<'a>(&self, storage: &'a CpuStorage, layout: &Layout) -> Result<[Heads<'a>; 3]> {
        let HeadCounts { queries, keys } = self.0.counts();
        let part = |range| Heads::in_tokens(storage, layout, queries + 2 * keys, range);
        Ok([part((0, queries))?, part((queries, keys))?, part((queries + keys, keys))?])
    }
}

impl CustomOp1 for PackedAttention {
    fn name(&self) -> &'static str {
        "packed attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (out, shape) = self.0.with_problem(self.operands(qkv, layout)?, |problem| {
            let q = problem.q;
            let out = self.0.lay_out(problem.forward(), q.heads, q.length, q.dim);
            (out, Shape::from((q.batch, q.length, q.heads * q.dim)))
        })?;
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(&self, qkv: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let [qkv_values, out, grad] = [qkv, out, &grad].map(Values::of);
        let HeadCounts { queries, keys } = self.0.counts();
        let ((out, out_layout), (grad, grad_layout)) = (out.cpu()?, grad.cpu()?);
        let (out, grad) =
            (self.0.heads(out, out_layout, queries)?, self.0.heads(grad, grad_layout, queries)?);
        let (storage, layout) = qkv_values.cpu()?;
        let gradient = self.0.with_problem(self.operands(storage, layout)?, |problem| {
            let [dq, dk, dv] = problem.backward(out, grad);
            let size = dq.len() + dk.len() + dv.len();
            to_tokens(&[(&dq, queries), (&dk, keys), (&dv, keys)], size, problem.q.length, problem.q.dim)
        })?;
        tensor_like(gradient, qkv).map(Some)
    }
}
