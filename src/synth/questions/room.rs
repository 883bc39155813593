//! VSI-Bench questions on counts, sizes, distances and the order of appearance.

use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use super::{QuestionScene, area, category, multiple_choice, numeric, pick, single_objects};
use crate::qa::{LabeledQuestion, QuestionKind};
use crate::synth::phrasing::noun_fits;

/// Smallest and largest distance between things that are asked about, metres.
const PAIR_DISTANCE: std::ops::RangeInclusive<f32> = 0.3..=5.0;

/// "How many chair(s) are in this room?": two or more, all in the walk, and no
/// other category that goes by the same name.
pub(super) fn count(scene: &QuestionScene<'_>, rng: &mut ChaCha8Rng) -> Option<LabeledQuestion> {
    let mut names: Vec<String> = (0..scene.objects.len()).map(|i| category(scene, i)).collect();
    names.sort();
    names.dedup();
    names.retain(|name| {
        let members = scene.of_category(name);
        let alike = scene.objects.iter().filter(|object| noun_fits(name, object)).count();
        members.len() >= 2 && alike == members.len() && members.iter().all(|&i| scene.seen(i))
    });
    let name = names.choose(rng)?;
    let text = format!("How many {name}(s) are in this room?");
    Some(numeric(QuestionKind::ObjectCounting, text, scene.of_category(name).len() as f64))
}

/// Distance between the closest points of two single objects, metres.
pub(super) fn distance(scene: &QuestionScene<'_>, rng: &mut ChaCha8Rng) -> Option<LabeledQuestion> {
    let [a, b] = pick(&single_objects(scene), rng)?;
    let metres = scene.objects[a].bounds.distance(&scene.objects[b].bounds);
    if !PAIR_DISTANCE.contains(&metres) {
        return None;
    }
    let text = format!(
        "Measuring from the closest point of each object, what is the direct distance between the {} and the {} (in meters)?",
        category(scene, a),
        category(scene, b)
    );
    Some(numeric(QuestionKind::ObjectAbsDistance, text, tenths(metres)))
}

/// Longest dimension of a single object, centimetres.
pub(super) fn size(scene: &QuestionScene<'_>, rng: &mut ChaCha8Rng) -> Option<LabeledQuestion> {
    let object = *single_objects(scene).choose(rng)?;
    let text = format!(
        "What is the length of the longest dimension (length, width, or height) of the {}, measured in centimeters?",
        category(scene, object)
    );
    let centimetres = scene.objects[object].bounds.size.max_element() * 100.0;
    Some(numeric(QuestionKind::ObjectSizeEstimation, text, f64::from(centimetres.round())))
}

/// Combined floor area, square metres.
pub(super) fn room_size(scene: &QuestionScene<'_>, _: &mut ChaCha8Rng) -> Option<LabeledQuestion> {
    let square_metres: f32 = scene.rooms.iter().map(|room| area(room)).sum();
    let text = "What is the size of this room (in square meters)? If multiple rooms are shown, estimate the size of the combined space.";
    (square_metres > 0.0)
        .then(|| numeric(QuestionKind::RoomSizeEstimation, text.to_owned(), tenths(square_metres)))
}

/// Which of four categories is closest to a single object, by a clear margin.
pub(super) fn relative_distance(scene: &QuestionScene<'_>, rng: &mut ChaCha8Rng) -> Option<LabeledQuestion> {
    const MARGIN: f32 = 0.3;
    let target = *single_objects(scene).choose(rng)?;
    let reference = &scene.objects[target].bounds;
    let mut names: Vec<String> = (0..scene.objects.len())
        .map(|i| category(scene, i))
        .filter(|name| *name != category(scene, target) && name != "doorway")
        .collect();
    names.sort();
    names.dedup();
    let mut ranked: Vec<(f32, String)> = names
        .into_iter()
        .filter(|name| scene.of_category(name).iter().all(|&i| scene.seen(i)))
        .map(|name| {
            let nearest = scene
                .of_category(&name)
                .into_iter()
                .map(|i| scene.objects[i].bounds.distance(reference))
                .fold(f32::INFINITY, f32::min);
            (nearest, name)
        })
        .filter(|(metres, _)| *metres <= *PAIR_DISTANCE.end())
        .collect();
    ranked.shuffle(rng);
    ranked.truncate(4);
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let [first, second, _, _] = ranked.as_slice() else { return None };
    if first.0 < *PAIR_DISTANCE.start() || second.0 - first.0 < MARGIN {
        return None;
    }
    let choices: Vec<String> = ranked.iter().map(|(_, name)| name.clone()).collect();
    let mut labeled = multiple_choice(QuestionKind::ObjectRelDistance, String::new(), choices, rng);
    labeled.question.text = format!(
        "Measuring from the closest point of each object, which of these objects ({}) is the closest to the {}? If there are multiple instances of an object category, measure to the closest.",
        labeled.question.choices.join(", "),
        category(scene, target)
    );
    Some(labeled)
}

/// Order in which four categories first appear in the video, at least five frames apart.
pub(super) fn appearance_order(scene: &QuestionScene<'_>, rng: &mut ChaCha8Rng) -> Option<LabeledQuestion> {
    const APART: u32 = 5;
    let mut first: Vec<(u32, String)> = single_objects(scene)
        .into_iter()
        .filter_map(|i| scene.sighting(i).map(|seen| (seen.first, category(scene, i))))
        .collect();
    first.shuffle(rng);
    let mut chosen: Vec<(u32, String)> = Vec::new();
    for (frame, name) in first {
        if chosen.len() < 4 && chosen.iter().all(|(other, _)| other.abs_diff(frame) >= APART) {
            chosen.push((frame, name));
        }
    }
    if chosen.len() < 4 {
        return None;
    }
    let listed = chosen.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
    chosen.sort();
    let mut order: Vec<String> = chosen.into_iter().map(|(_, name)| name).collect();
    let mut choices = vec![order.join(", ")];
    while choices.len() < 4 {
        order.shuffle(rng);
        let other = order.join(", ");
        if !choices.contains(&other) {
            choices.push(other);
        }
    }
    let text = format!(
        "What will be the first-time appearance order of the following categories in the video: {listed}?"
    );
    Some(multiple_choice(QuestionKind::ObjAppearanceOrder, text, choices, rng))
}

/// Rounded to one decimal.
fn tenths(value: f32) -> f64 {
    (f64::from(value) * 10.0).round() / 10.0
}
