//! Generated rooms: the same bytes on every run and any number of threads, and
//! scene files that come back from disk as they were.

use loc3r::geometry::ImageSize;
use loc3r::synth::{
    LoadedScene, Quality, RenderedView, Renderer, SynthConfig, SynthScene, Walk, generate_scene,
    generate_walk, read_scene_file, scene_json, showcase, write_scene_file,
};
use sha2::{Digest as _, Sha256};

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
    let scene = generate_scene(42, &config());
    let walk = generate_walk(&scene, 42, &config());
    (scene, walk)
}

/// Colours, depth in millimetres and ids of all views.
fn digest(views: &[RenderedView]) -> String {
    let mut hasher = Sha256::new();
    for view in views {
        hasher.update(&view.rgb);
        view.depth.iter().for_each(|depth| hasher.update(((depth * 1000.0).round() as u16).to_le_bytes()));
        view.ids.iter().for_each(|id| hasher.update(id.to_le_bytes()));
    }
    format!("{:x}", hasher.finalize())
}

/// Four small pictures of the office clip.
fn views(quality: Quality, threads: usize) -> Vec<RenderedView> {
    let (scene, walk) = showcase("office").unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let renderer = Renderer::new(&scene);
        let camera = walk.intrinsics.resized(ImageSize::new(64, 48));
        walk.track.poses.iter().step_by(100).map(|pose| renderer.render(pose, &camera, quality)).collect()
    })
}

#[test]
fn a_seed_gives_the_same_scene_file_on_every_run() {
    let (scene, walk) = showcase("office").unwrap();
    let digest = format!("{:x}", Sha256::digest(scene_json(&scene, &walk)));
    insta::assert_snapshot!(digest, @"2d07422c53331394f57f2c792cc3e2b9073aa4274d135caf05bbcb962f0bbe69");
}

#[test]
fn a_seed_gives_the_same_pictures_on_every_run_and_any_number_of_threads() {
    let fast = views(Quality::Fast, 1);
    assert!(fast == views(Quality::Fast, 3));
    insta::assert_snapshot!(digest(&fast), @"894ca2937dee39b73c5ea81ac12a9a64ddd2eec6ac990c42b9eb8fb6e688a5a2");
    let fine = views(Quality::Fine { samples: 2 }, 1);
    assert!(fine == views(Quality::Fine { samples: 2 }, 3));
    insta::assert_snapshot!(digest(&fine), @"52edd2352a3460ce3fe96141ed7220f86467338c685fc07257cd9add1fd7ba84");
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
