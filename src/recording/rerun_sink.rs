//! From session events to Rerun archetypes.
//!
//! What holds for the whole clip (layout, points, camera path) is static; video
//! frames and cameras lie on the timelines `video_time` and `frame`; what belongs to
//! a question lies on `question`, and at the start of the other two so that the
//! latest one is always on screen. A sink holds one clip; the next clip gets a new one.

use std::time::Duration;

use rerun::{RecordingStream, RecordingStreamError};

use super::entity_paths as path;
use super::scene_shapes::{ellipse, frustum, rose, uncertainty_color};
use crate::qa::{Question, SituationEstimate};
use crate::scene::{CameraEstimate, Layout, PointCloud};
use crate::session::{AnswerDone, ModelInfo, SessionEvent, Timing};
use crate::video::{Frame, VideoInfo};

type Logged = Result<(), RecordingStreamError>;

const PATH_COLOR: [u8; 3] = [240, 240, 240];
const FRUSTUM_COLOR: [u8; 3] = [110, 130, 150];
const SITUATION_COLOR: [u8; 3] = [255, 140, 0];
const ROSE_COLOR: [u8; 3] = [255, 200, 80];
/// Radius of a layout disc, metres.
const TOKEN_RADIUS: f32 = 0.06;
/// Radius of a dense point, metres.
const POINT_RADIUS: f32 = 0.012;
/// Length of the situation arrow, metres.
const ARROW_LENGTH: f32 = 0.8;
/// The arrow floats above the layout discs, metres.
const ARROW_LIFT: f32 = 0.1;

/// Writes events into one recording stream.
pub(super) struct RerunSink {
    stream: RecordingStream,
    floor_height: f32,
    questions: i64,
    asked: Option<Question>,
    estimate: Option<SituationEstimate>,
    model: Option<ModelInfo>,
    info: Option<VideoInfo>,
}

impl RerunSink {
    pub(super) fn new(stream: RecordingStream) -> Result<Self, RecordingStreamError> {
        stream.log_static(path::WORLD, &rerun::ViewCoordinates::RFU())?;
        Ok(Self {
            stream,
            floor_height: 0.0,
            questions: 0,
            asked: None,
            estimate: None,
            model: None,
            info: None,
        })
    }

    /// Whether a clip was written; the next one needs a recording of its own.
    pub(super) fn has_clip(&self) -> bool {
        self.info.is_some()
    }

    /// Takes over what is known of the model.
    pub(super) fn continue_from(&mut self, before: &Self) -> Logged {
        self.model.clone_from(&before.model);
        self.session_facts(None)
    }

    /// Writes one event.
    pub(super) fn take(&mut self, event: &SessionEvent) -> Logged {
        match event {
            SessionEvent::Started { question, .. } => {
                self.asked.clone_from(question);
                self.estimate = None;
                if question.is_some() {
                    self.questions += 1;
                }
                Ok(())
            }
            SessionEvent::ModelLoaded { model, .. } => {
                self.model = Some(model.clone());
                self.session_facts(None)?;
                self.message(&format!("model {} on {}", model.name, model.device))
            }
            SessionEvent::ModelUnloaded { .. } => self.message("the model was unloaded"),
            SessionEvent::VideoOpened { info, .. } => self.video(info),
            SessionEvent::ClipWarning { message, .. } => {
                self.stream.reset_time();
                let text = rerun::TextLog::new(message.as_str()).with_level(rerun::TextLogLevel::WARN);
                self.stream.log(path::LOG, &text)
            }
            SessionEvent::CamerasReady { cameras, points, .. } => {
                self.cameras(cameras)?;
                self.points(points)
            }
            SessionEvent::LayoutReady { layout, timing, reused_tokens, .. } => {
                self.floor_height = layout.floor_height;
                self.layout(layout)?;
                self.session_facts(Some(timing))?;
                let reused = match reused_tokens {
                    0 => String::new(),
                    reused => format!(", {reused} tokens reused"),
                };
                let (tokens, total) = (layout.tokens.len(), timing.total);
                self.message(&format!("layout of {tokens} tokens in {total:.0} ms{reused}"))
            }
            SessionEvent::SituationReady { estimate, .. } => {
                self.estimate = Some(estimate.clone());
                self.situation(estimate)
            }
            SessionEvent::AnswerReady { answer, .. } => self.answer(answer),
            SessionEvent::Cancelled { .. } => self.message("cancelled"),
            SessionEvent::Failed { message, .. } | SessionEvent::Crashed { message } => {
                self.stream.reset_time();
                let text = rerun::TextLog::new(message.as_str()).with_level(rerun::TextLogLevel::ERROR);
                self.stream.log(path::LOG, &text)
            }
            SessionEvent::Progress { .. }
            | SessionEvent::CamerasSoFar { .. }
            | SessionEvent::LayoutSoFar { .. }
            | SessionEvent::AnswerPiece { .. } => Ok(()),
        }
    }

