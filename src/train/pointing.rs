//! Nouns that attend to what they name.
//!
//! Not part of Loc3R-VLM. In the layer before nouns are asked for a position, some
//! attention heads are told where to look: the attention of a noun over the video is
//! compared with the tokens that show its object, each by its share. Without it a
//! decoder that starts from nothing takes very long to find that words match tokens.
//!
//! A noun competes for its own attention with the words before it: most of all with
//! itself, which nothing resembles more.
//!
//! Shapes: H heads, n nouns, P rows before the question (head of the prompt and video),
//! L rows of a question, G key heads of width d.

use candle_core::{D, Device, Tensor};
use glam::Vec2;

use super::clip::{ClipView, NO_OBJECT, tokens_over_cells};

/// Heads that are told where to look; the others stay free.
pub const POINTING_HEADS: usize = 2;

/// Added to the scores of rows that a noun does not see.
const UNSEEN: f32 = -1e9;

/// A noun with the tokens that show what it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Pointer {
    /// Row of the noun's last token among all rows of the questions.
    pub row: u32,
    /// Clip of the batch.
    pub clip: usize,
    /// Vision tokens of the clip, frame-major, and the share of each.
    pub tokens: Vec<(u32, f32)>,
}

/// For every object, the tokens of the pooled grid that show it, frame-major over the
/// views, and the share of their cells that do.
pub fn tokens_showing(views: &[ClipView], pooled_grid: usize, objects: usize) -> Vec<Vec<(u32, f32)>> {
    let mut shown: Vec<Vec<(u32, f32)>> = vec![Vec::new(); objects];
    for (frame, view) in views.iter().enumerate() {
        let first = frame * pooled_grid * pooled_grid;
        let (over, share) = tokens_over_cells(view.object.len(), pooled_grid);
        for (&object, token) in view.object.iter().zip(over) {
            let Some(tokens) = shown.get_mut(usize::from(object)).filter(|_| object != NO_OBJECT) else {
                continue;
            };
            let token = (first + token) as u32;
            match tokens.iter_mut().rev().find(|(known, _)| *known == token) {
                Some((_, sum)) => *sum += share,
                None => tokens.push((token, share)),
            }
        }
    }
    shown
}

/// Attention scores (H', n, P + L) of the first [`POINTING_HEADS`] heads of nouns of one clip.
/// `queries` (H, n, d); `keys` (G, P + K L, d) of the clip, the rows before its K questions and
/// those of all of them; `nouns` are each noun's question and place in it, behind which it sees
/// nothing; `sizes` are P and L.
pub fn pointing_scores(
    queries: &Tensor,
    keys: &Tensor,
    nouns: &[(u32, u32)],
    sizes: (usize, usize),
) -> candle_core::Result<Tensor> {
    let (all_heads, count, _) = queries.dims3()?;
    let (groups, rows, width) = keys.dims3()?;
    let (prefix, length) = sizes;
    let heads = POINTING_HEADS.min(all_heads);
    let queries = queries.narrow(0, 0, heads)?;
    let group_of: Vec<u32> = (0..heads).map(|head| (head * groups / all_heads) as u32).collect();
    let keys = keys.index_select(&Tensor::new(group_of, keys.device())?, 0)?;
    let before = keys.narrow(1, 0, prefix)?;
    let over_video = queries.contiguous()?.matmul(&before.t()?.contiguous()?)?;

    let questions: Vec<u32> = nouns.iter().map(|noun| noun.0).collect();
    let own = keys.narrow(1, prefix, rows - prefix)?.reshape((heads, (), length, width))?;
    let own = own.transpose(0, 1)?.contiguous()?;
    let own = own.index_select(&Tensor::new(questions, own.device())?, 0)?; // (n, H', L, d)
    let each = queries.transpose(0, 1)?.unsqueeze(2)?.contiguous()?; // (n, H', 1, d)
    let over_words = each.matmul(&own.t()?.contiguous()?)?.squeeze(2)?.transpose(0, 1)?;
    let hidden: Vec<f32> = nouns
        .iter()
        .flat_map(|noun| (0..length as u32).map(move |at| if at > noun.1 { UNSEEN } else { 0.0 }))
        .collect();
    let hidden = Tensor::from_vec(hidden, (1, count, length), queries.device())?;
    Tensor::cat(&[over_video, over_words.broadcast_add(&hidden)?], 2)
}

/// What the attention of the nouns `pointers` over `rows` rows, those before the question
/// and its own, should be, (n, rows); `patches` are the rows of the vision tokens.
pub fn wanted_attention(
    pointers: &[Pointer],
    patches: &[u32],
    rows: usize,
    device: &Device,
) -> candle_core::Result<Tensor> {
    let mut wanted = vec![0f32; pointers.len() * rows];
    for (pointer, wanted) in pointers.iter().zip(wanted.chunks_mut(rows)) {
        let sum: f32 = pointer.tokens.iter().map(|(_, share)| share).sum();
        for (token, share) in &pointer.tokens {
            if let Some(row) = patches.get(*token as usize) {
                wanted[*row as usize] = share / sum.max(f32::MIN_POSITIVE);
            }
        }
    }
    Tensor::from_vec(wanted, (pointers.len(), rows), device)
}

/// Cross entropy of attention scores (H, n, R) and what the attention should be, (n, R).
pub fn pointing_loss(scores: &Tensor, wanted: &Tensor) -> candle_core::Result<Tensor> {
    let likelihood = candle_nn::ops::log_softmax(scores, D::Minus1)?;
    likelihood.broadcast_mul(wanted)?.sum(D::Minus1)?.mean_all()?.neg()
}

