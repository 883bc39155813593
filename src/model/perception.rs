//! What vision tower and camera encoder make of a clip: all that the language model needs
//! of its pictures. It does not depend on the question and can be kept on disk
//! ([`super::feature_cache`]).

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use glam::{Quat, Vec2, Vec3};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::camera::CameraOutput;
use crate::geometry::{CameraPose, ImageSize, Intrinsics};
use crate::scene::CloudPoint;
use crate::video::FrameIndex;

/// Version of the file format.
const VERSION: u32 = 1;
/// Key of the metadata.
const FACTS: &str = "loc3r.perception";

/// The pictures of a clip as the frozen encoders understand them. F sampled frames.
#[derive(Debug, Clone)]
pub struct Perception {
    /// The sampled frames.
    pub frames: Vec<FrameIndex>,
    /// Their presentation times, seconds.
    pub secs: Vec<f64>,
    /// The frames as the model sees them, one after the other, RGB.
    pub sight_rgb: Vec<u8>,
    /// Size of one such frame.
    pub sight_size: ImageSize,
    /// Output of the vision tower, (F, N, D).
    pub features: Tensor,
    /// Output of the camera encoder; `None` for models without one.
    pub camera: Option<CameraOutput>,
    /// How unlike the training data the clip looks; `None` where the model cannot tell.
    pub strangeness: Option<f32>,
}

/// What a stored file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerceptionFacts {
    version: u32,
    /// The video, for people.
    pub video: String,
    /// The model, for people.
    pub model: String,
    sight_size: ImageSize,
    video_size: Option<ImageSize>,
}

impl Perception {
    /// Writes everything to a safetensors file; `video` and `model` are for people.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path, video: &str, model: &str) -> Result<(), String> {
        let facts = PerceptionFacts {
            version: VERSION,
            video: video.to_owned(),
            model: model.to_owned(),
            sight_size: self.sight_size,
            video_size: self.camera.as_ref().map(|camera| camera.intrinsics.size),
        };
        let facts = serde_json::to_string(&facts).map_err(|error| error.to_string())?;
        let tensors = self.tensors().map_err(|error| error.to_string())?;
        let metadata = HashMap::from([(FACTS.to_owned(), facts)]);
        safetensors::serialize_to_file(&tensors, Some(metadata), path).map_err(|error| error.to_string())
    }

    fn tensors(&self) -> candle_core::Result<HashMap<&'static str, Tensor>> {
        let cpu = &Device::Cpu;
        let numbers: Vec<u32> = self.frames.iter().map(|frame| frame.0).collect();
        let mut tensors = HashMap::from([
            ("frames", Tensor::from_vec(numbers, self.frames.len(), cpu)?),
            ("secs", Tensor::from_vec(self.secs.clone(), self.secs.len(), cpu)?),
            ("sight", Tensor::from_slice(&self.sight_rgb, self.sight_rgb.len(), cpu)?),
            ("features", self.features.to_device(cpu)?.contiguous()?),
        ]);
        if let Some(strangeness) = self.strangeness {
            tensors.insert("strangeness", Tensor::new(&[strangeness], cpu)?);
        }
        let Some(camera) = &self.camera else { return Ok(tensors) };
        let poses: Vec<f32> = camera
            .poses
            .iter()
            .flat_map(|pose| pose.position.to_array().into_iter().chain(pose.rotation.to_array()))
            .collect();
        let (focal, principal) = (camera.intrinsics.focal, camera.intrinsics.principal);
        let lens = [focal.x, focal.y, principal.x, principal.y, camera.floor_height];
        let points = &camera.points;
        let places: Vec<f32> = points
            .iter()
            .flat_map(|point| point.position.to_array().into_iter().chain([point.confidence]))
            .collect();
        let colors: Vec<u8> = points.iter().flat_map(|point| point.color).collect();
        let seen_in: Vec<u32> = points.iter().map(|point| point.frame.0).collect();
        tensors.extend([
            ("camera.tokens", camera.tokens.to_device(cpu)?.contiguous()?),
            ("camera.poses", Tensor::from_vec(poses, (camera.poses.len(), 7), cpu)?),
            ("camera.lens", Tensor::new(&lens, cpu)?),
            ("camera.points", Tensor::from_vec(places, (points.len(), 4), cpu)?),
            ("camera.colors", Tensor::from_vec(colors, (points.len(), 3), cpu)?),
            ("camera.seen_in", Tensor::from_vec(seen_in, points.len(), cpu)?),
        ]);
        Ok(tensors)
    }

    /// Reads a file of [`Perception::save`] onto `device`.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged: every length is checked.
    pub fn load(path: &Path, device: &Device) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let facts = facts_of(&bytes)?;
        let stored = SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
        let reader = Reader { stored };
        reader.perception(&facts, device).map_err(|error| error.to_string())
    }
}

