//! CUT3R against tensors of the PyTorch reference (tests/golden/cut3r_*, pose.*).
//!
//! Bound per tensor: 20 times the difference between a float32 and a float64 run
//! of the reference, which the JSON beside the tensors states.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use loc3r::geometry::CameraPose;
use loc3r::model::cut3r::{
    self, Carry, Cut3r, Cut3rConfig, DecodedFrame, DptConfig, EncodedFrame, HeadKind, Recurrence, RopeDtype,
};
use serde_json::Value;

/// Over the reference's own float32 noise; another order of the same sums fits.
const NOISE_FACTOR: f64 = 20.0;
/// Floor of every bound.
const SMALLEST_BOUND: f64 = 1e-6;
/// Tensors of four frames that leave encoder, decoder, memory and heads.
const OUTPUTS: usize = 72;
/// Half-precision rounding may flip one unit in the last place of a query or key.
const F16_BOUND: f64 = 3e-3;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn tensors(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden(name), &Device::Cpu).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden(name)).unwrap()).unwrap()
}

fn max_abs_difference(got: &Tensor, want: &Tensor) -> f64 {
    let want = want.to_dtype(DType::F32).unwrap();
    assert_eq!(got.elem_count(), want.elem_count(), "{:?} against {:?}", got.shape(), want.shape());
    let difference = (got.flatten_all().unwrap() - want.flatten_all().unwrap()).unwrap().abs().unwrap();
    f64::from(difference.max(0).unwrap().to_scalar::<f32>().unwrap())
}

struct Fixture {
    want: HashMap<String, Tensor>,
    facts: Value,
    fixed_bound: Option<f64>,
    compared: usize,
}

impl Fixture {
    fn check(&mut self, name: &str, got: &Tensor) {
        let Some(want) = self.want.get(name) else { return };
        let noise = self.facts["tensors"][name]["f32_vs_f64_max_abs_diff"].as_f64().unwrap_or(0.0);
        let bound = self.fixed_bound.unwrap_or((NOISE_FACTOR * noise).max(SMALLEST_BOUND));
        let difference = max_abs_difference(got, want);
        assert!(difference <= bound, "{name}: {difference:e} exceeds {bound:e}");
        self.compared += 1;
    }
}

fn network(name: &str, rope: RopeDtype) -> (Cut3r, Value) {
    let facts = json(&format!("{name}.json"));
    let c = &facts["config"];
    let size = |key: &str| c[key].as_u64().unwrap() as usize;
    let heads = match c["head_type"].as_str().unwrap() {
        "dpt" => HeadKind::Dpt(DptConfig {
            feature_dim: c["dpt"]["feature_dim"].as_u64().unwrap() as usize,
            last_dim: c["dpt"]["last_dim"].as_u64().unwrap() as usize,
            layer_dims: std::array::from_fn(|i| c["dpt"]["layer_dims"][i].as_u64().unwrap() as usize),
        }),
        _ => HeadKind::Linear,
    };
    let config = Cut3rConfig {
        enc_embed_dim: size("enc_embed_dim"),
        enc_depth: size("enc_depth"),
        enc_num_heads: size("enc_num_heads"),
        dec_embed_dim: size("dec_embed_dim"),
        dec_depth: size("dec_depth"),
        dec_num_heads: size("dec_num_heads"),
        state_dec_num_heads: size("state_dec_num_heads"),
        state_size: size("state_size"),
        local_mem_size: size("local_mem_size"),
        encoder_rope: rope,
        heads: Some(heads),
        ..Cut3rConfig::published()
    };
    let weights = tensors(&format!("{name}.weights.safetensors"));
    let vb = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
    (Cut3r::new(&config, &vb).unwrap(), facts)
}

fn check_decoded(
    fixture: &mut Fixture,
    at: &str,
    before: &Recurrence,
    decoded: &DecodedFrame,
    after: &Recurrence,
) {
    fixture.check(&format!("{at}.state_in"), &before.state);
    fixture.check(&format!("{at}.mem_in"), &before.memory);
    fixture.check(&format!("{at}.pose_token_in"), &decoded.pose_query);
    fixture.check(&format!("{at}.camera_token"), &decoded.camera_token);
    for (layer, (image, state)) in decoded.image_layers.iter().zip(&decoded.state_layers).enumerate() {
        fixture.check(&format!("{at}.dec_img_layer{}", layer + 1), image);
        fixture.check(&format!("{at}.dec_state_layer{}", layer + 1), state);
    }
    fixture.check(&format!("{at}.state_out"), &after.state);
    fixture.check(&format!("{at}.mem_out"), &after.memory);
}

