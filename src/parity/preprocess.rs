//! Pictures on their way into the networks: Pillow's resampling, SigLIP's and CUT3R's views.

use candle_core::{DType, Device, Tensor};

use super::{Bound, Fixture, ParityError};
use crate::geometry::ImageSize;
use crate::model::config::FrameFit;
use crate::model::preprocess::{cut3r_view, interpolate, level, pixels, square};

/// Largest difference of a value in [-1, 1].
const BOUND: f64 = 1e-6;
/// Side of SigLIP's pictures, and sides that CUT3R's loader is asked for.
const SIGLIP_SIDE: u32 = 384;
const CUT3R_SIDES: [(&str, u32); 2] = [("cut3r", 512), ("cut3r224", 224)];

pub(super) fn run(fixture: &mut Fixture) -> Result<(), ParityError> {
    fixture.set_bound(Bound::Absolute(BOUND));
    for part in ["siglip.safetensors", "cut3r.safetensors", "vlm3r_interp.safetensors"] {
        fixture.read(part)?;
    }
    if fixture.has_file("inputs.safetensors") {
        fixture.read("inputs.safetensors")?;
    }
    let table: Vec<f32> = (0..=255).map(level).collect();
    fixture.compare("siglip.level_table", &Tensor::new(table, &Device::Cpu)?)?;
    for index in 0.. {
        let name = format!("image{index}");
        let Some((rgb, size)) = picture(fixture, &name)? else { break };
        siglip(fixture, &name, &rgb, size)?;
        for (kind, side) in CUT3R_SIDES {
            cut3r(fixture, &format!("{kind}.{name}"), &rgb, size, side)?;
        }
    }
    let output = fixture.tensor("output")?;
    let (height, width) = (output.dim(2)?, output.dim(3)?);
    let got = interpolate(&fixture.tensor("input")?, height, width)?;
    fixture.compare("output", &got)
}

fn siglip(fixture: &mut Fixture, name: &str, rgb: &[u8], size: ImageSize) -> Result<(), ParityError> {
    let resized = square(rgb, size, SIGLIP_SIDE, FrameFit::Squash);
    let stored = format!("siglip.{name}.resized_u8");
    compare_picture(fixture, &stored, &resized)?;
    let side = ImageSize::new(SIGLIP_SIDE, SIGLIP_SIDE);
    let values = pixels(&[resized], side, DType::F32, &Device::Cpu)?;
    let crop = values.get(0)?.narrow(1, 0, 24)?.narrow(2, 160, 24)?;
    fixture.compare(&format!("siglip.{name}.pixel_values_crop"), &crop)
}

fn cut3r(
    fixture: &mut Fixture,
    name: &str,
    rgb: &[u8],
    size: ImageSize,
    side: u32,
) -> Result<(), ParityError> {
    let (view, view_size) = cut3r_view(rgb, size, side, false);
    let shape = |size: ImageSize| [i64::from(size.height), i64::from(size.width)];
    fixture.compare_ids(&format!("{name}.true_shape_hw"), &shape(view_size))?;
    compare_picture(fixture, &format!("{name}.cropped_u8"), &view)?;
    let values = pixels(&[view], view_size, DType::F32, &Device::Cpu)?;
    let crop = values.get(0)?.narrow(1, 0, 16)?.narrow(2, 0, 32)?;
    fixture.compare(&format!("{name}.img_crop"), &crop)?;
    let square = format!("{name}.square_ok_true_shape_hw");
    if fixture.holds(&square) {
        let (_, view_size) = cut3r_view(rgb, size, side, true);
        fixture.compare_ids(&square, &shape(view_size))?;
    }
    Ok(())
}

/// Bytes must be equal.
fn compare_picture(fixture: &mut Fixture, name: &str, got: &[u8]) -> Result<(), ParityError> {
    let Some((expected, _)) = picture(fixture, name)? else {
        return Err(fixture.wrong(format!("there is neither a tensor nor a PNG file {name}")));
    };
    let unequal = got.iter().zip(&expected).filter(|(a, b)| a != b).count();
    fixture.count(name, unequal + got.len().abs_diff(expected.len()), expected.len());
    Ok(())
}

/// A stored picture: a u8 tensor (height, width, 3), or a PNG file of that name.
fn picture(fixture: &Fixture, name: &str) -> Result<Option<(Vec<u8>, ImageSize)>, ParityError> {
    if fixture.holds(name) {
        let tensor = fixture.tensor(name)?;
        let (height, width, _) = tensor.dims3()?;
        let size = ImageSize::new(width as u32, height as u32);
        return Ok(Some((tensor.flatten_all()?.to_vec1()?, size)));
    }
    let path = fixture.path(&format!("preprocess.{name}.png"));
    if !path.exists() {
        return Ok(None);
    }
    let image = image::open(&path)
        .map_err(|error| ParityError::File { path, reason: error.to_string() })?
        .into_rgb8();
    let size = ImageSize::new(image.width(), image.height());
    Ok(Some((image.into_raw(), size)))
}
