//! A walk through a scene on disk: video or pictures, scene file, sample questions,
//! depth, ids, poses.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use image::{ImageBuffer, Luma, RgbImage};

use super::renderer::{Quality, Renderer};
use super::scene_file::write_scene_file;
use super::seeding::{Purpose, stream};
use super::{QuestionOptions, RenderedView, SynthError, SynthScene, Walk, generate_questions};
use crate::geometry::ImageSize;
use crate::video::{VideoWriter, WriterSettings};

/// What to write beside the scene file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "files that can be wanted in any combination")]
pub struct ExportOptions {
    /// How to render.
    pub quality: Quality,
    /// A folder of PNG pictures `NAME/00000.png` instead of `NAME.mp4`.
    pub as_pictures: bool,
    /// Depth as 16-bit PNG in millimetres (0 where nothing was hit), `NAME.depth/`.
    pub depth: bool,
    /// What each pixel shows as 16-bit PNG, `NAME.ids/` (see [`super::surface`] and [`super::FIRST_OBJECT`]).
    pub ids: bool,
    /// Camera poses as text, `NAME.poses.txt`: seconds, position, quaternion x y z w (TUM format).
    pub poses: bool,
    /// x264's constant rate factor.
    pub rate_factor: u8,
}

/// Where the frames go.
enum Sink {
    Pictures(PathBuf),
    Video(Box<VideoWriter>),
}

/// Renders the walk and writes `FOLDER/NAME.*`; `progress` is called after every
/// frame with its index. Returns the path of the video or the folder of pictures.
///
/// # Errors
/// When something cannot be written.
pub fn export_walk(
    folder: &Path,
    name: &str,
    scene: &SynthScene,
    walk: &Walk,
    options: &ExportOptions,
    mut progress: impl FnMut(usize),
) -> Result<PathBuf, SynthError> {
    make_folder(folder)?;
    write_scene_file(&folder.join(format!("{name}.scene.json")), scene, walk)?;
    if options.poses {
        let path = folder.join(format!("{name}.poses.txt"));
        std::fs::write(&path, poses_text(walk)).map_err(|error| SynthError::unwritable(&path, &error))?;
    }
    write_questions(&folder.join(format!("{name}.questions.json")), scene, walk)?;
    let (mut sink, target) = Sink::open(folder, name, walk, options)?;
    let truth_folders = truth_folders(folder, name, options)?;
    let renderer = Renderer::new(scene);
    for (index, pose) in walk.track.poses.iter().enumerate() {
        let view = renderer.render(pose, &walk.intrinsics, options.quality);
        sink.write(index, &view)?;
        for (truth, folder) in &truth_folders {
            write_truth(&folder.join(format!("{index:05}.png")), &view, *truth)?;
        }
        progress(index);
    }
    sink.finish()?;
    Ok(target)
}

impl Sink {
    fn open(
        folder: &Path,
        name: &str,
        walk: &Walk,
        options: &ExportOptions,
    ) -> Result<(Self, PathBuf), SynthError> {
        if options.as_pictures {
            let path = folder.join(name);
            make_folder(&path)?;
            return Ok((Self::Pictures(path.clone()), path));
        }
        let path = folder.join(format!("{name}.mp4"));
        let settings =
            WriterSettings { size: walk.intrinsics.size, fps: walk.fps, quality: options.rate_factor };
        Ok((Self::Video(Box::new(VideoWriter::create(&path, settings)?)), path))
    }

    fn write(&mut self, index: usize, view: &RenderedView) -> Result<(), SynthError> {
        match self {
            Self::Pictures(folder) => {
                write_picture(&folder.join(format!("{index:05}.png")), view.size, &view.rgb)
            }
            Self::Video(writer) => Ok(writer.push(&view.rgb)?),
        }
    }

    fn finish(self) -> Result<(), SynthError> {
        match self {
            Self::Pictures(_) => Ok(()),
            Self::Video(writer) => Ok(writer.finish()?),
        }
    }
}

/// Which truth a folder of pictures holds.
#[derive(Debug, Clone, Copy)]
enum TruthPicture {
    Depth,
    Ids,
}

fn truth_folders(
    folder: &Path,
    name: &str,
    options: &ExportOptions,
) -> Result<Vec<(TruthPicture, PathBuf)>, SynthError> {
    let wanted = [
        (options.depth, TruthPicture::Depth, format!("{name}.depth")),
        (options.ids, TruthPicture::Ids, format!("{name}.ids")),
    ];
    wanted
        .into_iter()
        .filter(|(is_wanted, ..)| *is_wanted)
        .map(|(_, truth, name)| {
            let path = folder.join(name);
            make_folder(&path)?;
            Ok((truth, path))
        })
        .collect()
}

