//! Questions about generated scenes: what a walk shows decides what is asked.

use rand_chacha::ChaCha8Rng;

use super::{QuestionOptions, QuestionScene, Sighting, outline, questions_about};
use crate::geometry::{AnchorFrame, ImageSize};
use crate::scene::SceneObject;
use crate::synth::{FIRST_OBJECT, Quality, Renderer, SynthQuestion, SynthScene, Walk};

/// Size of the pictures that decide what is visible.
const GLANCE: ImageSize = ImageSize::new(40, 30);
/// Pixels of [`GLANCE`] an object needs to count as seen.
const LEAST_PIXELS: usize = 3;
/// Seconds between two glances.
const GLANCE_SECS: f32 = 0.5;
/// Room a standing person needs, metres.
const BODY_RADIUS: f32 = 0.2;

/// Questions about a walk through a generated scene: situations and positions in
/// the bev space of the walk (anchored at its first pose). Empty without poses.
pub fn generate_questions(
    scene: &SynthScene,
    walk: &Walk,
    rng: &mut ChaCha8Rng,
    options: &QuestionOptions,
) -> Vec<SynthQuestion> {
    let Some(first) = walk.track.poses.first() else { return Vec::new() };
    let objects: Vec<SceneObject> = scene.objects().cloned().collect();
    let free = |p| scene.is_free(p, BODY_RADIUS);
    let (sightings, prominence) = sightings(scene, walk, objects.len()).into_iter().unzip();
    let asked = QuestionScene {
        frames: walk.track.poses.len() as u32,
        sightings,
        prominence,
        objects,
        rooms: scene.rooms.iter().map(|room| room.polygon.clone()).collect(),
        kinds: scene.rooms.iter().map(|room| room.kind).collect(),
        supports: scene.objects.iter().map(|object| object.support.map(|id| id.0 as usize)).collect(),
        outlines: scene.objects.iter().map(outline::of).collect(),
        anchor: AnchorFrame::from_first_camera(first),
        free: &free,
        prefers_fleeting: false,
    };
    questions_about(&asked, rng, options)
}

/// Per object when the walk shows it and the largest share of a picture that it fills,
/// looking every half second.
fn sightings(scene: &SynthScene, walk: &Walk, objects: usize) -> Vec<(Option<Sighting>, f32)> {
    let renderer = Renderer::new(scene);
    let intrinsics = walk.intrinsics.resized(GLANCE);
    let stride = ((walk.fps * GLANCE_SECS).round() as usize).max(1);
    let mut seen = vec![(None, 0.0f32); objects];
    let mut before = None;
    for (frame, pose) in walk.track.poses.iter().enumerate().step_by(stride) {
        let mut pixels = vec![0usize; objects];
        for id in renderer.render(pose, &intrinsics, Quality::Fast).ids {
            let object = id.checked_sub(FIRST_OBJECT).map(usize::from);
            if let Some(count) = object.and_then(|index| pixels.get_mut(index)) {
                *count += 1;
            }
        }
        let frame = frame as u32;
        for ((sighting, share), count) in seen.iter_mut().zip(pixels) {
            *share = share.max(count as f32 / GLANCE.pixels() as f32);
            if count >= LEAST_PIXELS {
                *sighting = Some(glanced(*sighting, frame, before));
            }
        }
        before = Some(frame);
    }
    seen
}

