//! Figures of the joint stage on held-out rooms.

use candle_core::{D, Result, Tensor};
use glam::Vec2;

use super::Metrics;
use super::joint_batch::{JointBatch, SuffixRows};
use super::pointing::Pointed;
use crate::geometry::{BevPoint, Orientation, OrientationHistogram, wrap_angle};
use crate::qa::Bearing;

/// Name of the layout error that remains when every token gets the one point that suits
/// all of them best: a model that has learned nothing of rooms.
pub const CONSTANT_LAYOUT_ERROR: &str = "layout_error_constant_m";

/// Figures with cameras that the model found itself start with this.
pub const ESTIMATED: &str = "estimated_";

/// Errors collected over batches.
#[derive(Debug, Default)]
pub struct JointFigures {
    layout: Vec<f32>,
    targets: Vec<BevPoint>,
    position: Vec<f32>,
    heading: Vec<f32>,
    mention: Vec<f32>,
    answers: usize,
    answers_right: usize,
    on_object: Vec<f32>,
    pointed_away: Vec<f32>,
    nouns_pointing: usize,
    objects: usize,
    objects_named: usize,
    seen: usize,
    seen_on_their_side: usize,
}

impl JointFigures {
    /// Layout means (B, M, 2).
    pub fn add_layout(&mut self, mean: &Tensor, batch: &JointBatch) -> Result<()> {
        let distance =
            (mean - &batch.layout)?.sqr()?.sum(D::Minus1)?.sqrt()?.flatten_all()?.to_vec1::<f32>()?;
        let known = batch.layout_known.flatten_all()?.to_vec1::<f32>()?;
        self.layout.extend(distance.iter().zip(&known).filter(|(_, known)| **known > 0.0).map(|(d, _)| *d));
        let targets = batch.layout.flatten_to(1)?.to_vec2::<f32>()?;
        let known = targets.iter().zip(&known).filter(|(_, known)| **known > 0.0);
        self.targets.extend(known.map(|(target, _)| BevPoint::new(target[0], target[1])));
        Ok(())
    }

    /// Answer logits (n, vocabulary): an answer is right when every token is the most likely one.
    pub fn add_answers(&mut self, logits: &Tensor, rows: &SuffixRows) -> Result<()> {
        let best = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let ends = rows.answer_starts.iter().skip(1).copied().chain(std::iter::once(rows.answer.len()));
        for (start, end) in rows.answer_starts.iter().copied().zip(ends) {
            if start < end {
                let right = (start..end).all(|k| i64::from(best[k]) == rows.answer[k].1);
                self.answers += 1;
                self.answers_right += usize::from(right);
            }
        }
        Ok(())
    }

    /// Position means (n, 2) and heading probabilities (n, 36).
    pub fn add_situations(&mut self, mean: &Tensor, probabilities: &Tensor, rows: &SuffixRows) -> Result<()> {
        self.position.extend(distances(mean, &rows.position)?);
        for (bins, (_, truth)) in probabilities.to_vec2::<f32>()?.into_iter().zip(&rows.orientation) {
            let (found, _) = OrientationHistogram(bins).circular_mean();
            self.heading.push(wrap_angle(found.radians() - *truth as f32).abs());
        }
        Ok(())
    }

    /// Means of named places (n, 2).
    pub fn add_mentions(&mut self, mean: &Tensor, rows: &SuffixRows) -> Result<()> {
        self.mention.extend(distances(mean, &rows.mentions)?);
        Ok(())
    }

    /// Means (n, 2) of where the things of questions lie as the person sees them.
    pub fn add_seen(&mut self, mean: &Tensor, rows: &SuffixRows) -> Result<()> {
        let side =
            |right, ahead| Bearing::between(Vec2::ZERO, Orientation::FORWARD, Vec2::new(right, ahead)).side();
        for (found, (_, truth)) in mean.to_vec2::<f32>()?.iter().zip(&rows.egocentric) {
            self.seen += 1;
            self.seen_on_their_side += usize::from(side(found[0], found[1]) == side(truth.x, truth.y));
        }
        Ok(())
    }

    /// Tokens on objects, and those of them that resemble the object's word most.
    pub fn add_words(&mut self, (objects, named): (usize, usize)) {
        self.objects += objects;
        self.objects_named += named;
    }

    /// Nouns whose object is seen.
    pub fn add_pointing(&mut self, pointed: Pointed) {
        self.nouns_pointing += pointed.right;
        self.on_object.extend(pointed.on_object);
        self.pointed_away.extend(pointed.away);
    }

