//! CUT3R's encoding of camera poses.

use super::{Bound, Fixture, ParityError};
use crate::geometry::CameraPose;
use crate::model::cut3r::{camera_from_encoding, encoding_from_camera, inverse_encoding, pose_encoding};

pub(super) fn run(fixture: &mut Fixture) -> Result<(), ParityError> {
    fixture.read("io.safetensors")?;
    let bound = fixture.fact("/tolerance/suggested_atol")?.as_f64();
    let bound = bound.ok_or_else(|| fixture.wrong("its tolerance is not a number".to_owned()))?;
    fixture.set_bound(Bound::Absolute(bound));
    let encoding = pose_encoding(&fixture.tensor("raw")?)?;
    fixture.compare("encoding", &encoding)?;
    let inverse = inverse_encoding(&fixture.tensor("inverse_in")?)?;
    fixture.compare("inverse_out", &inverse)?;
    // The last row of `encoding` is not a rotation; the formula still gives the reference's numbers.
    for (input, output) in [("encoding", "cam_to_world"), ("unnormalised", "unnormalised_cam")] {
        let rows = fixture.tensor(input)?.to_vec2::<f32>()?;
        let mut found = Vec::new();
        for row in rows {
            let row =
                row.try_into().map_err(|_length| fixture.wrong(format!("{input} has not 7 columns")))?;
            found.extend(camera_from_encoding(row).transpose().to_cols_array().map(f64::from));
        }
        let expected = fixture.numbers(output)?;
        fixture.compare_numbers(output, &found, &expected);
    }
    for (matrices, encodings) in [("cam_to_world", "roundtrip"), ("matrices_edge", "matrices_edge_enc")] {
        let expected = fixture.numbers(encodings)?;
        let matrices = fixture.numbers(matrices)?;
        let mut found = Vec::new();
        // What is no rotation comes last and has no encoding.
        for matrix in matrices.chunks_exact(16).take(expected.len() / 7) {
            let flat: [f32; 16] = std::array::from_fn(|k| matrix[k] as f32);
            let pose = CameraPose::from_matrix(glam::Mat4::from_cols_array(&flat).transpose());
            found.extend(pose.map_or([f64::NAN; 7], |pose| encoding_from_camera(&pose).map(f64::from)));
        }
        fixture.compare_numbers(encodings, &found, &expected);
    }
    Ok(())
}
