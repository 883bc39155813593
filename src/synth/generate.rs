//! From a seed to a furnished scene.

use rand::Rng as _;

use super::SynthConfig;
use super::floor_plan;
use super::furnish::Furnisher;
use super::room_programs;
use super::scene::{Door, Lighting, Room, SynthScene};
use super::seeding::{Purpose, stream};
use crate::scene::ObjectId;

/// A furnished scene; the same seed and configuration give the same scene.
pub fn generate_scene(seed: u64, config: &SynthConfig) -> SynthScene {
    let plan = floor_plan::draw(seed, config);
    let mut rng = stream(seed, Purpose::Appearance);
    let limit = rng.random_range(config.objects.0..=config.objects.1) as usize;
    let lighting = draw_lighting(&mut rng);
    let alike = stream(seed, Purpose::Symmetry).random_bool(config.symmetric.clamp(0.0, 1.0));
    let mut furnisher = Furnisher::new(seed, &plan);
    // Small rooms are furnished more densely than large ones.
    let weight = |room: &Room| room.area().sqrt();
    let mut left = limit as f32;
    let mut total: f32 = plan.rooms.iter().map(weight).sum();
    for (index, room) in plan.rooms.iter().enumerate() {
        let share = left * weight(room) / total;
        let (first, count) = (furnisher.placed.len(), share.round() as usize);
        room_programs::furnish(&mut furnisher, index, if alike { count.div_ceil(2) } else { count });
        if alike {
            furnisher.repeat_across(index, first);
        }
        left -= share;
        total -= weight(room);
    }
    let objects = furnisher.placed;
    let doors = plan
        .openings
        .iter()
        .enumerate()
        .filter(|(_, opening)| opening.category != "window")
        .map(|(index, opening)| Door { object: ObjectId(index as u32), rooms: opening.rooms })
        .collect();
    SynthScene { seed, rooms: plan.rooms, doors, objects, lighting }
}

fn draw_lighting(rng: &mut impl rand::Rng) -> Lighting {
    Lighting {
        sun_azimuth: rng.random_range(0.0..360.0),
        sun_elevation: rng.random_range(18.0..58.0),
        sun: if rng.random_bool(0.65) { rng.random_range(1.5..5.0) } else { 0.0 },
        sky: rng.random_range(0.5..1.6),
        lamps: rng.random_range(0.5..1.4),
        warmth: rng.random_range(0.0..0.8),
        exposure: rng.random_range(0.85..1.2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::catalogue::{is_opening, is_passable};

    #[test]
    fn symmetric_rooms_repeat_their_furniture_across_the_middle() {
        let config = SynthConfig { symmetric: 1.0, rooms: (1, 1), ..SynthConfig::training() };
        let (mut all, mut repeated) = (0, 0);
        for seed in 0..40 {
            let scene = generate_scene(seed, &config);
            let (low, high) = scene.rooms[0].bounds();
            for object in scene.objects().filter(|object| !is_opening(object.category.as_str())) {
                let across = low + high - object.bounds.center.truncate();
                all += 1;
                repeated += usize::from(scene.objects().any(|twin| {
                    twin.id != object.id
                        && twin.category == object.category
                        && twin.color == object.color
                        && twin.bounds.center.truncate().distance(across) < 1e-3
                }));
            }
        }
        // Doors and what stands in the middle have no twin.
        assert!(2 * repeated > all && all > 400, "{repeated} of {all}");
    }

    #[test]
    fn objects_stand_inside_rooms_without_overlap() {
        let symmetric = SynthConfig { symmetric: 0.5, ..SynthConfig::training() };
        for (seed, config) in
            (0..40).flat_map(|seed| [(seed, SynthConfig::training()), (seed, symmetric.clone())])
        {
            let scene = generate_scene(seed, &config);
            let solid: Vec<_> = scene
                .objects
                .iter()
                .filter(|o| {
                    !is_opening(o.object.category.as_str()) && !is_passable(o.object.category.as_str())
                })
                .collect();
            for (i, a) in solid.iter().enumerate() {
                let bounds = &a.object.bounds;
                assert!(scene.room_of(bounds.center.truncate()).is_some(), "seed {seed} {:?}", a.object);
                for b in &solid[i + 1..] {
                    if a.support == Some(b.object.id) || b.support == Some(a.object.id) {
                        continue;
                    }
                    let other = &b.object.bounds;
                    let in_height =
                        bounds.bottom() < other.top() - 1e-3 && other.bottom() < bounds.top() - 1e-3;
                    assert!(
                        !(in_height && bounds.footprint_overlaps(other, -0.002)),
                        "seed {seed}: {:?} and {:?}",
                        a.object,
                        b.object
                    );
                }
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_scene() {
        let config = SynthConfig::training();
        assert_eq!(generate_scene(11, &config), generate_scene(11, &config));
        assert_ne!(generate_scene(11, &config), generate_scene(12, &config));
    }

    #[test]
    fn televisions_face_their_sofas() {
        let config = SynthConfig { rooms: (1, 1), objects: (20, 30), ..SynthConfig::training() };
        let mut pairs = 0;
        for seed in 0..60 {
            let scene = generate_scene(seed, &config);
            let find = |name| scene.objects().find(|o| o.category.as_str() == name);
            if let (Some(tv), Some(sofa)) = (find("tv"), find("sofa")) {
                pairs += 1;
                assert!(tv.bounds.yaw.direction().dot(sofa.bounds.yaw.direction()) < -0.9, "seed {seed}");
            }
        }
        assert!(pairs > 5);
    }

    #[test]
    fn scenes_show_most_categories() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let scene = generate_scene(seed, &SynthConfig::training());
            seen.extend(scene.objects().map(|o| o.category.as_str().to_owned()));
        }
        let missing: Vec<_> = super::super::CATEGORIES.iter().filter(|c| !seen.contains(**c)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
