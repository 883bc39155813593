//! `loc3r bench synth`: frames a second of the room renderer.

use std::process::ExitCode;
use std::time::Instant;

use crate::cli::output;
use crate::geometry::{CameraPose, ImageSize, Intrinsics};
use crate::synth::{Quality, Renderer, SynthConfig, generate_scene, generate_walk};

/// Frames a second of generated rooms, with and without culling.
#[derive(Debug, clap::Args)]
pub(super) struct SynthBenchArgs {
    /// Number of generated scenes.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    scenes: u64,
    /// Frames rendered of each scene.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    frames: u32,
    /// Side of the square frames in pixels.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(8..=2048))]
    side: u32,
}

/// Seconds spent on each part.
#[derive(Debug, Default)]
struct Spent {
    generate: f64,
    prepare: f64,
    culled: f64,
    unculled: f64,
}

pub(super) fn run(args: &SynthBenchArgs) -> ExitCode {
    let config = SynthConfig::training();
    let mut spent = Spent::default();
    for seed in 0..args.scenes {
        let start = Instant::now();
        let scene = generate_scene(seed, &config);
        let walk = generate_walk(&scene, seed, &config);
        spent.generate += start.elapsed().as_secs_f64();
        let start = Instant::now();
        let renderer = Renderer::new(&scene);
        spent.prepare += start.elapsed().as_secs_f64();
        let intrinsics = walk.intrinsics.resized(ImageSize::new(args.side, args.side));
        let count = walk.track.poses.len();
        let poses: Vec<CameraPose> =
            (0..args.frames as usize).map(|k| walk.track.poses[k * count / args.frames as usize]).collect();
        spent.culled +=
            timed(&poses, &intrinsics, |pose, camera| renderer.render(pose, camera, Quality::Fast));
        // A few frames tell the reference's speed well enough.
        let few = &poses[..poses.len().min(2)];
        spent.unculled +=
            timed(few, &intrinsics, |pose, camera| renderer.render_unculled(pose, camera, Quality::Fast))
                * poses.len() as f64
                / few.len() as f64;
    }
    let frames = args.scenes as f64 * f64::from(args.frames);
    let per_scene = 1000.0 / args.scenes as f64;
    output::result(&format!(
        "{frames:.0} frames of {side}x{side} from {} scenes, {} threads\n\
         rendering            {:.0} frames/s\n\
         without culling      {:.0} frames/s (culling is {:.1} times faster)\n\
         generate scene, walk {:.2} ms a scene\n\
         prepare renderer     {:.2} ms a scene",
        args.scenes,
        rayon::current_num_threads(),
        frames / spent.culled,
        frames / spent.unculled,
        spent.unculled / spent.culled,
        spent.generate * per_scene,
        spent.prepare * per_scene,
        side = args.side,
    ));
    ExitCode::SUCCESS
}

fn timed<T>(
    poses: &[CameraPose],
    camera: &Intrinsics,
    render: impl Fn(&CameraPose, &Intrinsics) -> T,
) -> f64 {
    let start = Instant::now();
    for pose in poses {
        std::hint::black_box(render(pose, camera));
    }
    start.elapsed().as_secs_f64()
}
