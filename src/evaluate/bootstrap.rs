//! 95 % intervals by resampling clips: answers about one clip stand or fall together.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A number that sums up a set of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// Arithmetic mean.
    Mean,
    /// Middle value.
    Median,
    /// Largest value.
    Max,
}

impl Statistic {
    /// The statistic of `values`; `None` when there are none.
    pub fn of(self, values: &[f64]) -> Option<f64> {
        match self {
            Self::Mean => (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64),
            Self::Median => super::median(values),
            Self::Max => values.iter().copied().reduce(f64::max),
        }
    }
}

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// 2.5th percentile.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

/// Resamples per interval.
const RESAMPLES: usize = 400;

/// Percentile bootstrap of `statistic` over whole groups (one per clip). The same
/// seed gives the same interval; `None` when no group has values.
pub fn interval(groups: &[Vec<f64>], statistic: Statistic, seed: u64) -> Option<Interval> {
    let groups: Vec<&Vec<f64>> = groups.iter().filter(|group| !group.is_empty()).collect();
    let mut pooled = Vec::new();
    resampled(groups.len(), seed, |drawn| {
        pooled.clear();
        for group in drawn {
            pooled.extend_from_slice(groups[*group]);
        }
        statistic.of(&pooled)
    })
}

/// Percentile bootstrap of `statistic` of the first values minus that of the second ones, over
/// whole groups (one per clip) that hold both: what is hard about a clip is hard for both and
/// falls out. The same seed gives the same interval; `None` when no group has values of both.
pub fn paired_interval(groups: &[(Vec<f64>, Vec<f64>)], statistic: Statistic, seed: u64) -> Option<Interval> {
    let groups: Vec<&(Vec<f64>, Vec<f64>)> =
        groups.iter().filter(|(first, second)| !first.is_empty() && !second.is_empty()).collect();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    resampled(groups.len(), seed, |drawn| {
        first.clear();
        second.clear();
        for group in drawn {
            first.extend_from_slice(&groups[*group].0);
            second.extend_from_slice(&groups[*group].1);
        }
        Some(statistic.of(&first)? - statistic.of(&second)?)
    })
}

/// The interval of `statistic` over draws of so many groups, with replacement; `None` without
/// groups.
fn resampled(
    groups: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    if groups == 0 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = vec![0; groups];
    let mut statistics: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            drawn.fill_with(|| rng.random_range(0..groups));
            statistic(&drawn)
        })
        .collect();
    statistics.sort_by(f64::total_cmp);
    let at = |share: f64| statistics[((statistics.len() - 1) as f64 * share).round() as usize];
    Some(Interval { low: at(0.025), high: at(0.975) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_mean_and_repeats() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let groups: Vec<Vec<f64>> =
            (0..100).map(|_| (0..5).map(|_| f64::from(rng.random_bool(0.3))).collect()).collect();
        let first = interval(&groups, Statistic::Mean, 1).unwrap();
        let mean = Statistic::Mean.of(&groups.concat()).unwrap();
        assert!(first.low < mean && mean < first.high, "{first:?} around {mean}");
        assert!(first.high - first.low < 0.12);
        assert_eq!(interval(&groups, Statistic::Mean, 1), Some(first));
    }

    #[test]
    fn answers_of_one_clip_count_as_one() {
        // Twenty clips whose five answers are equal: as wide as twenty answers.
        let clip = |i: usize| vec![f64::from(i.is_multiple_of(2)); 5];
        let groups: Vec<Vec<f64>> = (0..20).map(clip).collect();
        let interval = interval(&groups, Statistic::Mean, 1).unwrap();
        assert!(interval.high - interval.low > 0.3, "{interval:?}");
    }

    #[test]
    fn what_is_hard_for_both_falls_out_of_a_difference() {
        // Clips differ by 100, the two by 10 on each of them.
        let clip = |i: usize| {
            (
                vec![f64::from(i.is_multiple_of(2)) * 100.0 + 10.0],
                vec![f64::from(i.is_multiple_of(2)) * 100.0],
            )
        };
        let groups: Vec<(Vec<f64>, Vec<f64>)> = (0..20).map(clip).collect();
        let paired = paired_interval(&groups, Statistic::Mean, 1).unwrap();
        assert!((paired.low - 10.0).abs() < 1e-9 && (paired.high - 10.0).abs() < 1e-9, "{paired:?}");
        // A clip that only one of them has values of says nothing about the difference.
        let lonely = [groups, vec![(vec![1e6], vec![]), (vec![], vec![1e6])]].concat();
        assert_eq!(paired_interval(&lonely, Statistic::Mean, 1), Some(paired));
    }

    #[test]
    fn without_values_there_is_no_interval() {
        assert_eq!(interval(&[vec![], vec![]], Statistic::Median, 1), None);
        assert_eq!(paired_interval(&[(vec![1.0], vec![])], Statistic::Mean, 1), None);
    }

    #[test]
    fn the_largest_value_is_a_statistic() {
        assert_eq!(Statistic::Max.of(&[0.5, 2.0, 1.0]), Some(2.0));
        assert_eq!(Statistic::Max.of(&[]), None);
    }
}
