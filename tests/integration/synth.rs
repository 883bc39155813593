//! Generated rooms: the same bytes on every run and any number of threads, and
//! scene files that come back from disk as they were.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use loc3r::geometry::ImageSize;
use loc3r::synth::{
    LoadedScene, Quality, RenderedView, Renderer, SynthConfig, SynthScene, Walk, generate_scene,
    generate_walk, read_scene_file, scene_json, write_scene_file,
};
use sha2::{Digest as _, Sha256};

const SEED: u64 = 42;

fn config() -> SynthConfig {
    SynthConfig {
        rooms: (2, 2),
        room_side: (3.0, 4.0),
        objects: (10, 14),
        seconds: (8.0, 8.0),
        fps: 2.0,
        ..SynthConfig::training()
    }
}

fn clip() -> (SynthScene, Walk) {
    let scene = generate_scene(SEED, &config());
    let walk = generate_walk(&scene, SEED, &config());
    (scene, walk)
}

fn hash(views: &[RenderedView]) -> String {
    let mut hasher = Sha256::new();
    for view in views {
        hasher.update(&view.rgb);
        view.depth.iter().for_each(|depth| hasher.update(depth.to_le_bytes()));
        view.ids.iter().for_each(|id| hasher.update(id.to_le_bytes()));
    }
    format!("{:x}", hasher.finalize())
}

fn views(quality: Quality, threads: usize) -> Vec<RenderedView> {
    let (scene, walk) = clip();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let renderer = Renderer::new(&scene);
        let camera = walk.intrinsics.resized(ImageSize::new(64, 48));
        walk.track.poses.iter().step_by(5).map(|pose| renderer.render(pose, &camera, quality)).collect()
    })
}

#[test]
fn a_seed_gives_the_same_scene_file_on_every_run() {
    let (scene, walk) = clip();
    let digest = format!("{:x}", Sha256::digest(scene_json(&scene, &walk)));
    insta::assert_snapshot!(digest, @"719c75b0961ec4dfcce1de7086dcfdbbf8173087fde770c31fafb28fa0f10956");
}

#[test]
fn a_seed_gives_the_same_pictures_on_every_run_and_any_number_of_threads() {
    let fast = hash(&views(Quality::Fast, 1));
    assert_eq!(fast, hash(&views(Quality::Fast, 3)));
    insta::assert_snapshot!(fast, @"68f360d79ff67181a7b2497874a2b855259f7b72b27317da92320ed9cdfc29a7");
    let fine = hash(&views(Quality::Fine { samples: 2 }, 1));
    assert_eq!(fine, hash(&views(Quality::Fine { samples: 2 }, 3)));
    insta::assert_snapshot!(fine, @"052b997a69a8ffc52cb461a2ece4462232e20150849c4eb16f5f6556ac0e1f47");
}

#[test]
fn a_scene_file_comes_back_from_disk_and_renders_alike() {
    let (scene, walk) = clip();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("room.scene.json");
    write_scene_file(&path, &scene, &walk).unwrap();
    let LoadedScene { scene: loaded, walk: track, warnings } = read_scene_file(&path).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(track, walk);
    let camera = walk.intrinsics.resized(ImageSize::new(64, 48));
    let render =
        |scene: &SynthScene| Renderer::new(scene).render(&walk.track.poses[3], &camera, Quality::Fast);
    assert!(render(&loaded) == render(&scene));
}

#[test]
fn a_bad_scene_file_is_named_with_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.json");
    let missing = read_scene_file(&path).unwrap_err().to_string();
    assert!(missing.contains("broken.json") && missing.contains("check the path"), "{missing}");
    std::fs::write(&path, "").unwrap();
    assert!(read_scene_file(&path).unwrap_err().to_string().contains("broken.json"));
    std::fs::write(
        &path,
        r#"{"rooms": [{"bounds": [[0, 0], [4, 4]]}], "walk": {},
            "objects": [{"category": "chair", "bounds": {"center": [1, 1, 0.5], "size": [0, 1, 1]}}]}"#,
    )
    .unwrap();
    let message = read_scene_file(&path).unwrap_err().to_string();
    assert!(message.contains("objects[0].bounds.size"), "{message}");
}
