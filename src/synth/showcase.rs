//! The bundled sample clips: chosen seeds with names.

use super::scene::RoomKind;
use super::{SynthConfig, SynthScene, Walk, generate_scene, generate_walk};

/// Names of the sample clips.
pub const SHOWCASES: &[&str] = &["studio", "two_rooms", "office"];

/// Scene and walk of a sample clip; `None` for a name that is not in [`SHOWCASES`].
pub fn showcase(name: &str) -> Option<(SynthScene, Walk)> {
    let base = SynthConfig::showcase();
    let (scene_seed, walk_seed, config) = match name {
        "studio" => (
            5,
            5,
            SynthConfig {
                rooms: (1, 1),
                kinds: vec![RoomKind::Studio],
                room_side: (5.0, 6.5),
                objects: (24, 30),
                ..base
            },
        ),
        "two_rooms" => (
            5,
            28,
            SynthConfig {
                rooms: (2, 2),
                kinds: vec![RoomKind::Living, RoomKind::Bedroom],
                room_side: (4.0, 5.5),
                objects: (28, 34),
                seconds: (24.0, 24.0),
                ..base
            },
        ),
        "office" => (
            5,
            3,
            SynthConfig {
                rooms: (1, 1),
                kinds: vec![RoomKind::Office],
                room_side: (4.8, 6.2),
                objects: (20, 26),
                ..base
            },
        ),
        _ => return None,
    };
    let scene = generate_scene(scene_seed, &config);
    let walk = generate_walk(&scene, walk_seed, &config);
    Some((scene, walk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_clips_last_15_to_25_seconds_and_pass_all_rooms() {
        for name in SHOWCASES {
            let (scene, walk) = showcase(name).unwrap();
            let seconds = walk.track.poses.len() as f32 / walk.fps;
            assert!((15.0..=25.0).contains(&seconds), "{name}: {seconds} s");
            for room in 0..scene.rooms.len() {
                let is_visited =
                    walk.track.poses.iter().any(|p| scene.room_of(p.position.truncate()) == Some(room));
                assert!(is_visited, "{name}: room {room}");
            }
        }
        assert!(showcase("castle").is_none());
    }
}
