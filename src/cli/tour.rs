//! `loc3r tour`: the whole job without a window. This is what `make run` does where
//! there is no display.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};

use super::ask::AnswerJson;
use super::conversation::{Conversation, ModelArgs};
use super::{export, output, picture, places, question_file};
use crate::qa::Question;
use crate::recording::RecordingConfig;

/// Asked when the clip has no questions beside it.
const QUESTIONS: [(&str, &str); 2] = [
    ("What is in front of me?", "I am standing at the first camera, looking straight ahead"),
    ("How many chairs are there?", "I am standing in the room"),
];
/// Questions of a tour.
const MOST_QUESTIONS: usize = 8;

/// Reconstruct a clip, ask its questions, and write everything into a folder.
#[derive(Debug, Default, clap::Args)]
pub(super) struct TourArgs {
    /// Video file or folder of images [default: the first bundled clip]
    video: Option<PathBuf>,
    /// Folder for the results
    #[arg(long, value_name = "DIR", default_value = "runs/tour")]
    out: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
}

pub(super) fn run(args: TourArgs) -> anyhow::Result<ExitCode> {
    let video = args.video.map_or_else(places::first_clip, Ok)?;
    drop(crate::video::open(&video)?);
    let questions = questions_beside(&video)?;
    let out = &args.out;
    std::fs::create_dir_all(out).with_context(|| {
        format!("cannot make the folder {}; choose another with --out DIR", out.display())
    })?;
    let rrd = cfg!(feature = "rerun").then(|| out.join("session.rrd"));
    let recording = RecordingConfig { rrd: rrd.clone(), viewer: false };
    let mut conversation = Conversation::start(&args.model, recording, Some(&out.join("session.jsonl")))?;
    conversation.open_video(&video)?;
    let mut answers = Vec::new();
    for (number, question) in questions.into_iter().enumerate() {
        let words = question.text.clone();
        conversation.ask(question)?;
        let answer = AnswerJson::of(conversation.state(), number == 0)?;
        output::result(&format!("{words}\n  {}", answer.answer_text()));
        answers.push(answer);
    }
    let state = conversation.state();
    let (Some(layout), Some(info)) = (&state.layout, &state.video) else {
        return Err(anyhow!("the video has no layout; try again"));
    };
    let files: [(&str, &str, Vec<u8>); 4] = [
        ("view.png", "the scene", picture::png(state)?),
        ("answers.json", "questions and answers", serde_json::to_vec_pretty(&answers)?),
        ("scene.ply", "points and layout", export::ply(&state.points, layout)),
        ("camera.tum", "camera path", export::tum(&state.cameras, info).into_bytes()),
    ];
    let mut lines = vec![describe(&conversation)?];
    for (name, what, content) in &files {
        let path = out.join(name);
        export::write_whole(&path, content)?;
        lines.push(format!("  {:<32} {what}", path.display()));
    }
    conversation.finish()?;
    lines.push(format!(
        "  {:<32} the session, for `loc3r view --replay`",
        out.join("session.jsonl").display()
    ));
    if let Some(path) = rrd {
        lines.push(format!("  {:<32} the session, for the Rerun viewer", path.display()));
    }
    output::result(&lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

fn describe(conversation: &Conversation) -> anyhow::Result<String> {
    let model = conversation.model()?;
    let state = conversation.state();
    let secs = state.video_timing.unwrap_or_default().total / 1e3;
    let product = state.product();
    let mut text = format!("\n{} on {}, {product} after {secs:.2} s", model.name, model.device);
    if !model.notice.is_empty() {
        text.push_str(&format!("; {}", model.notice));
    }
    text.push_str("\nwritten:");
    Ok(text)
}

/// The questions beside a clip (`NAME.questions.json`), or some that fit any room.
fn questions_beside(video: &Path) -> anyhow::Result<Vec<Question>> {
    let file = video.with_extension("questions.json");
    if !file.is_file() {
        let any = QUESTIONS.map(|(text, situation)| question_file::question(text, Some(situation)));
        return Ok(any.to_vec());
    }
    let mut questions = question_file::read(&file, None)?;
    questions.truncate(MOST_QUESTIONS);
    Ok(questions)
}
