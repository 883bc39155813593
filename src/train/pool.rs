//! Clips used again: every step renders a few fresh clips and takes the rest from
//! those of earlier steps. Which clips a step uses depends on the seed and the
//! step only; clips that are not in memory (at the start, after a resume) are
//! rendered again.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::TrainError;

/// How many clips a step takes and where from.
#[derive(Debug, Clone, Copy)]
pub struct PoolRule {
    /// Decides everything.
    pub seed: u64,
    /// Clips of a step.
    pub clips: usize,
    /// How often a clip is used, on average.
    pub reuse: u64,
    /// How many steps back clips are taken from.
    pub pool_steps: u64,
    /// Scene seeds are below this.
    pub seed_limit: u64,
}

/// A clip made in step `made` as number `slot` of that step.
type ClipId = (u64, usize);

impl PoolRule {
    fn fresh(&self) -> usize {
        (self.clips as u64).div_ceil(self.reuse.max(1)) as usize
    }

    /// The clips of a step. Steps before the first are counted from 0 by shifting
    /// all steps up by the length of the pool.
    fn ids(&self, step: u64) -> Vec<ClipId> {
        let now = step + self.pool_steps;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ now.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let fresh = self.fresh();
        (0..self.clips)
            .map(|k| {
                if k < fresh || self.pool_steps == 0 {
                    (now, k)
                } else {
                    (rng.random_range(now - self.pool_steps..now), rng.random_range(0..fresh))
                }
            })
            .collect()
    }

    /// Scene seed of a clip.
    fn scene_seed(&self, (made, slot): ClipId) -> u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed.wrapping_add(made * 1009 + slot as u64));
        rng.random_range(0..self.seed_limit)
    }
}

/// Makes the clip of a scene seed for a step.
type Maker<T> = Box<dyn Fn(u64, u64) -> Result<T, TrainError> + Send + Sync>;

/// Clips in memory, in whatever form a stage uses them.
pub struct ClipPool<T> {
    rule: PoolRule,
    make: Maker<T>,
    clips: BTreeMap<ClipId, Arc<T>>,
}

impl<T> std::fmt::Debug for ClipPool<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ClipPool").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl<T: Send + Sync> ClipPool<T> {
    /// No clips yet; `make` makes the clip of a scene seed for the step it is first used in.
    pub fn new(
        rule: PoolRule,
        make: impl Fn(u64, u64) -> Result<T, TrainError> + Send + Sync + 'static,
    ) -> Self {
        Self { rule, make: Box::new(make), clips: BTreeMap::new() }
    }

    /// The clips of a step.
    ///
    /// # Errors
    /// When a clip cannot be made.
    pub fn clips(&mut self, step: u64) -> Result<Vec<Arc<T>>, TrainError> {
        let ids = self.rule.ids(step);
        let mut missing: Vec<ClipId> =
            ids.iter().filter(|id| !self.clips.contains_key(id)).copied().collect();
        missing.sort_unstable();
        missing.dedup();
        let (rule, make) = (self.rule, &self.make);
        let made: Vec<(ClipId, Arc<T>)> = missing
            .into_par_iter()
            .map(|id| Ok((id, Arc::new(make(rule.scene_seed(id), id.0.saturating_sub(rule.pool_steps))?))))
            .collect::<Result<_, TrainError>>()?;
        self.clips.extend(made);
        let found = ids.iter().filter_map(|id| self.clips.get(id).cloned()).collect();
        self.clips.retain(|(made, _), _| *made > step);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: PoolRule = PoolRule { seed: 5, clips: 8, reuse: 4, pool_steps: 10, seed_limit: 1000 };

    #[test]
    fn a_step_takes_some_fresh_clips_and_the_rest_from_the_pool() {
        for step in [0, 3, 100] {
            let ids = RULE.ids(step);
            assert_eq!(ids.len(), 8);
            let now = step + 10;
            assert_eq!(ids.iter().filter(|(made, _)| *made == now).count(), 2);
            assert!(ids.iter().all(|(made, slot)| (step..=now).contains(made) && *slot < 2));
            assert_eq!(ids, RULE.ids(step));
        }
    }

    #[test]
    fn scene_seeds_stay_below_the_limit_and_differ() {
        let seeds: std::collections::BTreeSet<u64> =
            (0..50).flat_map(|made| (0..2).map(move |slot| RULE.scene_seed((made, slot)))).collect();
        assert!(seeds.len() > 80 && seeds.iter().all(|&seed| seed < 1000));
    }
}