/// The header of a safetensors file, of which only the metadata matters here.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    metadata: HashMap<String, String>,
}

/// What the file that starts with `bytes` (its header at least) says of itself.
///
/// # Errors
/// When it is no such file or one of another version.
pub fn facts_of(bytes: &[u8]) -> Result<PerceptionFacts, String> {
    let cut = || "it ends within its header".to_owned();
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_too_long| cut())?;
    let header: Header =
        serde_json::from_slice(rest.get(..length).ok_or_else(cut)?).map_err(|error| error.to_string())?;
    let text = header.metadata.get(FACTS);
    let text = text.ok_or_else(|| "it does not hold what a model saw".to_owned())?;
    let facts: PerceptionFacts = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match facts.version {
        VERSION => Ok(facts),
        other => Err(format!("it has format {other}, this program reads {VERSION}")),
    }
}

struct Reader<'a> {
    stored: SafeTensors<'a>,
}

impl Reader<'_> {
    fn tensor(&self, name: &str) -> candle_core::Result<Tensor> {
        use candle_core::safetensors::Load as _;
        let view = self.stored.tensor(name).map_err(candle_core::Error::wrap)?;
        view.load(&Device::Cpu)
    }

    fn numbers<T: candle_core::WithDType>(&self, name: &str) -> candle_core::Result<Vec<T>> {
        self.tensor(name)?.flatten_all()?.to_vec1()
    }

    fn perception(&self, facts: &PerceptionFacts, device: &Device) -> candle_core::Result<Perception> {
        let frames: Vec<FrameIndex> = self.numbers::<u32>("frames")?.into_iter().map(FrameIndex).collect();
        let features = self.tensor("features")?.to_device(device)?;
        let perception = Perception {
            secs: self.numbers("secs")?,
            sight_rgb: self.numbers("sight")?,
            sight_size: facts.sight_size,
            strangeness: match self.stored.tensor("strangeness") {
                Ok(_) => self.numbers("strangeness")?.first().copied(),
                Err(_) => None,
            },
            camera: match facts.video_size {
                Some(size) => Some(self.camera(size, device)?),
                None => None,
            },
            features,
            frames,
        };
        let count = perception.frames.len();
        let cameras = perception.camera.as_ref();
        let complete = count > 0
            && perception.features.rank() == 3
            && perception.features.dim(0)? == count
            && perception.secs.len() == count
            && perception.sight_rgb.len() == 3 * count * facts.sight_size.pixels()
            && cameras.is_none_or(|camera| camera.poses.len() == count)
            && cameras.is_none_or(|camera| camera.tokens.dims().first() == Some(&count));
        if complete { Ok(perception) } else { candle_core::bail!("its parts do not belong together") }
    }

    fn camera(&self, size: ImageSize, device: &Device) -> candle_core::Result<CameraOutput> {
        let damaged = || candle_core::Error::msg("its camera is incomplete");
        let lens: [f32; 5] = self.numbers("camera.lens")?.try_into().map_err(|_wrong| damaged())?;
        let [fx, fy, cx, cy, floor_height] = lens;
        let poses = self.numbers::<f32>("camera.poses")?;
        let (poses, _) = poses.as_chunks::<7>();
        let poses = poses.iter().map(|&[x, y, z, i, j, k, w]| CameraPose {
            position: Vec3::new(x, y, z),
            rotation: Quat::from_xyzw(i, j, k, w),
        });
        let places = self.numbers::<f32>("camera.points")?;
        let (places, _) = places.as_chunks::<4>();
        let colors = self.numbers::<u8>("camera.colors")?;
        let (colors, _) = colors.as_chunks::<3>();
        let seen_in = self.numbers::<u32>("camera.seen_in")?;
        if places.len() != colors.len() || places.len() != seen_in.len() {
            return Err(damaged());
        }
        let points =
            places.iter().zip(colors).zip(seen_in).map(|((&[x, y, z, confidence], &color), frame)| {
                CloudPoint { position: Vec3::new(x, y, z), color, confidence, frame: FrameIndex(frame) }
            });
        Ok(CameraOutput {
            tokens: self.tensor("camera.tokens")?.to_device(device)?,
            poses: poses.collect(),
            intrinsics: Intrinsics { focal: Vec2::new(fx, fy), principal: Vec2::new(cx, cy), size },
            points: points.collect(),
            floor_height,
        })
    }
}

