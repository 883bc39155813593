//! The models that the app offers, and what they take where it computes.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use super::places;
use crate::hub::InstalledModel;
use crate::model::ModelError;
use crate::model::checkpoint::memory_plans;
use crate::model::device::{self, DeviceError};
use crate::model::memory_plan::{MemoryPlan, free_memory, gigabytes};
use crate::session::{Compute, ModelChoice, ModelList, Precision};

/// The model that the app started with, installed ones, the bundled one; listed anew whenever
/// somebody wants to choose.
pub(super) fn model_list(compute: Compute, started_with: Option<PathBuf>) -> ModelList {
    ModelList::new(move |in_use| {
        let failed = |reason: String| format!("the models cannot be listed: {reason}");
        let place = Place::of(compute).map_err(|error| failed(error.to_string()))?.without(in_use);
        let installed = places::installed_models().map_err(|error| failed(format!("{error:#}")))?;
        let others = others(&installed, [started_with.as_deref(), in_use]);
        Ok(others.into_iter().chain(installed).map(|model| place.choice(model)).collect())
    })
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
    fn of(compute: Compute) -> Result<Self, DeviceError> {
        let (device, _) = device::choose(compute.device)?;
        Ok(Self { free: free_memory(&device), device, precision: compute.precision })
    }

    /// What there is once the model in use has gone: that one makes room for another.
    fn without(self, in_use: Option<&Path>) -> Self {
        let plan = in_use.and_then(|path| self.plan(path).ok());
        let weights = plan.map_or(0, |(_, plan)| plan.language + plan.vision + plan.camera);
        Self { free: self.free.map(|free| free.saturating_add(weights)), ..self }
    }

    /// The numbers that a model would compute with here, and what it takes with them; see
    /// [`Loc3rModel::load`](crate::model::Loc3rModel::load).
    fn plan(&self, path: &Path) -> Result<(DType, MemoryPlan), ModelError> {
        let [full, half] = memory_plans(path, &self.device)?;
        Ok(match self.precision {
            Precision::F32 => full,
            Precision::F16 => (DType::F16, half.1),
            Precision::Bf16 => half,
            Precision::Auto if self.device.is_cpu() || self.has_room_for(&full.1) => full,
            Precision::Auto => half,
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
        let place = || Place { device: Device::Cpu, precision: Precision::Bf16, free: Some(1000) };
        let (_, plan) = place().plan(&path).unwrap();
        let weights = plan.language + plan.vision + plan.camera;
        assert_eq!(place().without(Some(&path)).free, Some(1000 + weights));
        assert_eq!(place().without(None).free, Some(1000));
        assert_eq!(place().without(Some(&folder.path().join("gone"))).free, Some(1000));

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