fn check_heads(
    fixture: &mut Fixture,
    network: &Cut3r,
    at: &str,
    frame: &EncodedFrame,
    decoded: &DecodedFrame,
) {
    let heads = network.heads(frame, decoded).unwrap().unwrap();
    fixture.check(&format!("{at}.camera_pose"), &heads.camera_pose);
    fixture.check(&format!("{at}.pts3d_in_self_view"), &heads.own.points);
    fixture.check(&format!("{at}.conf_self"), &heads.own.confidence);
    fixture.check(&format!("{at}.pts3d_in_other_view"), &heads.world.points);
    fixture.check(&format!("{at}.conf"), &heads.world.confidence);
    fixture.check(&format!("{at}.rgb"), &heads.rgb);
    let encoding: Vec<f32> = heads.camera_pose.flatten_all().unwrap().to_vec1().unwrap();
    let matrix = cut3r::camera_from_encoding(encoding.try_into().unwrap());
    let rows = matrix.transpose().to_cols_array();
    fixture.check(&format!("{at}.cam_to_world"), &Tensor::new(&rows, &Device::Cpu).unwrap());
}

fn run(name: &str, io: &str, rope: RopeDtype, fixed_bound: Option<f64>) -> usize {
    let (network, facts) = network(name, rope);
    let inputs = tensors(&format!("{name}.io.safetensors"));
    let images = &inputs["images"];
    let mut fixture = Fixture { want: tensors(io), facts, fixed_bound, compared: 0 };
    let mut recurrence = network.start(1).unwrap();
    for i in 0..images.dim(0).unwrap() {
        let at = format!("frame{i}");
        let frame = network.encode(&images.narrow(0, i, 1).unwrap()).unwrap();
        fixture.check(&format!("{at}.encoder_out"), &frame.tokens);
        let before = recurrence.clone();
        let decoded = network.step(&frame, &mut recurrence, Carry::Update).unwrap();
        check_decoded(&mut fixture, &at, &before, &decoded, &recurrence);
        check_heads(&mut fixture, &network, &at, &frame, &decoded);
    }
    fixture.compared
}

#[test]
fn dpt_network_matches_the_reference() {
    let compared = run("cut3r_dpt", "cut3r_dpt.io.safetensors", RopeDtype::F32, None);
    assert_eq!(compared, OUTPUTS);
}

#[test]
fn linear_network_matches_the_reference() {
    let compared = run("cut3r_linear", "cut3r_linear.io.safetensors", RopeDtype::F32, None);
    assert_eq!(compared, OUTPUTS);
}

#[test]
fn half_precision_rope_matches_the_reference() {
    let compared = run("cut3r_dpt", "cut3r_dpt.io_f16rope.safetensors", RopeDtype::F16, Some(F16_BOUND));
    assert!(compared >= 30, "only {compared} tensors were compared");
}

#[test]
fn held_and_reset_frames_match_the_reference() {
    for name in ["cut3r_dpt", "cut3r_linear"] {
        let (network, facts) = network(name, RopeDtype::F32);
        let inputs = tensors(&format!("{name}.io.safetensors"));
        let mut fixture = Fixture { want: inputs.clone(), facts, fixed_bound: None, compared: 0 };
        let mut recurrence = network.start(1).unwrap();
        for i in 0..inputs["images"].dim(0).unwrap() {
            let flag = |key: &str| fixture.facts["masked_run"][key][i].as_bool().unwrap();
            let carry = match (flag("update"), flag("reset")) {
                (_, true) => Carry::Reset,
                (true, false) => Carry::Update,
                (false, false) => Carry::Hold,
            };
            let frame = network.encode(&inputs["images"].narrow(0, i, 1).unwrap()).unwrap();
            let before = recurrence.clone();
            let decoded = network.step(&frame, &mut recurrence, carry).unwrap();
            check_decoded(&mut fixture, &format!("masked.frame{i}"), &before, &decoded, &recurrence);
        }
        assert!(fixture.compared >= 16, "only {} tensors were compared", fixture.compared);
    }
}

#[test]
fn pose_encodings_match_the_reference() {
    let (io, facts) = (tensors("pose.io.safetensors"), json("pose.json"));
    let bound = facts["tolerance"]["suggested_atol"].as_f64().unwrap();
    let rows = |name: &str| io[name].to_vec2::<f32>().unwrap();
    assert!(max_abs_difference(&cut3r::pose_encoding(&io["raw"]).unwrap(), &io["encoding"]) <= bound);
    assert!(
        max_abs_difference(&cut3r::inverse_encoding(&io["inverse_in"]).unwrap(), &io["inverse_out"]) <= bound
    );
    for (input, output) in [("encoding", "cam_to_world"), ("unnormalised", "unnormalised_cam")] {
        // The last row of `encoding` is not a rotation; the formula still gives the reference's numbers.
        for (row, want) in rows(input).into_iter().zip(io[output].to_vec3::<f32>().unwrap()) {
            let got = cut3r::camera_from_encoding(row.try_into().unwrap()).transpose().to_cols_array();
            let worst =
                got.iter().zip(want.concat()).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
            assert!(worst <= bound, "{output}: {worst:e}");
        }
    }
    let matrices = io["cam_to_world"].to_vec3::<f32>().unwrap();
    for (matrix, want) in matrices.iter().zip(rows("roundtrip")) {
        let flat: [f32; 16] = matrix.concat().try_into().unwrap();
        let pose = CameraPose::from_matrix(glam::Mat4::from_cols_array(&flat).transpose()).unwrap();
        let got = cut3r::encoding_from_camera(&pose);
        let worst = got.iter().zip(want).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        assert!(worst <= bound, "roundtrip: {worst:e}");
    }
}
