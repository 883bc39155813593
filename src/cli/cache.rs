//! `loc3r cache`: what models saw of videos, kept on disk.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::{output, places};
use crate::model::feature_cache::CacheEntry;

const EXAMPLES: &str = "\
Examples:
  loc3r cache            what is kept, how large it is and when it was used last
  loc3r cache --clear    remove all of it

LOC3R_CACHE names the folder (off: keep nothing), LOC3R_CACHE_MB its limit in megabytes.";

/// List or clear what models saw of videos: a video that was opened before opens at once.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(super) struct CacheArgs {
    /// Remove all entries
    #[arg(long)]
    clear: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CacheArgs) -> anyhow::Result<ExitCode> {
    let Some(cache) = places::feature_cache()? else {
        bail!("nothing is kept: LOC3R_CACHE is off, or this system names no cache folder");
    };
    let folder = cache.folder.display().to_string();
    if args.clear {
        let (count, bytes) = cache.clear().with_context(|| format!("cannot clear {folder}"))?;
        output::result(&if args.json {
            json!({ "folder": folder, "removed": count, "bytes": bytes }).to_string()
        } else {
            format!("removed {count} videos, {} MB, from {folder}", megabytes(bytes))
        });
        return Ok(ExitCode::SUCCESS);
    }
    let entries = cache.entries().with_context(|| format!("cannot read {folder}"))?;
    let now = SystemTime::now();
    if args.json {
        let list: Vec<_> = entries.iter().map(|entry| listed(entry, now)).collect();
        let text = json!({ "folder": folder, "limit_bytes": cache.limit, "entries": list });
        output::result(&serde_json::to_string_pretty(&text)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines: Vec<String> = entries.iter().map(|entry| line(entry, now)).collect();
    let sum = entries.iter().map(|entry| entry.bytes).sum();
    lines.push(format!(
        "{} videos, {} of {} MB, in {folder}",
        entries.len(),
        megabytes(sum),
        megabytes(cache.limit)
    ));
    output::result(&lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

fn line(entry: &CacheEntry, now: SystemTime) -> String {
    let (model, video) = match &entry.facts {
        Some(facts) => (facts.model.as_str(), facts.video.as_str()),
        None => ("-", "damaged, or of another version"),
    };
    format!("{:>9} MB  {:>12}  {model:<16} {video}", megabytes(entry.bytes), age(entry, now))
}

fn listed(entry: &CacheEntry, now: SystemTime) -> serde_json::Value {
    json!({
        "file": entry.path,
        "bytes": entry.bytes,
        "unused_secs": unused(entry, now).as_secs(),
        "model": entry.facts.as_ref().map(|facts| &facts.model),
        "video": entry.facts.as_ref().map(|facts| &facts.video),
    })
}

fn unused(entry: &CacheEntry, now: SystemTime) -> Duration {
    now.duration_since(entry.used).unwrap_or_default()
}

/// "3 h ago".
fn age(entry: &CacheEntry, now: SystemTime) -> String {
    let secs = unused(entry, now).as_secs();
    match secs {
        0..=119 => "just now".to_owned(),
        120..=7199 => format!("{} min ago", secs / 60),
        7200..=172_799 => format!("{} h ago", secs / 3600),
        _ => format!("{} days ago", secs / 86_400),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_words() {
        let now = SystemTime::now();
        let told = |secs| {
            let used = now - Duration::from_secs(secs);
            age(&CacheEntry { path: "a.seen".into(), bytes: 0, used, facts: None }, now)
        };
        assert_eq!([told(5), told(600), told(9000)], ["just now", "10 min ago", "2 h ago"]);
        assert_eq!(told(400_000), "4 days ago");
    }
}
