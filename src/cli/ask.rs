//! `loc3r ask`: questions about a video, as text or JSON.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use serde::Serialize;

use super::conversation::{Conversation, ModelArgs, RecordingArgs};
use super::{output, question_file};
use crate::qa::{PSEUDO_SITUATION, Question, SituationEstimate};
use crate::session::{AnswerDone, AskedQuestion, ModelInfo, SessionState, Timing, TokenCounts};

const EXAMPLES: &str = "\
Examples:
  loc3r ask walk.mp4 \"What is on my left?\" --situation \"I am sitting on the sofa facing the TV\"
  loc3r ask walk.mp4 --question \"How many chairs are there?\" --question \"Is the door open?\" --json
  loc3r ask walk.mp4 --questions walk.questions.json --rrd walk.rrd

Positions are metres right of and in front of the first camera; directions are degrees
counter-clockwise, the first camera looks along +90.";

/// Answer spatial questions about a video.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(super) struct AskArgs {
    /// Video file or folder of images
    video: PathBuf,
    /// The question
    #[arg(value_name = "QUESTION")]
    text: Option<String>,
    /// One more question; can be repeated, the video is read once
    #[arg(long = "question", value_name = "QUESTION")]
    more: Vec<String>,
    /// A file of questions: one a line, or JSON with "question" and "situation"
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,
    /// Where you are and look, in words
    #[arg(long, value_name = "TEXT")]
    situation: Option<String>,
    /// Print JSON: one object, or a list of them for several questions
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    recording: RecordingArgs,
}

pub(super) fn run(args: AskArgs) -> anyhow::Result<ExitCode> {
    let questions = questions_of(&args)?;
    // Complain about the video before loading a model.
    drop(crate::video::open(&args.video)?);
    let mut conversation = Conversation::start(&args.model, args.recording.config(), None)?;
    conversation.open_video(&args.video)?;
    if !args.json {
        output::result(&heading(conversation.state())?);
    }
    let several = questions.len() > 1;
    let mut answers = Vec::new();
    for (number, question) in questions.into_iter().enumerate() {
        conversation.ask(question)?;
        let answer = AnswerJson::of(conversation.state(), number == 0)?;
        if args.json {
            answers.push(serde_json::to_value(&answer)?);
        } else {
            output::result(&answer.text(conversation.state()));
        }
    }
    if args.json {
        let value = if several { answers.into() } else { answers.remove(0) };
        output::result(&serde_json::to_string_pretty(&value)?);
    }
    conversation.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn questions_of(args: &AskArgs) -> anyhow::Result<Vec<Question>> {
    let situation = args.situation.as_deref();
    let texts = args.text.iter().chain(&args.more);
    let mut questions: Vec<Question> = texts.map(|text| question_file::question(text, situation)).collect();
    if let Some(file) = &args.questions {
        questions.extend(question_file::read(file, situation)?);
    }
    if questions.is_empty() {
        bail!("there is no question; pass one after the video, or with --question or --questions FILE");
    }
    Ok(questions)
}

/// Model, device and what to think of the answers.
fn heading(state: &SessionState) -> anyhow::Result<String> {
    let model = state.model.as_ref().ok_or_else(|| anyhow!("no model is loaded"))?;
    let mut text = format!("{} on {}", model.name, model.device);
    if let Some(timing) = &state.video_timing {
        text.push_str(&format!(", {} after {:.2} s", state.product(), timing.total / 1e3));
        if state.encoded_frames == 0 {
            text.push_str(" (this video was seen before)");
        }
    }
    if !model.notice.is_empty() {
        text.push_str(&format!("\n{}", model.notice));
    }
    Ok(text)
}

/// One answer as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct AnswerJson {
    video: PathBuf,
    model: String,
    /// What to think of the answers; left out when there is nothing to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    notice: String,
    device: String,
    /// How the situation is read; null for a base model, which has no places.
    situation: Option<SituationJson>,
    answer: TextJson,
    tokens: TokenCounts,
    /// Frames that went through the vision tower for this question: none when a question
    /// or a session before has seen the video.
    encoded_frames: u32,
    timing_ms: Timing,
}

#[derive(Debug, Serialize)]
struct TextJson {
    text: String,
}