    /// Writes a video frame.
    pub(super) fn frame(&self, frame: &Frame, jpeg: Vec<u8>) -> Logged {
        self.at_frame(frame.index.0, frame.pts_secs);
        let picture = rerun::EncodedImage::from_file_contents(jpeg).with_media_type(rerun::MediaType::JPEG);
        self.stream.log(path::VIDEO, &picture)
    }

    /// Waits until everything is written, at most `limit`.
    pub(super) fn close(self, limit: Duration) -> Result<(), String> {
        self.stream.flush_with_timeout(limit).map_err(|error| error.to_string())
    }

    fn at_frame(&self, index: u32, secs: f64) {
        self.stream.reset_time();
        self.stream.set_time_sequence(path::TIMELINE_FRAME, i64::from(index));
        self.stream.set_duration_secs(path::TIMELINE_VIDEO, secs);
    }

    fn at_question(&self) {
        self.at_frame(0, 0.0);
        self.stream.set_time_sequence(path::TIMELINE_QUESTION, self.questions);
    }

    fn message(&self, text: &str) -> Logged {
        self.stream.reset_time();
        self.stream.log(path::LOG, &rerun::TextLog::new(text).with_level(rerun::TextLogLevel::INFO))
    }

    fn video(&mut self, info: &VideoInfo) -> Logged {
        self.at_frame(info.frame_count(), info.duration_secs());
        self.stream.log(path::CAMERA, &rerun::Clear::recursive())?;
        if let Some(name) = info.path.file_name() {
            self.stream.send_recording_name(name.to_string_lossy())?;
        }
        self.info = Some(info.clone());
        for warning in &info.warnings {
            self.message(warning)?;
        }
        self.message(&format!("video {}", info.path.display()))
    }

    fn cameras(&self, cameras: &[CameraEstimate]) -> Logged {
        let centers: Vec<[f32; 3]> = cameras.iter().map(|camera| camera.pose.position.to_array()).collect();
        // A model without a camera encoder has no path, and no line of no points either.
        let strip = (!centers.is_empty()).then_some(centers);
        let line = rerun::LineStrips3D::new(strip).with_colors([PATH_COLOR]).with_radii([0.01]);
        self.stream.log_static(path::CAMERA_PATH, &line)?;
        let frusta = rerun::LineStrips3D::new(cameras.iter().map(frustum))
            .with_colors([FRUSTUM_COLOR])
            .with_radii([0.004]);
        self.stream.log_static(path::CAMERA_FRUSTA, &frusta)?;
        for camera in cameras {
            let times = self.info.as_ref().map(|info| info.pts_secs.as_slice()).unwrap_or_default();
            let secs = times.get(camera.frame.0 as usize).copied().unwrap_or_default();
            self.at_frame(camera.frame.0, secs);
            let transform = rerun::Transform3D::from_translation_rotation(
                camera.pose.position.to_array(),
                rerun::Quaternion::from_xyzw(camera.pose.rotation.to_array()),
            );
            self.stream.log(path::CAMERA, &transform)?;
            let size = camera.intrinsics.size;
            let pinhole = rerun::Pinhole::from_focal_length_and_resolution(
                camera.intrinsics.focal.to_array(),
                [size.width as f32, size.height as f32],
            )
            .with_principal_point(camera.intrinsics.principal.to_array())
            .with_camera_xyz(rerun::components::ViewCoordinates::RDF)
            .with_image_plane_distance(0.4);
            self.stream.log(path::VIDEO, &pinhole)?;
        }
        Ok(())
    }

    fn points(&self, cloud: &PointCloud) -> Logged {
        let points = rerun::Points3D::new(cloud.points.iter().map(|point| point.position.to_array()))
            .with_colors(cloud.points.iter().map(|point| point.color))
            .with_radii([POINT_RADIUS]);
        self.stream.log_static(path::POINTS, &points)
    }

    fn layout(&self, layout: &Layout) -> Logged {
        let floor = layout.floor_height;
        let centers = || layout.tokens.iter().map(|token| [token.position.x, token.position.y, floor]);
        let discs = rerun::Points3D::new(centers())
            .with_colors(layout.tokens.iter().map(|token| token.color))
            .with_radii([TOKEN_RADIUS]);
        self.stream.log_static(path::LAYOUT, &discs)?;
        let unsure = rerun::Points3D::new(centers())
            .with_colors(layout.tokens.iter().map(|token| uncertainty_color(token.sigma.rms())))
            .with_radii(layout.tokens.iter().map(|token| TOKEN_RADIUS * (1.0 + token.sigma.rms())));
        self.stream.log_static(path::LAYOUT_UNCERTAINTY, &unsure)?;
        let ellipses = rerun::LineStrips3D::new(
            layout.tokens.iter().map(|token| ellipse(token.position, token.sigma, floor)),
        )
        .with_colors(layout.tokens.iter().map(|token| [token.color[0], token.color[1], token.color[2], 90]))
        .with_radii([0.002]);
        self.stream.log_static(path::LAYOUT_SIGMA, &ellipses)
    }

