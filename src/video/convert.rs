//! From a decoded picture to upright RGB: colour matrix, range and rotation.

use ffmpeg_next as ffmpeg;

use ffmpeg::ffi;
use ffmpeg::format::Pixel;
use ffmpeg::frame::Video as Picture;
use ffmpeg::software::scaling;
use ffmpeg::util::color;

use crate::geometry::ImageSize;

/// Clockwise turn that makes pictures upright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rotation {
    /// Already upright.
    None,
    /// A quarter clockwise.
    Quarter,
    /// Upside down.
    Half,
    /// A quarter counter-clockwise.
    ThreeQuarters,
}

impl Rotation {
    /// Reads the nine 16.16 fixed point numbers of a display matrix (native byte order).
    /// Also says whether the matrix asks for more than a turn by quarters.
    pub(super) fn from_display_matrix(bytes: &[u8]) -> (Self, bool) {
        let mut matrix = [0.0f64; 9];
        if bytes.len() < 36 {
            return (Self::None, false);
        }
        for (value, chunk) in matrix.iter_mut().zip(bytes.chunks_exact(4)) {
            *value = f64::from(i32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]));
        }
        let [a, b, _, c, d, ..] = matrix;
        if a.hypot(c) == 0.0 || b.hypot(d) == 0.0 {
            return (Self::None, true);
        }
        let clockwise = (b / b.hypot(d)).atan2(a / a.hypot(c)).to_degrees();
        let quarters = (clockwise / 90.0).round();
        let mirrored = a * d - b * c < 0.0;
        let skewed = (clockwise - quarters * 90.0).abs() > 1.0;
        (Self::from_quarters(quarters as i32), mirrored || skewed)
    }

    fn from_quarters(quarters: i32) -> Self {
        match quarters.rem_euclid(4) {
            0 => Self::None,
            1 => Self::Quarter,
            2 => Self::Half,
            _ => Self::ThreeQuarters,
        }
    }

    /// 0, 90, 180 or 270.
    pub(super) fn degrees(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Quarter => 90,
            Self::Half => 180,
            Self::ThreeQuarters => 270,
        }
    }

    /// Size after the turn.
    pub(super) fn upright(self, stored: ImageSize) -> ImageSize {
        match self {
            Self::None | Self::Half => stored,
            Self::Quarter | Self::ThreeQuarters => ImageSize::new(stored.height, stored.width),
        }
    }

    /// Copies rows of `stride` bytes holding `stored.width` RGB pixels to an upright
    /// picture without gaps.
    fn apply(self, rows: &[u8], stride: usize, stored: ImageSize) -> Vec<u8> {
        let (width, height) = (stored.width as usize, stored.height as usize);
        let size = self.upright(stored);
        if self == Self::None {
            return rows
                .chunks(stride)
                .take(height)
                .map(|row| &row[..width * 3])
                .collect::<Vec<_>>()
                .concat();
        }
        let mut upright = Vec::with_capacity(size.pixels() * 3);
        for y in 0..size.height as usize {
            for x in 0..size.width as usize {
                let (column, row) = match self {
                    Self::None => (x, y),
                    Self::Quarter => (y, height - 1 - x),
                    Self::Half => (width - 1 - x, height - 1 - y),
                    Self::ThreeQuarters => (width - 1 - y, x),
                };
                let at = row * stride + column * 3;
                upright.extend_from_slice(&rows[at..at + 3]);
            }
        }
        upright
    }
}

/// What a scaler is made for; another picture needs another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    format: Pixel,
    size: ImageSize,
    matrix: i32,
    full_range: bool,
}

/// Converts pictures of one video to upright RGB of one size.
pub(super) struct Converter {
    stored: ImageSize,
    rotation: Rotation,
    scaler: Option<(Layout, scaling::Context)>,
}

impl Converter {
    /// `stored` is the size before the turn; pictures of another size are scaled to it.
    pub(super) fn new(stored: ImageSize, rotation: Rotation) -> Self {
        Self { stored, rotation, scaler: None }
    }

    /// `height * width * 3` bytes of upright RGB.
    ///
    /// # Errors
    /// When FFmpeg does not know the pixel format.
    pub(super) fn rgb(&mut self, picture: &Picture) -> Result<Vec<u8>, ffmpeg::Error> {
        let layout = layout_of(picture);
        if self.scaler.as_ref().is_none_or(|(made_for, _)| *made_for != layout) {
            self.scaler = Some((layout, scaler(layout, self.stored)?));
        }
        let Some((_, scaler)) = &mut self.scaler else { return Err(ffmpeg::Error::Bug) };
        let mut rgb = Picture::empty();
        scaler.run(picture, &mut rgb)?;
        Ok(self.rotation.apply(rgb.data(0), rgb.stride(0), self.stored))
    }
}

/// Pictures that do not say which matrix they use get BT.709 from 720 lines or 1280
/// columns on and BT.601 below, as players do.
fn layout_of(picture: &Picture) -> Layout {
    let size = ImageSize::new(picture.width(), picture.height());
    let matrix = match picture.color_space() {
        color::Space::BT709 => ffi::SWS_CS_ITU709,
        color::Space::BT2020NCL | color::Space::BT2020CL => ffi::SWS_CS_BT2020,
        color::Space::SMPTE240M => ffi::SWS_CS_SMPTE240M,
        color::Space::FCC => ffi::SWS_CS_FCC,
        color::Space::BT470BG | color::Space::SMPTE170M => ffi::SWS_CS_ITU601,
        _ if size.width >= 1280 || size.height >= 720 => ffi::SWS_CS_ITU709,
        _ => ffi::SWS_CS_ITU601,
    };
    let full_format =
        matches!(picture.format(), Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P);
    let full_range = full_format || picture.color_range() == color::Range::JPEG;
    Layout { format: picture.format(), size, matrix, full_range }
}

