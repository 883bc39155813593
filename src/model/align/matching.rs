//! Which cells of two frames show the same place: soft assignment with a bin for
//! "not seen there", its training loss, and the differentiable planar fit.
//!
//! Shapes: P pairs, n cells of frame a, m cells of frame b.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::log_softmax;

use super::dense_head::DenseOutput;

/// Spread of the heights of one place seen from two frames, metres.
const HEIGHT_SIGMA: f64 = 0.35;

/// The cells of one side of P pairs.
#[derive(Debug, Clone)]
pub struct MatchSide {
    /// Unit descriptors (P, n, d).
    pub descriptor: Tensor,
    /// Score of having no partner (P, n).
    pub unmatched: Tensor,
    /// Levelled points (P, n, 3), metres.
    pub point: Tensor,
    /// Ln of the Laplace scales (P, n, 3).
    pub log_scale: Tensor,
}

impl MatchSide {
    /// Picks frames (indices, u32, shape (P)) of a dense output.
    pub fn of_frames(dense: &DenseOutput, frames: &Tensor) -> Result<Self> {
        let pick = |x: &Tensor| x.contiguous()?.index_select(frames, 0);
        Ok(Self {
            descriptor: pick(&dense.descriptor)?,
            unmatched: pick(&dense.unmatched)?,
            point: pick(&dense.point)?,
            log_scale: pick(&dense.log_scale)?,
        })
    }
}

/// Log-probabilities of partners seen from both sides; the last column is "none".
#[derive(Debug, Clone)]
pub struct Assignment {
    /// (P, n, m + 1): partner in b of every cell of a.
    pub b_given_a: Tensor,
    /// (P, m, n + 1): partner in a of every cell of b.
    pub a_given_b: Tensor,
}

impl Assignment {
    /// Compares descriptors (times `gain`) and heights.
    pub fn new(a: &MatchSide, b: &MatchSide, gain: &Tensor) -> Result<Self> {
        let products = a.descriptor.matmul(&b.descriptor.t()?.contiguous()?)?.broadcast_mul(gain)?;
        let height = |side: &MatchSide| side.point.narrow(D::Minus1, 2, 1)?.detach().contiguous();
        let difference = height(a)?.broadcast_sub(&height(b)?.t()?.contiguous()?)?;
        let scores = (products - (difference.sqr()? * (0.5 / (HEIGHT_SIGMA * HEIGHT_SIGMA)))?)?;
        let with_none = |scores: &Tensor, none: &Tensor| {
            log_softmax(&Tensor::cat(&[scores, &none.unsqueeze(D::Minus1)?], D::Minus1)?, D::Minus1)
        };
        Ok(Self {
            b_given_a: with_none(&scores, &a.unmatched)?,
            a_given_b: with_none(&scores.t()?.contiguous()?, &b.unmatched)?,
        })
    }

    /// Mean negative log-likelihood of true partners: (P, n) and (P, m) indices
    /// (u32; the last index is "none").
    pub fn loss(&self, b_of_a: &Tensor, a_of_b: &Tensor) -> Result<Tensor> {
        let side = |log: &Tensor, target: &Tensor| {
            log.gather(&target.unsqueeze(D::Minus1)?.contiguous()?, D::Minus1)?.mean_all()?.neg()
        };
        (side(&self.b_given_a, b_of_a)? + side(&self.a_given_b, a_of_b)?)? * 0.5
    }

    /// Probability that cells are mutual partners, (P, n, m).
    pub fn mutual(&self) -> Result<Tensor> {
        let (m, n) = (self.b_given_a.dim(D::Minus1)? - 1, self.a_given_b.dim(D::Minus1)? - 1);
        let forth = self.b_given_a.narrow(D::Minus1, 0, m)?;
        let back = self.a_given_b.narrow(D::Minus1, 0, n)?.transpose(1, 2)?;
        (forth + back)?.exp()
    }
}

/// Weight of a cell in a fit: inverse square of its planar spread, (P, n).
pub fn precision(log_scale: &Tensor) -> Result<Tensor> {
    let planar = log_scale.narrow(D::Minus1, 0, 2)?.exp()?.sqr()?.mean(D::Minus1)?;
    (planar + 0.01)?.recip()
}

