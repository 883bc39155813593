//! What tells a thing from others of its kind, in the manner of people: "next to the sofa",
//! "with the laptop on it", "on the nightstand", "that is closest to the door".
//!
//! Only what is certain is said, and only beside things whose name means one object.

use rand::Rng as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use crate::synth::phrasing::{Beside, Referent, is_flat, names, noun_fits};
use crate::synth::questions::QuestionScene;

/// What is said and the objects that all of the words fit.
type Told = (Beside, Vec<usize>);
/// A way to say it; `None` where it is not true or does not help.
type Way = fn(&QuestionScene<'_>, &Referent, &mut ChaCha8Rng) -> Option<Told>;

/// Says of a thing where it is or what is on it; unchanged where nothing certain can be said.
pub(super) fn told_apart(scene: &QuestionScene<'_>, referent: Referent, rng: &mut ChaCha8Rng) -> Referent {
    let mut ways: [Way; 4] = [beside, holding, resting, closest];
    ways.shuffle(rng);
    // What a thing stands beside is said most.
    if rng.random_bool(0.5) {
        ways[0] = beside;
    }
    match ways.into_iter().find_map(|way| way(scene, &referent, rng)) {
        Some((beside, matches)) => Referent { beside: Some(beside), matches, ..referent },
        None => referent,
    }
}

/// `words` before and `after` another object.
fn said(scene: &QuestionScene<'_>, words: &'static str, other: usize, after: &'static str) -> Beside {
    Beside { words, after, id: scene.objects[other].id, noun: noun(scene, other) }
}

fn noun(scene: &QuestionScene<'_>, object: usize) -> String {
    names(&scene.objects[object].category).first().map_or_else(String::new, |name| (*name).to_owned())
}

/// A thing to tell others by: seen, upright, and its name means nothing else.
fn is_landmark(scene: &QuestionScene<'_>, object: usize) -> bool {
    let name = noun(scene, object);
    scene.seen(object)
        && !is_flat(&scene.objects[object].category)
        && scene.objects.iter().filter(|other| noun_fits(&name, other)).count() == 1
}

/// Whether one stands on the other.
fn stacked(scene: &QuestionScene<'_>, a: usize, b: usize) -> bool {
    scene.support(a) == Some(b) || scene.support(b) == Some(a)
}

/// "next to the sofa", "which stands by the window".
fn beside(scene: &QuestionScene<'_>, referent: &Referent, rng: &mut ChaCha8Rng) -> Option<Told> {
    /// As near as this is beside, metres.
    const NEAR: f32 = 0.8;
    /// As near as this might be called so, too.
    const DOUBTFUL: f32 = 1.4;
    /// A thing whose underside is lower than this stands on the floor, metres.
    const ON_FLOOR: f32 = 0.15;
    const ANY: &[&str] = &["next to", "next to", "next to", "by", "beside", "near", "that is next to"];
    const STANDING: &[&str] = &["next to", "next to", "by", "which stands by", "that stands next to"];
    let gap = |object: usize, to: usize| scene.gap(scene.center(object), to);
    let able: Vec<usize> = (0..scene.objects.len())
        .filter(|&i| {
            !referent.matches.contains(&i)
                && is_landmark(scene, i)
                && !stacked(scene, referent.object, i)
                && gap(referent.object, i) < NEAR
        })
        .collect();
    let &other = able.choose(rng)?;
    let stands = scene.objects[referent.object].bounds.bottom() < ON_FLOOR;
    let ways = if stands { STANDING } else { ANY };
    let &words = ways.choose(rng)?;
    let matches = referent.matches.iter().copied().filter(|&i| gap(i, other) < DOUBTFUL).collect();
    Some((said(scene, words, other, ""), matches))
}

/// "with the laptop on it".
fn holding(scene: &QuestionScene<'_>, referent: &Referent, rng: &mut ChaCha8Rng) -> Option<Told> {
    const WORDS: &[(&str, &str)] =
        &[("with", "on it"), ("with", "on top"), ("that has", "on it"), ("which has", "on top of it")];
    let held = scene.standing_on(referent.object);
    let &thing = held.choose(rng)?;
    let name = noun(scene, thing);
    let holds = |object: usize| {
        scene.standing_on(object).into_iter().filter(|&i| noun_fits(&name, &scene.objects[i])).count()
    };
    let matches: Vec<usize> = referent.matches.iter().copied().filter(|&i| holds(i) > 0).collect();
    let certain = scene.seen(thing) && holds(referent.object) == 1 && matches == [referent.object];
    let &(words, after) = WORDS.choose(rng)?;
    certain.then(|| (said(scene, words, thing, after), matches))
}

/// "on the nightstand".
fn resting(scene: &QuestionScene<'_>, referent: &Referent, rng: &mut ChaCha8Rng) -> Option<Told> {
    const WORDS: &[&str] = &["on", "on", "on top of", "that is on", "which is on"];
    let below = scene.support(referent.object)?;
    let name = noun(scene, below);
    let rests = |object: usize| scene.support(object).is_some_and(|i| noun_fits(&name, &scene.objects[i]));
    let matches: Vec<usize> = referent.matches.iter().copied().filter(|&i| rests(i)).collect();
    let certain = scene.seen(below) && matches == [referent.object];
    let &words = WORDS.choose(rng)?;
    certain.then(|| (said(scene, words, below, ""), matches))
}

/// "that is closest to the door", of several things.
fn closest(scene: &QuestionScene<'_>, referent: &Referent, rng: &mut ChaCha8Rng) -> Option<Told> {
    /// Farther away than this nobody tells by, metres.
    const FAR: f32 = 2.5;
    /// Others are farther away by at least this much, metres.
    const CLEARLY: f32 = 0.4;
    const WORDS: &[&str] = &["that is closest to", "closest to", "nearest to", "which is nearest to"];
    if referent.matches.len() < 2 {
        return None;
    }
    let distance = |a: usize, b: usize| scene.objects[a].bounds.distance(&scene.objects[b].bounds);
    let able: Vec<usize> = (0..scene.objects.len())
        .filter(|&i| !referent.matches.contains(&i) && is_landmark(scene, i))
        .filter(|&i| !stacked(scene, referent.object, i))
        .filter(|&i| {
            let near = distance(referent.object, i);
            let mut others = referent.matches.iter().filter(|&&other| other != referent.object);
            near < FAR && others.all(|&other| distance(other, i) > near + CLEARLY)
        })
        .collect();
    let &other = able.choose(rng)?;
    let &words = WORDS.choose(rng)?;
    Some((said(scene, words, other, ""), vec![referent.object]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use glam::{Vec2, Vec3};
    use rand::SeedableRng as _;

    use super::*;
    use crate::geometry::{AnchorFrame, CameraPose, Orientation, OrientedBox};
    use crate::scene::{Category, ObjectId, SceneObject};
    use crate::synth::RoomKind;
    use crate::synth::phrasing::{Text, refer};
    use crate::synth::questions::Sighting;

    fn object(id: u32, category: &str, at: [f32; 2], bottom: f32, size: [f32; 3]) -> SceneObject {
        let bounds = OrientedBox {
            center: Vec3::new(at[0], at[1], bottom + 0.5 * size[2]),
            size: Vec3::from(size),
            yaw: Orientation::from_degrees(0.0),
        };
        SceneObject { id: ObjectId(id), category: Category::new(category), bounds, color: None }
    }

    /// Two desks, a laptop on the first; two lamps, one on the second desk; a door and a plant
    /// beside the first desk.
    fn scene() -> QuestionScene<'static> {
        let objects = vec![
            object(0, "desk", [1.0, 1.0], 0.0, [0.7, 1.2, 0.75]),
            object(1, "desk", [5.0, 5.0], 0.0, [0.7, 1.2, 0.75]),
            object(2, "laptop", [1.0, 1.0], 0.75, [0.25, 0.35, 0.22]),
            object(3, "lamp", [5.0, 5.0], 0.75, [0.3, 0.3, 0.4]),
            object(4, "lamp", [5.5, 1.0], 0.0, [0.3, 0.3, 0.4]),
            object(5, "plant", [1.0, 1.85], 0.0, [0.4, 0.4, 1.0]),
            object(6, "door", [3.0, 0.0], 0.0, [0.1, 0.9, 2.0]),
        ];
        let seen = Sighting { first: 0, last: 9, glances: 9, visits: 1 };
        QuestionScene {
            frames: 10,
            sightings: vec![Some(seen); objects.len()],
            prominence: vec![0.1; objects.len()],
            supports: vec![None, None, Some(0), Some(1), None, None, None],
            outlines: vec![None; objects.len()],
            objects,
            rooms: vec![vec![Vec2::ZERO, Vec2::new(6.0, 0.0), Vec2::splat(6.0), Vec2::new(0.0, 6.0)]],
            kinds: vec![RoomKind::Office],
            anchor: AnchorFrame::from_first_camera(&CameraPose::IDENTITY),
            free: &|_| true,
            prefers_fleeting: false,
        }
    }

    /// What is said of an object, and which objects the words fit.
    fn told(index: usize) -> BTreeMap<String, Vec<usize>> {
        let scene = scene();
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        (0..600)
            .map(|_| {
                let referent = refer(&scene.objects, index, false, &mut rng);
                let referent = told_apart(&scene, referent, &mut rng);
                (Text::new("by").the(&referent).words, referent.matches)
            })
            .collect()
    }

    fn is_said(told: &BTreeMap<String, Vec<usize>>, words: &str) -> bool {
        told.keys().any(|text| text.contains(words))
    }

    #[test]
    fn twins_are_told_apart_by_true_clauses_only() {
        let first = told(0);
        for words in [
            "desk with the laptop on it",
            "desk which has the laptop on top of it",
            "desk which stands by the plant",
            "desk that is closest to the door",
        ] {
            assert!(is_said(&first, words), "{words}: {first:?}");
        }
        assert!(!is_said(&first, "lamp"), "{first:?}");
        assert!(first.values().all(|matches| matches == &[0]), "{first:?}");
        // Nothing single is near the second desk, but it alone has a lamp.
        let second = told(1);
        assert!(is_said(&second, "with the lamp on it") && !is_said(&second, "laptop"), "{second:?}");
        assert!(!is_said(&second, "plant") && !is_said(&second, "door"), "{second:?}");
        let lamp = told(3);
        assert!(is_said(&lamp, "lamp on the desk") && is_said(&lamp, "lamp that is on the desk"), "{lamp:?}");
        assert!(!is_said(&lamp, "next to the desk") && !is_said(&lamp, "by the desk"), "{lamp:?}");
    }

    #[test]
    fn both_nouns_are_mentioned() {
        let scene = scene();
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let referent = refer(&scene.objects, 0, false, &mut rng);
        let (beside, matches) = holding(&scene, &referent, &mut rng).unwrap();
        let text = Text::new("at").the(&Referent { beside: Some(beside), matches, ..referent }).say(".");
        let named: Vec<&str> = text.mentions.iter().map(|m| &text.words[m.start..m.end]).collect();
        assert!(named[0].ends_with("desk") && named[1] == "laptop", "{named:?} in {}", text.words);
        assert_eq!(text.mentions[1].object, ObjectId(2));
    }
}