fn scaler(layout: Layout, stored: ImageSize) -> Result<scaling::Context, ffmpeg::Error> {
    let flags = scaling::Flags::BILINEAR | scaling::Flags::ACCURATE_RND | scaling::Flags::FULL_CHR_H_INT;
    let mut scaler = scaling::Context::get(
        layout.format,
        layout.size.width,
        layout.size.height,
        Pixel::RGB24,
        stored.width,
        stored.height,
        flags,
    )?;
    set_colours(&mut scaler, layout);
    Ok(scaler)
}

#[expect(unsafe_code, reason = "ffmpeg-next does not wrap sws_setColorspaceDetails")]
fn set_colours(scaler: &mut scaling::Context, layout: Layout) {
    const ONE: i32 = 1 << 16;
    // SAFETY: the context is valid and exclusively borrowed; the coefficient tables are
    // static data of libswscale and are copied by the call.
    unsafe {
        let source = ffi::sws_getCoefficients(layout.matrix);
        let target = ffi::sws_getCoefficients(ffi::SWS_CS_DEFAULT);
        // A refusal means that the format has no matrix (RGB, grey): nothing to set then.
        ffi::sws_setColorspaceDetails(
            scaler.as_mut_ptr(),
            source,
            i32::from(layout.full_range),
            target,
            1,
            0,
            ONE,
            ONE,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(values: [i32; 4]) -> Vec<u8> {
        let [a, b, c, d] = values.map(|value| value << 16);
        [a, b, 0, c, d, 0, 0, 0, 1 << 30].iter().flat_map(|value| value.to_ne_bytes()).collect()
    }

    #[test]
    fn display_matrices_turn_clockwise() {
        assert_eq!(Rotation::from_display_matrix(&matrix([1, 0, 0, 1])), (Rotation::None, false));
        assert_eq!(Rotation::from_display_matrix(&matrix([0, 1, -1, 0])), (Rotation::Quarter, false));
        assert_eq!(Rotation::from_display_matrix(&matrix([-1, 0, 0, -1])), (Rotation::Half, false));
        assert_eq!(Rotation::from_display_matrix(&matrix([0, -1, 1, 0])), (Rotation::ThreeQuarters, false));
        assert!(Rotation::from_display_matrix(&matrix([-1, 0, 0, 1])).1);
        assert_eq!(Rotation::from_display_matrix(&[0; 8]), (Rotation::None, false));
    }

    #[test]
    fn pixels_go_where_the_turn_puts_them() {
        // 3 x 2 pixels a b c / d e f in rows of 10 bytes.
        let rows: Vec<u8> = [b"abc", b"def"]
            .iter()
            .flat_map(|row| row.iter().flat_map(|&value| [value; 3]).chain([0]))
            .collect();
        let turned = |rotation: Rotation| {
            let upright = rotation.apply(&rows, 10, ImageSize::new(3, 2));
            String::from_utf8(upright.chunks(3).map(|pixel| pixel[0]).collect()).unwrap()
        };
        assert_eq!(turned(Rotation::None), "abcdef");
        assert_eq!(turned(Rotation::Quarter), "daebfc");
        assert_eq!(turned(Rotation::Half), "fedcba");
        assert_eq!(turned(Rotation::ThreeQuarters), "cfbead");
    }

    fn yuv(y: u8, u: u8, v: u8, space: color::Space, range: color::Range) -> Picture {
        let mut picture = Picture::new(Pixel::YUV444P, 16, 16);
        for (plane, value) in [y, u, v].into_iter().enumerate() {
            picture.data_mut(plane).fill(value);
        }
        picture.set_color_space(space);
        picture.set_color_range(range);
        picture
    }

    #[test]
    fn matrix_and_range_of_the_picture_are_used() {
        let mut converter = Converter::new(ImageSize::new(16, 16), Rotation::None);
        let mut first_pixel = |picture: &Picture| converter.rgb(picture).unwrap()[..3].to_vec();
        // Pure green in the two matrices, limited range.
        let near = |got: Vec<u8>, wanted: [u8; 3]| {
            assert!(got.iter().zip(wanted).all(|(&g, w)| g.abs_diff(w) <= 2), "{got:?} is not {wanted:?}");
        };
        near(first_pixel(&yuv(145, 54, 34, color::Space::SMPTE170M, color::Range::MPEG)), [0, 255, 0]);
        near(first_pixel(&yuv(173, 42, 26, color::Space::BT709, color::Range::MPEG)), [0, 255, 0]);
        near(first_pixel(&yuv(16, 128, 128, color::Space::BT709, color::Range::MPEG)), [0, 0, 0]);
        near(first_pixel(&yuv(16, 128, 128, color::Space::BT709, color::Range::JPEG)), [16, 16, 16]);
        near(
            first_pixel(&yuv(235, 128, 128, color::Space::Unspecified, color::Range::Unspecified)),
            [255; 3],
        );
    }
}
