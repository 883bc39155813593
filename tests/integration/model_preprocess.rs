//! Image preprocessing against Pillow, SigLIP's and CUT3R's own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use candle_core::{DType, Device, Tensor};
use loc3r::geometry::ImageSize;
use loc3r::model::config::FrameFit;
use loc3r::model::preprocess::{cut3r_view, interpolate, level, pixels, square};

use crate::golden::{golden, max_difference};

fn image(file: &str) -> (Vec<u8>, ImageSize) {
    let image = image::open(golden(file)).unwrap().into_rgb8();
    let size = ImageSize::new(image.width(), image.height());
    (image.into_raw(), size)
}

fn tensors(file: &str) -> std::collections::HashMap<String, Tensor> {
    candle_core::safetensors::load(golden(file), &Device::Cpu).unwrap()
}

#[test]
fn siglip_frames_equal_pillow_bit_for_bit() {
    let stored = tensors("preprocess.siglip.safetensors");
    for index in 0..3 {
        let (rgb, size) = image(&format!("preprocess.image{index}.png"));
        let resized = square(&rgb, size, 384, FrameFit::Squash);
        let (expected, expected_size) = image(&format!("preprocess.siglip.image{index}.resized_u8.png"));
        let unequal = resized.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!(unequal, 0, "bytes of image {index}");
        let values = pixels(&[resized], expected_size, DType::F32, &Device::Cpu).unwrap();
        let crop = values.get(0).unwrap().narrow(1, 0, 24).unwrap().narrow(2, 160, 24).unwrap();
        assert!(max_difference(&crop, &stored[&format!("siglip.image{index}.pixel_values_crop")]) <= 1e-6);
    }
    let table: Vec<f32> = (0..=255).map(level).collect();
    assert_eq!(table, stored["siglip.level_table"].to_vec1::<f32>().unwrap());
}

#[test]
fn cut3r_views_equal_its_own_loader() {
    let stored = tensors("preprocess.cut3r.safetensors");
    for (name, side) in [("cut3r", 512), ("cut3r224", 224)] {
        for index in 0..3 {
            let (rgb, size) = image(&format!("preprocess.image{index}.png"));
            let (view, view_size) = cut3r_view(&rgb, size, side, false);
            let (expected, expected_size) = image(&format!("preprocess.{name}.image{index}.cropped_u8.png"));
            assert_eq!(view_size, expected_size, "{name} {index}");
            assert!(view == expected, "{name} {index}");
        }
    }
    let (rgb, size) = image("preprocess.image2.png");
    let (_, square) = cut3r_view(&rgb, size, 512, true);
    let expected =
        stored["cut3r.image2.square_ok_true_shape_hw"].flatten_all().unwrap().to_vec1::<i64>().unwrap();
    assert_eq!([i64::from(square.height), i64::from(square.width)], *expected);
}

#[test]
fn bilinear_interpolation_of_the_camera_encoders_input() {
    let stored = tensors("preprocess.vlm3r_interp.safetensors");
    let got = interpolate(&stored["input"], 96, 96).unwrap();
    assert!(max_difference(&got, &stored["output"]) <= 1e-6);
}
