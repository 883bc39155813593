//! Pose encodings: seven numbers (translation, quaternion wxyz) and rigid transforms.

use candle_core::{D, Result, Tensor};
use glam::{Mat3, Mat4, Vec3};

use super::heads::exp_length;
use crate::geometry::CameraPose;

/// Smallest quaternion length that is divided by.
const SMALLEST_NORM: f64 = 1e-12;

/// Raw head output (B, 7) to a pose encoding (B, 7): the translation's length is
/// exponential, the quaternion a unit one with w >= 0.
pub fn pose_encoding(raw: &Tensor) -> Result<Tensor> {
    Tensor::cat(&[exp_length(&raw.narrow(1, 0, 3)?)?, standard_quaternion(&raw.narrow(1, 3, 4)?)?], 1)
}

/// CUT3R's "inverse" of the pose postprocessing, t·|t| / expm1(|t|): kept for
/// parity; it does not undo [`pose_encoding`].
pub fn inverse_encoding(encoding: &Tensor) -> Result<Tensor> {
    let t = encoding.narrow(1, 0, 3)?;
    let length = t.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    let denominator = (length.exp()? - 1.0)?.maximum(1e-8)?;
    let translation = t.broadcast_mul(&length)?.broadcast_div(&denominator)?;
    Tensor::cat(&[translation, standard_quaternion(&encoding.narrow(1, 3, 4)?)?], 1)
}

fn standard_quaternion(q: &Tensor) -> Result<Tensor> {
    let norm = q.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(SMALLEST_NORM)?;
    let unit = q.broadcast_div(&norm)?;
    let w = unit.narrow(1, 0, 1)?;
    let sign = w.ge(&w.zeros_like()?)?.to_dtype(w.dtype())?.affine(2.0, -1.0)?;
    unit.broadcast_mul(&sign)
}

/// The camera-to-world transform of an encoding; divides by the squared length of
/// the quaternion, so that it need not be a unit one.
pub fn camera_from_encoding(encoding: [f32; 7]) -> Mat4 {
    let [tx, ty, tz, w, x, y, z] = encoding;
    let two_over = 2.0 / (w * w + x * x + y * y + z * z);
    let rows = [
        Vec3::new(1.0 - two_over * (y * y + z * z), two_over * (x * y - z * w), two_over * (x * z + y * w)),
        Vec3::new(two_over * (x * y + z * w), 1.0 - two_over * (x * x + z * z), two_over * (y * z - x * w)),
        Vec3::new(two_over * (x * z - y * w), two_over * (y * z + x * w), 1.0 - two_over * (x * x + y * y)),
    ];
    let rotation = Mat3::from_cols(rows[0], rows[1], rows[2]).transpose();
    let mut matrix = Mat4::from_mat3(rotation);
    matrix.w_axis = Vec3::new(tx, ty, tz).extend(1.0);
    matrix
}

/// The encoding of a camera-to-world pose, w >= 0.
pub fn encoding_from_camera(pose: &CameraPose) -> [f32; 7] {
    let q = if pose.rotation.w < 0.0 { -pose.rotation } else { pose.rotation };
    let t = pose.position;
    [t.x, t.y, t.z, q.w, q.x, q.y, q.z]
}