fn make_folder(path: &Path) -> Result<(), SynthError> {
    std::fs::create_dir_all(path).map_err(|error| SynthError::unwritable(path, &error))
}

/// Writes an RGB picture.
pub(super) fn write_picture(path: &Path, size: ImageSize, rgb: &[u8]) -> Result<(), SynthError> {
    RgbImage::from_raw(size.width, size.height, rgb.to_vec())
        .ok_or_else(|| SynthError::unwritable(path, &"the picture has the wrong number of bytes"))?
        .save(path)
        .map_err(|error| SynthError::unwritable(path, &error))
}

fn write_truth(path: &Path, view: &RenderedView, truth: TruthPicture) -> Result<(), SynthError> {
    let values: Vec<u16> = match truth {
        TruthPicture::Ids => view.ids.clone(),
        TruthPicture::Depth => view
            .depth
            .iter()
            .map(|&depth| if depth.is_finite() { (depth * 1000.0).round().min(65_535.0) as u16 } else { 0 })
            .collect(),
    };
    ImageBuffer::<Luma<u16>, _>::from_raw(view.size.width, view.size.height, values)
        .ok_or_else(|| SynthError::unwritable(path, &"the picture has the wrong number of pixels"))?
        .save(path)
        .map_err(|error| SynthError::unwritable(path, &error))
}

/// Sample questions with exact answers; the same scene and walk give the same ones.
fn write_questions(path: &Path, scene: &SynthScene, walk: &Walk) -> Result<(), SynthError> {
    let options = QuestionOptions { typo_rate: 0.0, ..QuestionOptions::default() };
    let mut rng = stream(scene.seed, Purpose::Questions);
    let questions = generate_questions(scene, walk, &mut rng, &options);
    let text = serde_json::to_string_pretty(&questions)
        .expect("questions hold only numbers and text, which JSON can express");
    std::fs::write(path, text).map_err(|error| SynthError::unwritable(path, &error))
}

fn poses_text(walk: &Walk) -> String {
    let mut text = String::from("# seconds x y z qx qy qz qw (camera to world, OpenCV axes, metres)\n");
    for (index, pose) in walk.track.poses.iter().enumerate() {
        let (p, q) = (pose.position, pose.rotation);
        let seconds = index as f32 / walk.fps;
        writeln!(text, "{seconds:.4} {} {} {} {} {} {} {}", p.x, p.y, p.z, q.x, q.y, q.z, q.w)
            .expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::{SynthConfig, generate_scene, generate_walk};

    #[test]
    fn pictures_depth_ids_and_poses_are_written() {
        let config = SynthConfig {
            video_size: ImageSize::new(32, 24),
            seconds: (0.4, 0.4),
            fps: 5.0,
            ..SynthConfig::training()
        };
        let scene = generate_scene(3, &config);
        let walk = generate_walk(&scene, 3, &config);
        let options = ExportOptions {
            quality: Quality::Fast,
            as_pictures: true,
            depth: true,
            ids: true,
            poses: true,
            rate_factor: 23,
        };
        let folder = tempfile::tempdir().unwrap();
        let target = export_walk(folder.path(), "clip", &scene, &walk, &options, |_| ()).unwrap();
        assert_eq!(image::open(target.join("00001.png")).unwrap().width(), 32);
        let depth = image::open(folder.path().join("clip.depth/00000.png")).unwrap().into_luma16();
        assert!(depth.pixels().any(|p| p.0[0] > 500));
        let loaded = crate::synth::read_scene_file(&folder.path().join("clip.scene.json")).unwrap();
        assert_eq!(loaded.walk, walk);
        let questions = std::fs::read_to_string(folder.path().join("clip.questions.json")).unwrap();
        assert!(serde_json::from_str::<Vec<crate::qa::LabeledQuestion>>(&questions).is_ok());
        let poses = std::fs::read_to_string(folder.path().join("clip.poses.txt")).unwrap();
        assert_eq!(poses.lines().count(), 3);
    }

    #[test]
    fn an_unwritable_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("file");
        std::fs::write(&blocked, "x").unwrap();
        let config = SynthConfig { seconds: (0.1, 0.1), ..SynthConfig::training() };
        let scene = generate_scene(3, &config);
        let walk = generate_walk(&scene, 3, &config);
        let options = ExportOptions {
            quality: Quality::Fast,
            as_pictures: true,
            depth: false,
            ids: false,
            poses: false,
            rate_factor: 23,
        };
        let error = export_walk(&blocked.join("x"), "clip", &scene, &walk, &options, |_| ()).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
}
