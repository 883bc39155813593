//! `loc3r bench ask`: what the first layout and further questions on a video cost.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{anyhow, bail};

use crate::cli::ask::AnswerJson;
use crate::cli::conversation::{Conversation, ModelArgs};
use crate::cli::{output, question_file};
use crate::qa::Question;
use crate::recording::RecordingConfig;

/// Asked in turn when no file is given.
const QUESTIONS: [&str; 8] = [
    "What is on my left?",
    "How many chairs are there?",
    "What colour is the sofa?",
    "Is there a lamp behind me?",
    "Which object is closest to me?",
    "Can I see the door from here?",
    "What is to the right of the table?",
    "How far away is the window?",
];

/// Arguments of the measurement.
#[derive(Debug, clap::Args)]
pub(super) struct AskBenchArgs {
    /// Video file or folder of images
    video: PathBuf,
    /// A file of questions: one a line, or JSON
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

pub(super) fn run(args: &AskBenchArgs) -> anyhow::Result<ExitCode> {
    let questions: Vec<Question> = match &args.questions {
        Some(file) => question_file::read(file, None)?,
        None => QUESTIONS.map(|text| question_file::question(text, None)).to_vec(),
    };
    if questions.len() < 2 {
        bail!("there is no further question to measure; pass at least two");
    }
    let started = Instant::now();
    // The first layout is to be measured, not the disk.
    let model = ModelArgs { no_cache: true, ..args.model.clone() };
    let mut conversation = Conversation::start(&model, RecordingConfig::default(), None)?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    conversation.open_video(&args.video)?;
    let layout = conversation.state().video_timing.ok_or_else(|| anyhow!("the video has no layout"))?;
    let mut computed = Vec::new();
    let mut answer_ms = Vec::new();
    for (number, question) in questions.into_iter().enumerate() {
        let asked = Instant::now();
        conversation.ask(question)?;
        answer_ms.push(asked.elapsed().as_secs_f64() * 1e3);
        computed.push(AnswerJson::of(conversation.state(), number == 0)?.computed_tokens());
    }
    let model = conversation.model()?;
    let follow_ups = &mut answer_ms[1..];
    follow_ups.sort_by(f64::total_cmp);
    let (median, slowest) = (follow_ups[follow_ups.len() / 2], follow_ups[follow_ups.len() - 1]);
    let most = computed[1..].iter().copied().max().unwrap_or(1).max(1);
    let ratio = computed[0] as f64 / most as f64;
    let text = if args.json {
        serde_json::to_string_pretty(&serde_json::json!({
            "model": model.name, "device": model.device, "load_ms": load_ms, "first_layout_ms": layout.total,
            "layout_stages_ms": layout, "follow_up_median_ms": median, "follow_up_slowest_ms": slowest,
            "first_computed_tokens": computed[0], "follow_up_most_computed_tokens": most, "ratio": ratio,
        }))?
    } else {
        format!(
            "{} on {}\nmodel loaded         {load_ms:>8.0} ms\nfirst layout         {:>8.0} ms (decode {:.0}, vision {:.0}, camera {:.0}, prefill {:.0})\nfollow-up question   {median:>8.0} ms median, {slowest:.0} ms slowest of {}\ncomputed tokens      {:>8} first question with its video, {most} at most for a follow-up: {ratio:.1} times cheaper",
            model.name,
            model.device,
            layout.total,
            layout.decode,
            layout.vision,
            layout.camera,
            layout.prefill,
            follow_ups.len(),
            computed[0]
        )
    };
    output::result(&text);
    conversation.finish()?;
    Ok(ExitCode::SUCCESS)
}
