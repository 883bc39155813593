//! Errors of planar camera tracks against the truth.

use super::Metrics;
use super::clip::ClipView;
use crate::geometry::wrap_angle;
use crate::model::odometry::TrackedFrames;
use crate::model::odometry::planar::PlanarPose;
use crate::model::odometry::pose_code::FramePose;

/// Errors collected over clips.
#[derive(Debug, Default)]
pub struct TrackErrors {
    step_yaw: Vec<f32>,
    step_shift: Vec<f32>,
    yaw: Vec<f32>,
    position: Vec<f32>,
    per_path: Vec<f32>,
    true_step_yaw: Vec<f32>,
    true_distance: Vec<f32>,
}

impl TrackErrors {
    /// Adds one clip.
    pub fn add(&mut self, found: &[FramePose], truth: &[ClipView]) {
        let found: Vec<PlanarPose> = found.iter().map(|pose| pose.planar).collect();
        let truth: Vec<PlanarPose> = truth.iter().map(|view| view.planar).collect();
        self.add_planar(&found, &truth);
    }

    /// Poses in the levelled space of the first frame.
    fn add_planar(&mut self, found: &[PlanarPose], truth: &[PlanarPose]) {
        let path: f32 = truth.windows(2).map(|w| w[0].shift.distance(w[1].shift)).sum();
        let mut worst_free = Vec::new();
        for k in 1..truth.len().min(found.len()) {
            let step = |track: &[PlanarPose]| track[k - 1].inverse().compose(&track[k]);
            let (step_found, step_truth) = (step(found), step(truth));
            self.step_yaw.push(wrap_angle(step_found.yaw - step_truth.yaw).abs());
            self.true_step_yaw.push(step_truth.yaw.abs());
            self.step_shift.push(step_found.shift.distance(step_truth.shift));
            self.yaw.push(wrap_angle(found[k].yaw - truth[k].yaw).abs());
            let error = found[k].shift.distance(truth[k].shift);
            self.position.push(error);
            self.true_distance.push(truth[k].shift.length());
            worst_free.push(error);
        }
        if path > 0.1 && !worst_free.is_empty() {
            self.per_path.push(worst_free.iter().sum::<f32>() / worst_free.len() as f32 / path);
        }
    }

    /// Medians and means.
    pub fn metrics(mut self) -> Metrics {
        let mut median = |values: fn(&mut Self) -> &mut Vec<f32>| {
            let values = values(&mut self);
            values.sort_by(f32::total_cmp);
            f64::from(values.get(values.len() / 2).copied().unwrap_or(0.0))
        };
        Metrics::from([
            ("camera_step_yaw_error_deg".to_owned(), median(|e| &mut e.step_yaw).to_degrees()),
            ("camera_step_yaw_still_deg".to_owned(), median(|e| &mut e.true_step_yaw).to_degrees()),
            ("camera_step_shift_error_m".to_owned(), median(|e| &mut e.step_shift)),
            ("camera_yaw_error_deg".to_owned(), median(|e| &mut e.yaw).to_degrees()),
            ("camera_position_error_m".to_owned(), median(|e| &mut e.position)),
            ("camera_position_still_m".to_owned(), median(|e| &mut e.true_distance)),
            ("camera_error_per_path".to_owned(), median(|e| &mut e.per_path)),
        ])
    }
}

/// Errors of camera height, tilt and focal lengths.
#[derive(Debug, Default)]
pub struct ViewErrors {
    height: Vec<f32>,
    pitch: Vec<f32>,
    roll: Vec<f32>,
    focal: Vec<f32>,
}

impl ViewErrors {
    /// Adds one clip.
    pub fn add(&mut self, found: &TrackedFrames, truth: &[ClipView]) {
        for (pose, truth) in found.poses.iter().zip(truth.iter().map(|view| view.view)) {
            self.height.push((pose.height - found.floor_height - truth[0]).abs());
            self.pitch.push((pose.pitch - truth[1]).abs());
            self.roll.push((pose.roll - truth[2]).abs());
            self.focal.push((pose.log_focal[0] - truth[3]).abs());
        }
    }

    /// Medians.
    pub fn metrics(mut self) -> Metrics {
        let median = |values: &mut Vec<f32>| {
            values.sort_by(f32::total_cmp);
            f64::from(values.get(values.len() / 2).copied().unwrap_or(0.0))
        };
        Metrics::from([
            ("camera_height_error_m".to_owned(), median(&mut self.height)),
            ("camera_pitch_error_deg".to_owned(), median(&mut self.pitch).to_degrees()),
            ("camera_roll_error_deg".to_owned(), median(&mut self.roll).to_degrees()),
            ("camera_focal_error_share".to_owned(), median(&mut self.focal)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glam::Vec2;

    #[test]
    fn a_turned_track_has_yaw_but_no_step_error() {
        let truth: Vec<PlanarPose> =
            (0..4).map(|k| PlanarPose { shift: Vec2::new(k as f32, 0.0), yaw: 0.1 * k as f32 }).collect();
        let turned: Vec<PlanarPose> =
            truth.iter().map(|p| PlanarPose { shift: Vec2::ZERO, yaw: 0.5 }.compose(p)).collect();
        let mut errors = TrackErrors::default();
        errors.add_planar(&turned, &truth);
        let metrics = errors.metrics();
        assert!(metrics["camera_step_yaw_error_deg"] < 0.01);
        assert!((metrics["camera_yaw_error_deg"] - 0.5f64.to_degrees()).abs() < 0.01);
        assert!((metrics["camera_position_still_m"] - 2.0).abs() < 1e-6);
    }
}
