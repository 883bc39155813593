//! `loc3r synth`: generated rooms and scene files to video and truth.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::output;
use crate::dataset::read_real_rooms;
use crate::evaluate::real_rooms::scene_file;
use crate::geometry::ImageSize;
use crate::synth::{
    ExportOptions, Quality, SHOWCASES, SynthConfig, SynthScene, Walk, export_walk, generate_scene,
    generate_walk, parse_scene_file, read_scene_file, showcase,
};

/// Generate rooms, or render a scene file, with exact truth.
///
/// Rooms that are there as labelled boxes become scene files with --layouts.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "every flag of the command line stands alone")]
pub(super) struct SynthArgs {
    /// Folder to write to; it is created.
    #[arg(long, value_name = "DIR", default_value = "synth")]
    out: PathBuf,
    /// Render this scene file instead of generating rooms.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["showcase", "seed", "count", "preset", "size", "seconds", "fps"])]
    scene: Option<PathBuf>,
    /// Write a scene file for every room of a JSON file of rooms as labelled boxes (as `loc3r
    /// evaluate --layouts` reads it), to be rendered with --scene; nothing is rendered yet.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scene", "showcase", "seed", "count", "preset", "size", "seconds", "fps", "samples", "frames", "depth", "ids", "poses"])]
    layouts: Option<PathBuf>,
    /// Render a sample clip (studio, two_rooms, office) or `all` of them.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["seed", "count", "preset", "size", "seconds", "fps"])]
    showcase: Option<String>,
    /// Seed of the first clip; the others follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of clips.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// What rooms look like: `showcase` (calm, 24 frames/s) or `training` (wide variation).
    #[arg(long, value_enum, default_value_t = Preset::Showcase)]
    preset: Preset,
    /// Size of the frames in pixels.
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    size: Option<ImageSize>,
    /// Length of each clip.
    #[arg(long)]
    seconds: Option<f32>,
    /// Frames per second.
    #[arg(long)]
    fps: Option<f32>,
    /// Rays per pixel; 0 renders quickly, without shadows.
    #[arg(long, default_value_t = 4)]
    samples: u32,
    /// Write a folder of PNG pictures instead of a video.
    #[arg(long)]
    frames: bool,
    /// Also write depth: 16-bit PNG, millimetres.
    #[arg(long)]
    depth: bool,
    /// Also write what each pixel shows: 16-bit PNG.
    #[arg(long)]
    ids: bool,
    /// Also write the camera path as text (TUM format).
    #[arg(long)]
    poses: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Preset {
    Showcase,
    Training,
}

fn parse_size(text: &str) -> Result<ImageSize, String> {
    let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match sides {
        Some((width, height)) if (16..=4096).contains(&width) && (16..=4096).contains(&height) => {
            Ok(ImageSize::new(width, height))
        }
        _ => Err("write it as 640x480; sides may be 16 to 4096 pixels".to_owned()),
    }
}

pub(super) fn run(args: SynthArgs) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.scene {
        let loaded = read_scene_file(file)?;
        for warning in &loaded.warnings {
            output::note(&format!("warning: {warning}"));
        }
        let name = clip_name(file)?;
        let written = args.out.join(format!("{name}.scene.json"));
        if written.canonicalize().is_ok_and(|written| file.canonicalize().is_ok_and(|read| read == written)) {
            bail!(
                "{} would be replaced by the truth of its clip; choose another folder with --out",
                file.display()
            );
        }
        write_clip(&args, &name, &loaded.scene, &loaded.walk)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &args.layouts {
        return write_layouts(&args.out, file);
    }
    if let Some(wanted) = &args.showcase {
        return write_showcases(&args, wanted);
    }
    let config = config(&args)?;
    for seed in args.seed..args.seed.saturating_add(args.count) {
        let scene = generate_scene(seed, &config);
        let walk = generate_walk(&scene, seed, &config);
        write_clip(&args, &format!("scene_{seed:07}"), &scene, &walk)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes `ROOM.scene.json` for every room of `file` to the folder `out`, which is made.
fn write_layouts(out: &Path, file: &Path) -> anyhow::Result<ExitCode> {
    let rooms = read_real_rooms(file)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    for room in &rooms {
        if room.name.is_empty() || room.name.contains(['/', '\\']) {
            bail!("{}: the room {:?} cannot be the name of a file; rename it", file.display(), room.name);
        }
        let path = out.join(format!("{}.scene.json", room.name));
        let text = scene_file(room);
        // What could not be rendered is told now, not when somebody tries.
        for warning in parse_scene_file(&text, &path)?.warnings {
            output::note(&format!("warning: {}: {warning}", path.display()));
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        output::result(&path.display().to_string());
    }
    Ok(ExitCode::SUCCESS)
}

fn write_showcases(args: &SynthArgs, wanted: &str) -> anyhow::Result<ExitCode> {
    let names: Vec<&str> =
        SHOWCASES.iter().copied().filter(|name| wanted == "all" || *name == wanted).collect();
    if names.is_empty() {
        bail!("there is no sample clip {wanted:?}; choose one of {}, or `all`", SHOWCASES.join(", "));
    }
    for name in names {
        let (scene, walk) = showcase(name).with_context(|| format!("sample clip {name} is missing"))?;
        write_clip(args, name, &scene, &walk)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn config(args: &SynthArgs) -> anyhow::Result<SynthConfig> {
    let mut config = match args.preset {
        Preset::Showcase => SynthConfig::showcase(),
        Preset::Training => SynthConfig::training(),
    };
    if let Some(size) = args.size {
        config.video_size = size;
    }
    if let Some(seconds) = args.seconds {
        if !(0.1..=600.0).contains(&seconds) {
            bail!("--seconds must lie between 0.1 and 600");
        }
        config.seconds = (seconds, seconds);
    }
    if let Some(fps) = args.fps {
        if !(0.1..=240.0).contains(&fps) {
            bail!("--fps must lie between 0.1 and 240");
        }
        config.fps = fps;
    }
    Ok(config)
}

/// `room.scene.json` and `room.json` both make `room`.
fn clip_name(file: &Path) -> anyhow::Result<String> {
    let name = file.file_name().and_then(|name| name.to_str()).context("the scene file has no name")?;
    let name = name.strip_suffix(".json").unwrap_or(name);
    Ok(name.strip_suffix(".scene").unwrap_or(name).to_owned())
}

fn write_clip(args: &SynthArgs, name: &str, scene: &SynthScene, walk: &Walk) -> anyhow::Result<()> {
    let options = ExportOptions {
        quality: if args.samples == 0 { Quality::Fast } else { Quality::Fine { samples: args.samples } },
        as_pictures: args.frames,
        depth: args.depth,
        ids: args.ids,
        poses: args.poses,
        rate_factor: 24,
    };
    let bar = output::Counter::start(name, walk.track.poses.len());
    let outcome = export_walk(&args.out, name, scene, walk, &options, |frame| bar.set(frame + 1));
    bar.clear();
    let target = outcome?;
    output::result(&format!(
        "{}: {} frames, {} rooms, {} objects",
        target.display(),
        walk.track.poses.len(),
        scene.rooms.len(),
        scene.objects.len()
    ));
    Ok(())
}
