//! The models that the app offers, and what they take where it computes.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::{DType, Device};

use super::places;
use crate::hub::InstalledModel;
use crate::model::ModelError;
use crate::model::checkpoint::{automatic, memory_plans};
use crate::model::device::{self, ComputeDevice};
use crate::model::memory_plan::{MemoryPlan, free_memory, gigabytes};
use crate::session::{Compute, ModelChoice, ModelInUse, ModelList, Precision};

/// The model that the app started with, installed ones, the bundled one; listed anew whenever
/// somebody wants to choose.
pub(super) fn model_list(compute: Compute, started_with: Option<PathBuf>) -> ModelList {
    let known = OnceLock::new();
    ModelList::new(move |in_use| {
        let failed = |error: anyhow::Error| format!("the models cannot be listed: {error:#}");
        let device = opened(&known, compute.device).map_err(failed)?;
        let place = Place::on(device, compute.precision).without(in_use);
        let installed = places::installed_models().map_err(failed)?;
        let others = others(&installed, [started_with.as_deref(), in_use.map(|model| model.path.as_path())]);
        Ok(others.into_iter().chain(installed).map(|model| place.choice(model)).collect())
    })
}

/// The device that was asked for, `known` from the second time on: a graphics card gives memory to
/// everybody who opens it.
fn opened(known: &OnceLock<Device>, wanted: ComputeDevice) -> anyhow::Result<Device> {
    let device = if let Some(device) = known.get() {
        device.clone()
    } else {
        let (device, _) = device::choose(wanted)?;
        known.get_or_init(|| device).clone()
    };
    // Lists are made on several threads, and CUDA tells a thread what is free once it was used there.
    device.synchronize()?;
    Ok(device)
}

/// Models at `paths` that are not among the installed ones.
fn others(installed: &[InstalledModel], paths: [Option<&Path>; 2]) -> Vec<InstalledModel> {
    let mut others: Vec<InstalledModel> = Vec::new();
    for path in paths.into_iter().flatten() {
        if installed.iter().chain(&others).all(|model| model.folder != path) {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            others.push(InstalledModel { name, folder: path.to_owned(), bytes: 0, missing: None });
        }
    }
    others
}

/// Where a model would be loaded.
struct Place {
    device: Device,
    precision: Precision,
    /// Bytes free there; `None` where the device does not say.
    free: Option<u64>,
}

impl Place {
    fn on(device: Device, precision: Precision) -> Self {
        Self { free: free_memory(&device), device, precision }
    }

    /// What there is once the model in use has gone, and the videos that it holds with it: that
    /// one makes room for another.
    fn without(self, in_use: Option<&ModelInUse>) -> Self {
        let Some(ModelInUse { path, video_bytes }) = in_use else { return self };
        let weights = self.plan(path).map_or(0, |(_, plan)| plan.language + plan.vision + plan.camera);
        let gone = weights.saturating_add(*video_bytes);
        Self { free: self.free.map(|free| free.saturating_add(gone)), ..self }
    }

    /// The numbers that a model would compute with here, and what it takes with them.
    fn plan(&self, path: &Path) -> Result<(DType, MemoryPlan), ModelError> {
        let plans = memory_plans(path, &self.device)?;
        let [full, half] = plans;
        Ok(match self.precision {
            Precision::Auto => automatic(plans, &self.device, self.free),
            Precision::F32 => full,
            Precision::F16 => (DType::F16, half.1),
            Precision::Bf16 => half,
        })
    }

    fn has_room_for(&self, plan: &MemoryPlan) -> bool {
        self.free.is_none_or(|free| plan.total() <= free)
    }

    /// A model with what it takes, read off its configuration and the headers of its weights.
    fn choice(&self, model: InstalledModel) -> ModelChoice {
        let InstalledModel { name, folder: path, missing, .. } = model;
        let plan = match missing {
            None => self.plan(&path).map_err(|error| error.to_string()),
            Some((missing, of)) => {
                Err(format!("not complete: {missing} of {of} files are missing; loc3r fetch {name} goes on"))
            }
        };
        let (needs, fits) = match plan {
            Ok((numbers, plan)) => {
                (format!("{} as {}", gigabytes(plan.total()), numbers.as_str()), self.has_room_for(&plan))
            }
            Err(problem) => (problem, false),
        };
        ModelChoice { name, path, needs, fits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;
    use crate::model::random_weights::write_random;

    fn at(path: &Path) -> InstalledModel {
        InstalledModel { name: "tiny".to_owned(), folder: path.to_owned(), bytes: 0, missing: None }
    }

    #[test]
    fn what_a_model_takes_follows_the_precision_and_what_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny");
        write_random(&ModelConfig::tiny(), &path, DType::F32, 1, &mut |_, _| {}).unwrap();
        let place = |precision, free| Place { device: Device::Cpu, precision, free: Some(free) };
        let plan = |precision| place(precision, 0).plan(&path).unwrap();
        let (full, half) = (plan(Precision::F32), plan(Precision::Bf16));
        // On the processor a model is never halved unasked.
        assert_eq!(plan(Precision::Auto), full);
        assert_eq!((half.0, plan(Precision::F16)), (DType::BF16, (DType::F16, half.1)));
        assert!(half.1.total() < full.1.total());

        let total = half.1.total();
        for (free, fits) in [(total, true), (total - 1, false)] {
            let choice = place(Precision::Bf16, free).choice(at(&path));
            let needs = format!("{} as bf16", gigabytes(total));
            assert_eq!(choice, ModelChoice { name: "tiny".to_owned(), path: path.clone(), needs, fits });
        }
        let nowhere = place(Precision::Auto, u64::MAX).choice(at(&folder.path().join("none")));
        assert!(!nowhere.fits && nowhere.needs.contains("none"), "{nowhere:?}");
        let half_fetched = InstalledModel { missing: Some((1, 3)), ..at(&path) };
        let choice = place(Precision::Auto, u64::MAX).choice(half_fetched);
        assert!(!choice.fits && choice.needs.contains("1 of 3 files"), "{choice:?}");
    }

    #[test]
    fn the_model_in_use_makes_room_and_is_listed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny");
        write_random(&ModelConfig::tiny(), &path, DType::F32, 1, &mut |_, _| {}).unwrap();
        let place = |free| Place { device: Device::Cpu, precision: Precision::Bf16, free: Some(free) };
        let (_, plan) = place(1000).plan(&path).unwrap();
        let weights = plan.language + plan.vision + plan.camera;
        let without = |path: &Path, video_bytes| {
            let in_use = ModelInUse { path: path.to_owned(), video_bytes };
            place(1000).without(Some(&in_use))
        };
        assert_eq!(without(&path, 0).free, Some(1000 + weights));
        assert_eq!(place(1000).without(None).free, Some(1000));
        assert_eq!(without(&folder.path().join("gone"), 0).free, Some(1000));
        // The videos that it holds go with it: another one fits once there is their room, too.
        let needed = plan.total() - weights - 1000;
        for (video_bytes, fits) in [(needed, true), (needed - 1, false)] {
            assert_eq!(without(&path, video_bytes).choice(at(&path)).fits, fits, "{video_bytes}");
        }

        let installed = [at(&folder.path().join("a"))];
        let (known, path) = (installed[0].folder.as_path(), path.as_path());
        for (paths, folders) in [
            ([Some(path), Some(path)], vec![path]),
            ([Some(known), Some(path)], vec![path]),
            ([None, Some(known)], vec![]),
        ] {
            let others = others(&installed, paths);
            assert_eq!(others.iter().map(|model| model.folder.as_path()).collect::<Vec<_>>(), folders);
        }
    }
}
