//! A folder of PNG or JPEG images as a video: natural order of names ("2" before
//! "10"), 30 frames a second because images carry no time. Orientation tags of
//! photographs are applied.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder as _, ImageReader};

use super::{Frame, FrameIndex, FrameSource, VideoError, VideoInfo, out_of_range, too_large};
use crate::geometry::ImageSize;

/// Rate assumed for images.
const FRAMES_PER_SECOND: f64 = 30.0;

/// One image per frame, read when asked for.
#[derive(Debug)]
pub(super) struct ImageSource {
    info: VideoInfo,
    files: Vec<PathBuf>,
}

/// Whether the name says PNG or JPEG.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

impl ImageSource {
    /// All images of a folder; hidden files and sub-folders are left out.
    ///
    /// # Errors
    /// When the folder cannot be read, has no image, or images of different sizes.
    pub(super) fn open_folder(path: &Path) -> Result<Self, VideoError> {
        let unreadable = |error: std::io::Error| VideoError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if !hidden && is_image(&file) && file.is_file() {
                files.push(file);
            }
        }
        if files.is_empty() {
            let reason = "the folder has no .png, .jpg or .jpeg file".to_owned();
            return Err(VideoError::NoVideo { path: path.to_owned(), reason });
        }
        files.sort_by(|a, b| natural_order(&file_name(a), &file_name(b)));
        Self::new(path, files, "folder")
    }

    /// A single image as a video of one frame.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn open_image(path: &Path) -> Result<Self, VideoError> {
        Self::new(path, vec![path.to_owned()], "image file")
    }

    fn new(path: &Path, files: Vec<PathBuf>, container: &str) -> Result<Self, VideoError> {
        let first_size = image_size(&files[0])?;
        if let Some(error) = too_large(&files[0], first_size) {
            return Err(error);
        }
        for file in &files[1..] {
            let size = image_size(file)?;
            if size != first_size {
                let first = files[0].clone();
                return Err(VideoError::MixedSizes { path: file.clone(), size, first, first_size });
            }
        }
        let info = VideoInfo {
            path: path.to_owned(),
            size: first_size,
            pts_secs: (0..files.len()).map(|index| index as f64 / FRAMES_PER_SECOND).collect(),
            keyframes: (0..files.len() as u32).map(FrameIndex).collect(),
            rotation_degrees: 0,
            codec: "images".to_owned(),
            container: container.to_owned(),
            warnings: Vec::new(),
        };
        Ok(Self { info, files })
    }
}

impl FrameSource for ImageSource {
    fn info(&self) -> &VideoInfo {
        &self.info
    }

    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
        if let Some(error) = out_of_range(&self.info, index) {
            return Err(error);
        }
        let file = &self.files[index.0 as usize];
        let damaged = |reason: String| VideoError::Damaged { path: file.clone(), index, reason };
        let mut decoder = decoder(file)?;
        let orientation = decoder.orientation().map_err(|error| damaged(error.to_string()))?;
        let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| damaged(error.to_string()))?;
        picture.apply_orientation(orientation);
        let size = ImageSize::new(picture.width(), picture.height());
        if size != self.info.size {
            return Err(damaged("its size has changed since the folder was opened".to_owned()));
        }
        let pts_secs = self.info.pts_secs[index.0 as usize];
        Ok(Frame { index, pts_secs, size, rgb: picture.into_rgb8().into_raw().into() })
    }
}

fn decoder(file: &Path) -> Result<impl image::ImageDecoder, VideoError> {
    let unreadable =
        |error: std::io::Error| VideoError::Unreadable { path: file.to_owned(), reason: error.to_string() };
    ImageReader::open(file)
        .map_err(unreadable)?
        .with_guessed_format()
        .map_err(unreadable)?
        .into_decoder()
        .map_err(|error| VideoError::NoVideo { path: file.to_owned(), reason: error.to_string() })
}

/// Upright size, from the header alone.
fn image_size(file: &Path) -> Result<ImageSize, VideoError> {
    use image::metadata::Orientation as O;

    let mut decoder = decoder(file)?;
    let (width, height) = decoder.dimensions();
    let orientation = decoder
        .orientation()
        .map_err(|error| VideoError::NoVideo { path: file.to_owned(), reason: error.to_string() })?;
    Ok(match orientation {
        O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH => ImageSize::new(height, width),
        _ => ImageSize::new(width, height),
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Compares texts with runs of digits as numbers; leading zeros decide ties.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (Some(l), Some(r)) = (left.chars().next(), right.chars().next()) else {
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        };
        if l.is_ascii_digit() && r.is_ascii_digit() {
            let (number_l, rest_l) = split_number(left);
            let (number_r, rest_r) = split_number(right);
            let order = number_l.len().cmp(&number_r.len()).then_with(|| number_l.cmp(number_r));
            if order.is_ne() {
                return order;
            }
            (left, right) = (rest_l, rest_r);
        } else if l == r {
            (left, right) = (&left[l.len_utf8()..], &right[r.len_utf8()..]);
        } else {
            return l.cmp(&r);
        }
    }
}

/// The digits at the start without leading zeros, and what follows them.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].trim_start_matches('0'), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    fn save(folder: &Path, name: &str, size: (u32, u32), value: u8) {
        RgbImage::from_pixel(size.0, size.1, Rgb([value; 3])).save(folder.join(name)).unwrap();
    }

    #[test]
    fn names_sort_like_people_count() {
        let mut names = ["f10.png", "f9.png", "f1.png", "g.png", "f01.png", "f1a.png", "f.png"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["f.png", "f01.png", "f1.png", "f1a.png", "f9.png", "f10.png", "g.png"]);
    }

    #[test]
    fn a_folder_plays_in_natural_order() {
        let folder = tempfile::tempdir().unwrap();
        for index in [10u8, 2, 1] {
            save(folder.path(), &format!("{index}.png"), (4, 2), index);
        }
        std::fs::write(folder.path().join("notes.txt"), "not an image").unwrap();
        let mut source = ImageSource::open_folder(folder.path()).unwrap();
        let values: Vec<u8> = (0..3).map(|i| source.frame(FrameIndex(i)).unwrap().rgb[0]).collect();
        assert_eq!(values, [1, 2, 10]);
        assert_eq!(source.info().size, ImageSize::new(4, 2));
        assert!(matches!(source.frame(FrameIndex(3)), Err(VideoError::OutOfRange { count: 3, .. })));
    }

    #[test]
    fn the_odd_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), "a.png", (4, 2), 0);
        save(folder.path(), "b.png", (4, 3), 0);
        let message = ImageSource::open_folder(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("b.png is 4x3 pixels, but") && message.contains("a.png is 4x2"),
            "{message}"
        );
    }

    #[test]
    fn folders_without_images_and_false_images_are_explained() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(ImageSource::open_folder(folder.path()), Err(VideoError::NoVideo { .. })));
        let fake = folder.path().join("fake.png");
        std::fs::write(&fake, "no picture in here").unwrap();
        let message = ImageSource::open_image(&fake).unwrap_err().to_string();
        assert!(message.contains("fake.png has no readable video"), "{message}");
    }
}