/// Bytes that [`Perception::save`] will need, without the header.
pub fn stored_bytes(perception: &Perception) -> usize {
    let of = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
    let camera = perception.camera.as_ref().map_or(0, |camera| of(&camera.tokens) + 23 * camera.points.len());
    perception.sight_rgb.len() + of(&perception.features) + camera
}

#[cfg(test)]
pub(super) fn sample() -> Perception {
    let cpu = &Device::Cpu;
    let pose = |x| CameraPose { position: Vec3::new(x, 0.1, 0.2), rotation: Quat::from_rotation_z(0.3) };
    let point = CloudPoint {
        position: Vec3::new(0.1, 2.3, -1.0),
        color: [9, 8, 7],
        confidence: 0.7,
        frame: FrameIndex(4),
    };
    Perception {
        frames: vec![FrameIndex(0), FrameIndex(4)],
        secs: vec![0.0, 0.1],
        sight_rgb: (0..2 * 12).collect(),
        sight_size: ImageSize::new(2, 2),
        features: Tensor::arange(0f32, 12.0, cpu).and_then(|x| x.reshape((2, 2, 3))).unwrap(),
        camera: Some(CameraOutput {
            tokens: Tensor::arange(0f32, 10.0, cpu).and_then(|x| x.reshape((2, 5))).unwrap(),
            poses: vec![pose(0.0), pose(1.0 / 3.0)],
            intrinsics: Intrinsics {
                focal: Vec2::new(100.1, 99.9),
                principal: Vec2::splat(50.0),
                size: ImageSize::new(100, 80),
            },
            points: vec![point],
            floor_height: -1.4,
        }),
        strangeness: Some(0.25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_stored_comes_back_bit_by_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen");
        for kept in [sample(), Perception { camera: None, strangeness: None, ..sample() }] {
            kept.save(&path, "walk.mp4", "mini").unwrap();
            let found = Perception::load(&path, &Device::Cpu).unwrap();
            assert_eq!(format!("{kept:?}"), format!("{found:?}"));
            let values = |perception: &Perception| {
                perception.features.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            assert_eq!(values(&kept), values(&found));
        }
        let facts = facts_of(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((facts.video.as_str(), facts.model.as_str()), ("walk.mp4", "mini"));
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen");
        let short = Perception { secs: vec![0.0], ..sample() };
        short.save(&path, "", "").unwrap();
        assert!(Perception::load(&path, &Device::Cpu).unwrap_err().contains("belong together"));
        candle_core::safetensors::save(&short.tensors().unwrap(), &path).unwrap();
        assert!(Perception::load(&path, &Device::Cpu).unwrap_err().contains("does not hold"));
    }

    proptest! {
        #[test]
        fn damaged_files_are_errors(at in 0usize..4000, byte: u8, cut in 0usize..4000) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("seen");
            sample().save(&path, "walk.mp4", "mini").unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(length - cut % length);
            std::fs::write(&path, &bytes).unwrap();
            // Flipped numbers may pass; nothing may panic.
            drop(Perception::load(&path, &Device::Cpu));
        }
    }
}
