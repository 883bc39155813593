//! CUT3R frame by frame: encoder, recurrent decoder, pose memory, heads.

use candle_core::{Device, Tensor};

use super::{Bound, Fixture, ParityError};
use crate::model::cut3r::{
    Carry, Cut3r, Cut3rConfig, DecodedFrame, DptConfig, EncodedFrame, HeadKind, Recurrence, RopeDtype,
    camera_from_encoding,
};

/// Over the reference's own f32 noise; another order of the same sums fits.
const NOISE_FACTOR: f64 = 20.0;
/// Rounding to half precision may flip one unit in the last place of a query or key.
const F16_BOUND: f64 = 3e-3;
/// Results with the reference's half-precision rotary embedding, and what their names
/// begin with here.
const F16_TENSORS: &str = "io_f16rope.safetensors";
const F16_PREFIX: &str = "f16rope.";

pub(super) fn run(fixture: &mut Fixture) -> Result<(), ParityError> {
    fixture.read("io.safetensors")?;
    fixture.set_bound(Bound::Noise(NOISE_FACTOR));
    let network = network(fixture, RopeDtype::F32)?;
    all_frames(fixture, &network, "")?;
    masked_frames(fixture, &network)?;
    if fixture.has_file(F16_TENSORS) {
        fixture.read_as(F16_TENSORS, F16_PREFIX)?;
        fixture.set_bound(Bound::Absolute(F16_BOUND));
        all_frames(fixture, &self::network(fixture, RopeDtype::F16)?, F16_PREFIX)?;
    }
    Ok(())
}

fn network(fixture: &Fixture, rope: RopeDtype) -> Result<Cut3r, ParityError> {
    let size = |key: &str| fixture.size(key);
    let heads = match fixture.fact("/config/head_type")?.as_str() {
        Some("dpt") => {
            let mut layer_dims = [0; 4];
            for (layer, dim) in layer_dims.iter_mut().enumerate() {
                *dim = size(&format!("dpt/layer_dims/{layer}"))?;
            }
            HeadKind::Dpt(DptConfig {
                feature_dim: size("dpt/feature_dim")?,
                last_dim: size("dpt/last_dim")?,
                layer_dims,
            })
        }
        _ => HeadKind::Linear,
    };
    let config = Cut3rConfig {
        enc_embed_dim: size("enc_embed_dim")?,
        enc_depth: size("enc_depth")?,
        enc_num_heads: size("enc_num_heads")?,
        dec_embed_dim: size("dec_embed_dim")?,
        dec_depth: size("dec_depth")?,
        dec_num_heads: size("dec_num_heads")?,
        state_dec_num_heads: size("state_dec_num_heads")?,
        state_size: size("state_size")?,
        local_mem_size: size("local_mem_size")?,
        encoder_rope: rope,
        heads: Some(heads),
        ..Cut3rConfig::published()
    };
    Ok(Cut3r::new(&config, &fixture.weights()?)?)
}

/// The whole clip; stored names begin with `prefix`.
fn all_frames(fixture: &mut Fixture, network: &Cut3r, prefix: &str) -> Result<(), ParityError> {
    let images = fixture.tensor("images")?;
    let mut recurrence = network.start(1)?;
    for index in 0..images.dim(0)? {
        let at = format!("{prefix}frame{index}");
        let frame = network.encode(&images.narrow(0, index, 1)?)?;
        fixture.compare_if_stored(&format!("{at}.encoder_out"), &frame.tokens)?;
        let before = recurrence.clone();
        let decoded = network.step(&frame, &mut recurrence, Carry::Update)?;
        compare_decoded(fixture, &at, &before, &decoded, &recurrence)?;
        compare_heads(fixture, network, &at, &frame, &decoded)?;
    }
    Ok(())
}

/// The clip again, with frames that leave the state as it is or start it anew.
fn masked_frames(fixture: &mut Fixture, network: &Cut3r) -> Result<(), ParityError> {
    let images = fixture.tensor("images")?;
    let mut recurrence = network.start(1)?;
    for index in 0..images.dim(0)? {
        let flag = |key: &str| -> Result<bool, ParityError> {
            let pointer = format!("/masked_run/{key}/{index}");
            Ok(fixture.fact(&pointer)?.as_bool().unwrap_or_default())
        };
        let carry = match (flag("update")?, flag("reset")?) {
            (_, true) => Carry::Reset,
            (true, false) => Carry::Update,
            (false, false) => Carry::Hold,
        };
        let frame = network.encode(&images.narrow(0, index, 1)?)?;
        let before = recurrence.clone();
        let decoded = network.step(&frame, &mut recurrence, carry)?;
        compare_decoded(fixture, &format!("masked.frame{index}"), &before, &decoded, &recurrence)?;
    }
    Ok(())
}

fn compare_decoded(
    fixture: &mut Fixture,
    at: &str,
    before: &Recurrence,
    decoded: &DecodedFrame,
    after: &Recurrence,
) -> Result<(), ParityError> {
    fixture.compare_if_stored(&format!("{at}.state_in"), &before.state)?;
    fixture.compare_if_stored(&format!("{at}.mem_in"), &before.memory)?;
    fixture.compare_if_stored(&format!("{at}.pose_token_in"), &decoded.pose_query)?;
    for (layer, (image, state)) in decoded.image_layers.iter().zip(&decoded.state_layers).enumerate() {
        fixture.compare_if_stored(&format!("{at}.dec_img_layer{}", layer + 1), image)?;
        fixture.compare_if_stored(&format!("{at}.dec_state_layer{}", layer + 1), state)?;
    }
    fixture.compare_if_stored(&format!("{at}.camera_token"), &decoded.camera_token)?;
    fixture.compare_if_stored(&format!("{at}.state_out"), &after.state)?;
    fixture.compare_if_stored(&format!("{at}.mem_out"), &after.memory)
}

fn compare_heads(
    fixture: &mut Fixture,
    network: &Cut3r,
    at: &str,
    frame: &EncodedFrame,
    decoded: &DecodedFrame,
) -> Result<(), ParityError> {
    let Some(heads) = network.heads(frame, decoded)? else { return Ok(()) };
    fixture.compare_if_stored(&format!("{at}.camera_pose"), &heads.camera_pose)?;
    fixture.compare_if_stored(&format!("{at}.pts3d_in_self_view"), &heads.own.points)?;
    fixture.compare_if_stored(&format!("{at}.conf_self"), &heads.own.confidence)?;
    fixture.compare_if_stored(&format!("{at}.pts3d_in_other_view"), &heads.world.points)?;
    fixture.compare_if_stored(&format!("{at}.conf"), &heads.world.confidence)?;
    fixture.compare_if_stored(&format!("{at}.rgb"), &heads.rgb)?;
    let encoding: Vec<f32> = heads.camera_pose.flatten_all()?.to_vec1()?;
    let encoding = encoding.try_into().map_err(|_length| fixture.wrong("poses have 7 numbers".to_owned()))?;
    let rows = camera_from_encoding(encoding).transpose().to_cols_array();
    let matrix = Tensor::from_slice(&rows, (4, 4), &Device::Cpu)?;
    fixture.compare_if_stored(&format!("{at}.cam_to_world"), &matrix)
}