/// How well nouns point.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pointed {
    /// Nouns whose mean attention is highest on a token that shows their object.
    pub right: usize,
    /// Per noun the share of its attention on tokens that show its object.
    pub on_object: Vec<f32>,
    /// Per noun the distance between the mean place it attends to and that of the tokens
    /// that show its object, metres.
    pub away: Vec<f32>,
}

/// Attention scores (H, n, R) against what the attention should be (n, R). `clips` is the
/// clip of every noun, `patches` are the rows of the vision tokens, `layout` (B, M, 2) their
/// true places in metres.
pub fn pointed(
    scores: &Tensor,
    wanted: &Tensor,
    clips: impl Iterator<Item = usize>,
    patches: &[u32],
    layout: &Tensor,
) -> candle_core::Result<Pointed> {
    let attention = candle_nn::ops::softmax(scores, D::Minus1)?.mean(0)?;
    let best = attention.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let (attention, wanted) = (attention.to_vec2::<f32>()?, wanted.to_vec2::<f32>()?);
    let layout = layout.to_vec3::<f32>()?;
    let mut pointed = Pointed::default();
    for (((attention, wanted), best), clip) in attention.iter().zip(&wanted).zip(best).zip(clips) {
        pointed.right += usize::from(wanted[best as usize] > 0.0);
        let hits = attention.iter().zip(wanted).filter(|(_, wanted)| **wanted > 0.0);
        pointed.on_object.push(hits.map(|(share, _)| share).sum());
        let Some(places) = layout.get(clip) else { continue };
        let mean = |shares: &[f32]| {
            let mut sum = (Vec2::ZERO, 0.0);
            for (row, place) in patches.iter().zip(places) {
                let share = shares[*row as usize];
                sum = (sum.0 + Vec2::new(place[0], place[1]) * share, sum.1 + share);
            }
            sum.0 / sum.1.max(f32::MIN_POSITIVE)
        };
        pointed.away.push(mean(attention).distance(mean(wanted)));
    }
    Ok(pointed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::odometry::planar::PlanarPose;

    fn view(object: &[u16]) -> ClipView {
        ClipView {
            rgb: Vec::new(),
            category: vec![1; object.len()],
            color: vec![0; object.len()],
            object: object.to_vec(),
            point: Vec::new(),
            planar: PlanarPose::IDENTITY,
            view: [0.0; 5],
            token_points: Vec::new(),
        }
    }

    #[test]
    fn objects_know_the_tokens_that_show_them() {
        let none = NO_OBJECT;
        let first = view(&[1, 1, none, none, 1, none, none, none, 0, 0, 0, 0, 0, 0, 0, 0]);
        let second =
            view(&[none, none, none, 1, none, none, none, none, none, none, none, none, 0, none, none, none]);
        let shown = tokens_showing(&[first, second], 2, 3);
        assert_eq!(shown[0], [(2, 1.0), (3, 1.0), (6, 0.25)]);
        assert_eq!(shown[1], [(0, 0.75), (5, 0.25)]);
        assert!(shown[2].is_empty());
    }

    #[test]
    fn nouns_compete_with_the_words_before_them() {
        // One head of width 1; two video rows; two questions of two rows.
        let queries = Tensor::new(&[[[1f32], [1.0]]], &Device::Cpu).unwrap();
        let keys = Tensor::new(&[[[1f32], [2.0], [3.0], [4.0], [5.0], [6.0]]], &Device::Cpu).unwrap();
        let scores = pointing_scores(&queries, &keys, &[(0, 0), (1, 1)], (2, 2)).unwrap();
        let scores = scores.squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(scores[0][..3], [1.0, 2.0, 3.0]);
        assert!(scores[0][3] < -1e8);
        assert_eq!(scores[1], [1.0, 2.0, 5.0, 6.0]);
    }

    #[test]
    fn attention_on_the_object_costs_less_and_counts() {
        let pointer = Pointer { row: 0, clip: 0, tokens: vec![(1, 0.5), (2, 0.5)] };
        let wanted = wanted_attention(&[pointer], &[2, 3, 4], 6, &Device::Cpu).unwrap();
        assert_eq!(wanted.to_vec2::<f32>().unwrap(), [[0.0, 0.0, 0.0, 0.5, 0.5, 0.0]]);
        let scores = |at: usize| {
            let mut row = vec![0f32; 6];
            row[at] = 3.0;
            Tensor::from_vec(row, (1, 1, 6), &Device::Cpu).unwrap()
        };
        let loss = |at| pointing_loss(&scores(at), &wanted).unwrap().to_scalar::<f32>().unwrap();
        assert!(loss(3) < loss(5));
        let layout = Tensor::new(&[[[0f32, 0.0], [3.0, 0.0], [5.0, 0.0]]], &Device::Cpu).unwrap();
        let pointed = |best| pointed(&scores(best), &wanted, [0].into_iter(), &[2, 3, 4], &layout).unwrap();
        let (hit, miss) = (pointed(4), pointed(5));
        assert_eq!((hit.right, miss.right), (1, 0));
        assert!(hit.on_object[0] > 0.8 && miss.on_object[0] < 0.1, "{hit:?} {miss:?}");
        assert!(hit.away[0] < miss.away[0]);
    }
}