    /// Medians and shares.
    pub fn metrics(mut self) -> Metrics {
        let below = |values: &[f32], limit: f32| {
            let count = values.iter().filter(|value| **value < limit).count();
            count as f64 / values.len().max(1) as f64
        };
        let mut metrics = Metrics::from([
            ("layout_share_below_0.5m".to_owned(), below(&self.layout, 0.5)),
            ("position_acc_0.5m".to_owned(), below(&self.position, 0.5)),
            ("position_acc_1m".to_owned(), below(&self.position, 1.0)),
            ("heading_acc_15deg".to_owned(), below(&self.heading, 15f32.to_radians())),
            ("heading_acc_30deg".to_owned(), below(&self.heading, 30f32.to_radians())),
            ("object_word_accuracy".to_owned(), self.objects_named as f64 / self.objects.max(1) as f64),
            ("seen_side_accuracy".to_owned(), self.seen_on_their_side as f64 / self.seen.max(1) as f64),
            ("pointing_accuracy".to_owned(), self.nouns_pointing as f64 / self.on_object.len().max(1) as f64),
            ("answer_exact".to_owned(), self.answers_right as f64 / self.answers.max(1) as f64),
        ]);
        let mut constant = constant_errors(&self.targets);
        for (name, values) in [
            ("layout_error_m", &mut self.layout),
            (CONSTANT_LAYOUT_ERROR, &mut constant),
            ("position_error_m", &mut self.position),
            ("mention_error_m", &mut self.mention),
            ("pointed_place_error_m", &mut self.pointed_away),
            ("attention_on_object", &mut self.on_object),
        ] {
            values.sort_by(f32::total_cmp);
            metrics.insert(name.to_owned(), f64::from(values.get(values.len() / 2).copied().unwrap_or(0.0)));
        }
        metrics
    }
}

/// Distances of `targets` to their middle (median of each coordinate).
fn constant_errors(targets: &[BevPoint]) -> Vec<f32> {
    let median = |coordinate: fn(&BevPoint) -> f32| {
        let mut values: Vec<f32> = targets.iter().map(coordinate).collect();
        values.sort_by(f32::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let middle = BevPoint::new(median(|point| point.x), median(|point| point.y));
    targets.iter().map(|target| middle.distance(*target)).collect()
}

fn distances(mean: &Tensor, targets: &[(u32, BevPoint)]) -> Result<Vec<f32>> {
    let found = mean.to_vec2::<f32>()?;
    Ok(found.iter().zip(targets).map(|(f, (_, truth))| BevPoint::new(f[0], f[1]).distance(*truth)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn one_point_for_all_is_as_wrong_as_the_tokens_are_apart() {
        let line = [-3.0, -1.0, 0.0, 1.0, 3.0].map(|x| BevPoint::new(x, 5.0));
        let figures = JointFigures { targets: line.to_vec(), ..JointFigures::default() };
        assert_eq!(figures.metrics()[CONSTANT_LAYOUT_ERROR], 1.0);
    }

    #[test]
    fn a_thing_is_seen_on_its_side_whatever_its_distance() {
        let rows = SuffixRows {
            egocentric: [(1.0, 3.0), (-2.0, 0.5), (2.0, 0.5), (0.5, -1.0)]
                .map(|(right, ahead)| (0, BevPoint::new(right, ahead)))
                .to_vec(),
            ..SuffixRows::default()
        };
        // Ahead, to the left, to the left instead of the right, behind.
        let found = [[0.1f32, 0.5], [-4.0, -3.0], [-2.0, 0.5], [0.0, -9.0]];
        let mut figures = JointFigures::default();
        figures.add_seen(&Tensor::new(&found, &Device::Cpu).unwrap(), &rows).unwrap();
        assert_eq!(figures.metrics()["seen_side_accuracy"], 0.75);
    }

    #[test]
    fn an_answer_counts_only_as_a_whole() {
        let rows = SuffixRows {
            answer: vec![(0, 1), (1, 0), (2, 1)],
            answer_starts: vec![0, 2],
            ..SuffixRows::default()
        };
        let logits = Tensor::new(&[[0f32, 1.0], [0.0, 1.0], [0.0, 1.0]], &Device::Cpu).unwrap();
        let mut figures = JointFigures::default();
        figures.add_answers(&logits, &rows).unwrap();
        assert!((figures.metrics()["answer_exact"] - 0.5).abs() < 1e-9);
    }
}