/// `sighting` of an object that is seen in `frame`, too; `before` is the glance before.
fn glanced(sighting: Option<Sighting>, frame: u32, before: Option<u32>) -> Sighting {
    match sighting {
        None => Sighting { first: frame, last: frame, glances: 1, visits: 1 },
        Some(old) => Sighting {
            last: frame,
            glances: old.glances + 1,
            visits: old.visits + u32::from(before != Some(old.last)),
            ..old
        },
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::qa::Bearing;
    use crate::synth::{SynthConfig, generate_scene, generate_walk};

    fn asked(seed: u64) -> (SynthScene, Walk, Vec<SynthQuestion>) {
        asked_with(seed, &QuestionOptions::default())
    }

    fn asked_with(seed: u64, options: &QuestionOptions) -> (SynthScene, Walk, Vec<SynthQuestion>) {
        let config = SynthConfig { seconds: (8.0, 10.0), ..SynthConfig::training() };
        let scene = generate_scene(seed, &config);
        let walk = generate_walk(&scene, seed, &config);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let questions = generate_questions(&scene, &walk, &mut rng, options);
        (scene, walk, questions)
    }

    #[test]
    fn glances_that_follow_each_other_are_one_visit() {
        let mut sighting = None;
        // Seen in the glances at 6, 12 and 24 of 0, 6, 12, 18, 24.
        for (frame, before) in [(6, Some(0)), (12, Some(6)), (24, Some(18))] {
            sighting = Some(glanced(sighting, frame, before));
        }
        assert_eq!(sighting, Some(Sighting { first: 6, last: 24, glances: 3, visits: 2 }));
    }

    #[test]
    fn hard_draws_name_more_of_what_the_walk_hardly_shows() {
        let shares = [0.0, 1.0].map(|fleeting| {
            let options = QuestionOptions { fleeting, room_questions: 0, ..QuestionOptions::default() };
            let (mut hard, mut all) = (0u32, 0u32);
            for seed in 30..40 {
                let (scene, walk, questions) = asked_with(seed, &options);
                let seen = sightings(&scene, &walk, scene.objects.len());
                let early = walk.track.poses.len() as u32 / 2;
                for mention in questions.iter().flat_map(|q| q.mentions.iter().chain(&q.asked_about)) {
                    let seen = seen[mention.object.0 as usize].0.unwrap();
                    all += 1;
                    hard += u32::from(seen.last < early || (seen.visits == 1 && seen.glances <= 3));
                }
            }
            f64::from(hard) / f64::from(all)
        });
        let [plain, hard] = shares;
        assert!(hard > 1.15 * plain, "{plain} {hard}");
    }

    #[test]
    fn generated_scenes_have_plenty_of_questions() {
        let counts: Vec<usize> = (0..6).map(|seed| asked(seed).2.len()).collect();
        let enough = counts.iter().filter(|count| **count >= 16).count();
        assert!(enough >= 4, "{counts:?}");
    }

    #[test]
    fn situations_lie_in_a_room_and_look_at_what_they_face() {
        for seed in 0..6 {
            let (scene, walk, questions) = asked(seed);
            let anchor = AnchorFrame::from_first_camera(&walk.track.poses[0]);
            for question in &questions {
                let (Some(situation), Some(text)) =
                    (question.labeled.situation, &question.labeled.question.situation_text)
                else {
                    continue;
                };
                let at = glam::Vec2::from(situation.position).extend(0.0);
                let world = anchor.world_from_anchor(at).truncate();
                assert!(scene.room_of(world).is_some(), "{text} at {world}");
                let Some(facing) = question.mentions.iter().find(|m| text[..m.start].contains("facing the "))
                else {
                    continue;
                };
                let between = &text[text.find("facing the ").unwrap()..facing.start];
                if between.split(' ').count() <= 4 {
                    let target = scene.objects[facing.object.0 as usize].object.bounds.center;
                    let bearing = Bearing::of(&situation, anchor.bev_from_world(target));
                    assert!(bearing.angle.abs() < 0.8, "{text} {bearing:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_named_was_seen() {
        for seed in 10..14 {
            let (scene, walk, questions) = asked(seed);
            let seen = sightings(&scene, &walk, scene.objects.len());
            for mention in questions.iter().flat_map(|question| &question.mentions) {
                assert!(seen[mention.object.0 as usize].0.is_some());
            }
        }
    }

    #[test]
    fn what_stands_out_is_named_more_often() {
        let (mut named, mut all) = (Vec::new(), Vec::new());
        for seed in 20..28 {
            let (scene, walk, questions) = asked(seed);
            let seen = sightings(&scene, &walk, scene.objects.len());
            all.extend(seen.iter().filter(|(first, _)| first.is_some()).map(|(_, share)| *share));
            let mentions = questions.iter().flat_map(|question| &question.mentions);
            named.extend(mentions.map(|mention| seen[mention.object.0 as usize].1));
        }
        let median = |shares: &mut Vec<f32>| {
            shares.sort_by(f32::total_cmp);
            shares[shares.len() / 2]
        };
        assert!(median(&mut named) > 1.5 * median(&mut all), "{} {}", median(&mut named), median(&mut all));
    }

    #[test]
    fn a_walk_without_poses_has_no_questions() {
        let (scene, mut walk, _) = asked(3);
        walk.track.poses.clear();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        assert!(generate_questions(&scene, &walk, &mut rng, &QuestionOptions::default()).is_empty());
    }
}