#[derive(Debug, Serialize)]
struct SituationJson {
    text: String,
    position: PositionJson,
    /// Degrees counter-clockwise, first camera along +90.
    orientation_deg: f32,
    orientation_concentration: f32,
}

impl SituationJson {
    fn new(text: &str, estimate: &SituationEstimate) -> Self {
        let (position, sigma) = (estimate.situation.position, estimate.position_sigma);
        Self {
            text: text.to_owned(),
            position: PositionJson { x: position.x, y: position.y, sigma_x: sigma.x, sigma_y: sigma.y },
            orientation_deg: estimate.situation.orientation.degrees(),
            orientation_concentration: estimate.concentration,
        }
    }

    /// For people.
    fn told(&self) -> String {
        let Self { text, position, orientation_deg, orientation_concentration } = self;
        let PositionJson { x, y, sigma_x, sigma_y } = position;
        format!(
            "\n  \"{text}\" is read as x {x:.2} ± {sigma_x:.2} m, y {y:.2} ± {sigma_y:.2} m, looking along {orientation_deg:.0}° (concentration {orientation_concentration:.2})"
        )
    }
}

/// Metres in the bird's-eye frame.
#[derive(Debug, Serialize)]
struct PositionJson {
    x: f32,
    y: f32,
    sigma_x: f32,
    sigma_y: f32,
}

impl AnswerJson {
    /// The newest answer of `state`. The first one on a video also bears what reading
    /// the video cost: its stage times, and the tokens of the video, which were there before
    /// only where it was opened again.
    pub(super) fn of(state: &SessionState, first: bool) -> anyhow::Result<Self> {
        let unanswered = || anyhow!("the question got no answer; try again");
        let asked = state.current_question().ok_or_else(unanswered)?;
        let answer = asked.answer.as_ref().ok_or_else(unanswered)?;
        let (Some(model), Some(video)) = (&state.model, &state.video) else { return Err(unanswered()) };
        let reading = state.video_timing.filter(|_| first);
        let (encoded_frames, reused) =
            if first { (state.encoded_frames, state.reused_tokens) } else { (0, answer.tokens.reused) };
        let tokens = TokenCounts { reused, ..answer.tokens };
        let answered = Self::new(asked, answer, model, video.path.clone(), reading);
        Ok(Self { tokens, encoded_frames, ..answered })
    }

    fn new(
        asked: &AskedQuestion,
        answer: &AnswerDone,
        model: &ModelInfo,
        video: PathBuf,
        reading: Option<Timing>,
    ) -> Self {
        let text = asked.question.situation_text.as_deref().unwrap_or(PSEUDO_SITUATION);
        Self {
            video,
            model: model.name.clone(),
            notice: model.notice.clone(),
            device: model.device.clone(),
            situation: asked.estimate.as_ref().map(|estimate| SituationJson::new(text, estimate)),
            answer: TextJson { text: answer.text.clone() },
            tokens: answer.tokens,
            encoded_frames: 0,
            timing_ms: reading.map_or(answer.timing, |reading| sum(&reading, &answer.timing)),
        }
    }

    /// Tokens of the prompt that had to be computed.
    pub(super) fn computed_tokens(&self) -> usize {
        self.tokens.prompt - self.tokens.reused.min(self.tokens.prompt)
    }

    /// The words of the answer.
    pub(super) fn answer_text(&self) -> &str {
        &self.answer.text
    }

    /// For people.
    fn text(&self, state: &SessionState) -> String {
        let question = state.current_question().map(|asked| asked.question.text.as_str()).unwrap_or_default();
        let situation = self.situation.as_ref().map(SituationJson::told).unwrap_or_default();
        format!(
            "\n{question}\n  {}{situation}\n  {} of {} prompt tokens computed, {:.0} ms",
            self.answer.text,
            self.computed_tokens(),
            self.tokens.prompt,
            self.timing_ms.total
        )
    }
}

fn sum(a: &Timing, b: &Timing) -> Timing {
    Timing {
        decode: a.decode + b.decode,
        vision: a.vision + b.vision,
        camera: a.camera + b.camera,
        prefill: a.prefill + b.prefill,
        generate: a.generate + b.generate,
        total: a.total + b.total,
    }
}