/// Differentiable planar fit of P pairs: `a_from_b` as cosine and sine of the
/// turn (P, 2) and shift (P, 2) in metres, from mutual probabilities.
pub fn soft_procrustes(mutual: &Tensor, a: &MatchSide, b: &MatchSide) -> Result<(Tensor, Tensor)> {
    let planar = |side: &MatchSide| side.point.narrow(D::Minus1, 0, 2)?.contiguous();
    let (points_a, points_b) = (planar(a)?, planar(b)?); // (P, n, 2)
    let weights = mutual
        .broadcast_mul(&precision(&a.log_scale)?.unsqueeze(2)?)?
        .broadcast_mul(&precision(&b.log_scale)?.unsqueeze(1)?)?;
    let total = (weights.sum((1, 2))? + 1e-6)?; // (P)
    let weights = weights.broadcast_div(&total.reshape(((), 1, 1))?)?;
    let row = weights.sum(2)?.unsqueeze(1)?; // (P, 1, n)
    let column = weights.sum(1)?.unsqueeze(1)?;
    let mean_a = row.matmul(&points_a)?; // (P, 1, 2)
    let mean_b = column.matmul(&points_b)?;
    // Σ w b aᵀ - b̄ āᵀ: (P, 2, 2)
    let cross = points_b.t()?.contiguous()?.matmul(&weights.t()?.contiguous()?.matmul(&points_a)?)?;
    let cross = (cross - mean_b.t()?.contiguous()?.matmul(&mean_a)?)?;
    let entry = |i: usize, j: usize| cross.narrow(1, i, 1)?.narrow(2, j, 1)?.reshape(((), 1));
    let cosine = (entry(0, 0)? + entry(1, 1)?)?;
    let sine = (entry(0, 1)? - entry(1, 0)?)?;
    let norm = ((cosine.sqr()? + sine.sqr()?)? + 1e-8)?.sqrt()?;
    let (cosine, sine) = ((cosine / &norm)?, (sine / &norm)?);
    let (mean_a, mean_b) = (mean_a.squeeze(1)?, mean_b.squeeze(1)?);
    let (bx, by) = (mean_b.narrow(1, 0, 1)?, mean_b.narrow(1, 1, 1)?);
    let turned =
        Tensor::cat(&[((&cosine * &bx)? - (&sine * &by)?)?, ((&sine * &bx)? + (&cosine * &by)?)?], 1)?;
    Ok((Tensor::cat(&[cosine, sine], 1)?, (mean_a - turned)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::align::planar::{PlanarPose, tests::grid_of_points};
    use candle_core::{DType, Device};
    use glam::Vec2;

    fn side(points: &[Vec2]) -> MatchSide {
        let n = points.len();
        let device = Device::Cpu;
        let flat: Vec<f32> = points.iter().flat_map(|p| [p.x, p.y, 0.5]).collect();
        // One-hot descriptors: cell k matches cell k.
        let descriptor = Tensor::eye(n, DType::F32, &device).unwrap().unsqueeze(0).unwrap();
        MatchSide {
            descriptor,
            unmatched: Tensor::zeros((1, n), DType::F32, &device).unwrap(),
            point: Tensor::from_vec(flat, (1, n, 3), &device).unwrap(),
            log_scale: Tensor::full(-2f32, (1, n, 3), &device).unwrap(),
        }
    }

    #[test]
    fn right_descriptors_give_the_right_motion() {
        let pose = PlanarPose { shift: Vec2::new(0.6, -0.4), yaw: 0.5 };
        let points = grid_of_points();
        let (a, b) = (side(&points.iter().map(|p| pose.apply(*p)).collect::<Vec<_>>()), side(&points));
        let gain = Tensor::new(&[25f32], &Device::Cpu).unwrap();
        let assignment = Assignment::new(&a, &b, &gain).unwrap();
        let (turn, shift) = soft_procrustes(&assignment.mutual().unwrap(), &a, &b).unwrap();
        let turn: Vec<f32> = turn.flatten_all().unwrap().to_vec1().unwrap();
        let shift: Vec<f32> = shift.flatten_all().unwrap().to_vec1().unwrap();
        assert!((turn[1].atan2(turn[0]) - pose.yaw).abs() < 1e-3);
        assert!(Vec2::new(shift[0], shift[1]).distance(pose.shift) < 1e-2);
        let truth = Tensor::arange(0u32, points.len() as u32, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let loss: f32 = assignment.loss(&truth, &truth).unwrap().to_scalar().unwrap();
        assert!(loss < 1e-3, "{loss}");
    }

    #[test]
    fn probabilities_with_the_none_bin_sum_to_one() {
        let points = grid_of_points();
        let s = side(&points);
        let gain = Tensor::new(&[3f32], &Device::Cpu).unwrap();
        let assignment = Assignment::new(&s, &s, &gain).unwrap();
        let sums: Vec<f32> =
            assignment.b_given_a.exp().unwrap().sum(2).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-4));
    }
}