    fn situation(&self, estimate: &SituationEstimate) -> Logged {
        let (position, z) = (estimate.situation.position, self.floor_height + ARROW_LIFT);
        let direction = estimate.situation.orientation.direction() * ARROW_LENGTH;
        self.at_question();
        let arrow = rerun::Arrows3D::from_vectors([[direction.x, direction.y, 0.0]])
            .with_origins([[position.x, position.y, z]])
            .with_colors([SITUATION_COLOR])
            .with_radii([0.03]);
        self.stream.log(path::SITUATION, &arrow)?;
        let sigma = rerun::LineStrips3D::new([ellipse(position, estimate.position_sigma, z)])
            .with_colors([SITUATION_COLOR])
            .with_radii([0.01]);
        self.stream.log(path::SITUATION_SIGMA, &sigma)?;
        let rose = rerun::LineStrips3D::new([rose(position, &estimate.orientation, z)])
            .with_colors([ROSE_COLOR])
            .with_radii([0.008]);
        self.stream.log(path::SITUATION_ROSE, &rose)
    }

    fn answer(&self, answer: &AnswerDone) -> Logged {
        self.at_question();
        let notice = self.model.as_ref().map(|model| model.notice.as_str()).unwrap_or_default();
        let text = answer_text(self.asked.as_ref(), self.estimate.as_ref(), answer, notice);
        self.stream.log(path::ANSWER, &rerun::TextDocument::from_markdown(text))?;
        let Timing { prefill, generate, total, .. } = answer.timing;
        for (stage, milliseconds) in [("prefill", prefill), ("generate", generate), ("total", total)] {
            self.stream.log(format!("{}/{stage}", path::TIMING), &rerun::Scalars::new([milliseconds]))?;
        }
        let asked = self.asked.as_ref().map(|question| question.text.as_str()).unwrap_or_default();
        let notice = if notice.is_empty() { String::new() } else { format!(" ({notice})") };
        self.message(&format!("{asked} -> {}{notice}", answer.text))
    }

    fn session_facts(&self, timing: Option<&Timing>) -> Logged {
        let mut text = String::new();
        if let Some(model) = &self.model {
            text.push_str(&format!("**Model** {} on {}\n\n{}\n\n", model.name, model.device, model.notice));
        }
        if let Some(info) = &self.info {
            let (size, secs) = (info.size, info.duration_secs());
            text.push_str(&format!(
                "**Video** {} ({} x {}, {} frames, {secs:.1} s)\n\n",
                info.path.display(),
                size.width,
                size.height,
                info.frame_count()
            ));
        }
        if let Some(timing) = timing {
            text.push_str(&format!(
                "**Times** decode {:.0} ms, vision {:.0} ms, camera {:.0} ms, prefill {:.0} ms, in all {:.0} ms\n",
                timing.decode, timing.vision, timing.camera, timing.prefill, timing.total
            ));
        }
        self.stream.log_static(path::SESSION, &rerun::TextDocument::from_markdown(text))
    }
}

/// Question, situation and answer in Markdown, with what to think of it (`notice`, may be empty).
fn answer_text(
    asked: Option<&Question>,
    estimate: Option<&SituationEstimate>,
    answer: &AnswerDone,
    notice: &str,
) -> String {
    let mut text = String::new();
    if let Some(question) = asked {
        if let Some(situation) = &question.situation_text {
            text.push_str(&format!("*{situation}*\n\n"));
        }
        text.push_str(&format!("**{}**\n\n", question.text));
    }
    text.push_str(&format!("# {}\n\n", answer.text));
    if !notice.is_empty() {
        text.push_str(&format!("*{notice}*\n\n"));
    }
    if let Some(estimate) = estimate {
        let (position, sigma) = (estimate.situation.position, estimate.position_sigma);
        text.push_str(&format!(
            "at x {:.2} ± {:.2} m, y {:.2} ± {:.2} m, looking along {:.0}°\n\n",
            position.x,
            sigma.x,
            position.y,
            sigma.y,
            estimate.situation.orientation.degrees()
        ));
    }
    text.push_str(&format!(
        "confidence {:.2}, {} of {} prompt tokens reused, {:.0} ms\n",
        answer.confidence, answer.tokens.reused, answer.tokens.prompt, answer.timing.total
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qa::QuestionKind;
    use crate::session::TokenCounts;

    #[test]
    fn what_to_think_of_an_answer_stands_beside_it() {
        let question = Question {
            kind: QuestionKind::What,
            text: "What is on my left?".to_owned(),
            situation_text: Some("I am at the door".to_owned()),
            choices: Vec::new(),
        };
        let answer = AnswerDone {
            text: "a chair".to_owned(),
            confidence: 0.5,
            prompt: String::new(),
            tokens: TokenCounts { prompt: 30, reused: 20, generated: 2 },
            timing: Timing::default(),
        };
        let told = |notice| answer_text(Some(&question), None, &answer, notice);
        assert!(told("random weights").contains("# a chair\n\n*random weights*\n\n"), "{}", told(""));
        assert_eq!(told(""), told("random weights").replace("*random weights*\n\n", ""));
    }
}
