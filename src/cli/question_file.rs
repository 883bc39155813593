//! Files of questions: one a line, or JSON (texts, or objects with `question` or
//! `text`, and optionally `situation` or `situation_text`, `choices`, `kind`), as
//! beside every generated clip (`NAME.questions.json`).

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::qa::{Question, QuestionKind};

/// One entry of a JSON file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Text(String),
    Object {
        #[serde(alias = "question")]
        text: String,
        // `situation` may also be the true position of a generated question.
        situation: Option<serde_json::Value>,
        situation_text: Option<String>,
        #[serde(default)]
        choices: Vec<String>,
        kind: Option<QuestionKind>,
    },
}

/// A question from its words.
pub(super) fn question(text: &str, situation: Option<&str>) -> Question {
    Question {
        kind: QuestionKind::of_sqa3d(text),
        text: text.to_owned(),
        situation_text: situation.map(str::to_owned),
        choices: Vec::new(),
    }
}

/// Reads a file; questions without a situation of their own get `situation`.
pub(super) fn read(path: &Path, situation: Option<&str>) -> anyhow::Result<Vec<Question>> {
    let content = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the questions {}; check the path", path.display()))?;
    let questions = if content.trim_start().starts_with('[') {
        from_json(&content, situation).with_context(|| {
            format!(
                "{} is not a list of questions; accepted are lines of text, a JSON list of texts, or of objects with \"question\" and \"situation\"",
                path.display()
            )
        })?
    } else {
        from_lines(&content, situation)
    };
    if questions.is_empty() {
        bail!("{} holds no question; write one a line", path.display());
    }
    Ok(questions)
}

fn from_lines(content: &str, situation: Option<&str>) -> Vec<Question> {
    let lines = content.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| question(line, situation)).collect()
}

fn from_json(content: &str, fallback: Option<&str>) -> serde_json::Result<Vec<Question>> {
    let entries: Vec<Entry> = serde_json::from_str(content)?;
    Ok(entries
        .into_iter()
        .map(|entry| match entry {
            Entry::Text(text) => question(&text, fallback),
            Entry::Object { text, situation, situation_text, choices, kind } => {
                let own = situation_text.or_else(|| situation?.as_str().map(str::to_owned));
                Question {
                    kind: kind.unwrap_or_else(|| QuestionKind::of_sqa3d(&text)),
                    situation_text: own.or_else(|| fallback.map(str::to_owned)),
                    text,
                    choices,
                }
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(content: &str) -> anyhow::Result<Vec<Question>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q");
        std::fs::write(&path, content).unwrap();
        read(&path, Some("I am here"))
    }

    #[test]
    fn lines_are_questions_and_remarks_are_not() {
        let questions = read_text("# a remark\nWhat is this?\n\n  Is it red?  \n").unwrap();
        let texts: Vec<&str> = questions.iter().map(|question| question.text.as_str()).collect();
        assert_eq!(texts, ["What is this?", "Is it red?"]);
        assert_eq!(questions[0].situation_text.as_deref(), Some("I am here"));
    }

    #[test]
    fn texts_and_objects_in_json() {
        let questions = read_text(
            r#"["What?", {"question": "Where?", "situation": "I sit"},
               {"kind": "object_counting", "text": "How many?", "choices": ["1", "2"], "key": {"number": 2.0},
                "situation": {"position": {"x": 1.0, "y": 2.0}, "orientation": 0.5}, "situation_text": "I stand"}]"#,
        )
        .unwrap();
        let situations: Vec<&str> =
            questions.iter().map(|question| question.situation_text.as_deref().unwrap()).collect();
        assert_eq!(situations, ["I am here", "I sit", "I stand"]);
        assert_eq!((questions[2].kind, questions[2].choices.len()), (QuestionKind::ObjectCounting, 2));
    }

    #[test]
    fn empty_and_broken_files_say_what_is_accepted() {
        for (content, expected) in
            [("", "one a line"), ("# only\n", "one a line"), ("[1, 2]", "accepted are")]
        {
            let message = format!("{:#}", read_text(content).unwrap_err());
            assert!(message.contains(expected), "{message}");
        }
    }
}
