//! Questions over hand-made rooms and random boxes.

use std::collections::BTreeMap;

use glam::{Vec2, Vec3};
use proptest::prelude::*;
use rand::SeedableRng as _;

use super::*;
use crate::geometry::{AnchorFrame, CameraPose, Orientation, OrientedBox};
use crate::qa::{Bearing, Side};
use crate::scene::{Category, ObjectId, SceneObject};
use crate::synth::RoomKind;
use crate::synth::phrasing::{names, noun_fits, number_word, plural};

mod manner;

fn object(id: u32, category: &str, x: f32, y: f32, size: [f32; 3], degrees: f32) -> SceneObject {
    const COLORS: [&str; 4] = ["grey", "red", "blue", "white"];
    SceneObject {
        id: ObjectId(id),
        category: Category::new(category),
        bounds: OrientedBox {
            center: Vec3::new(x, y, 0.5 * size[2]),
            size: Vec3::from(size),
            yaw: Orientation::from_degrees(degrees),
        },
        color: Some(COLORS[id as usize % 4].to_owned()),
    }
}

/// A studio of 5 x 4 m. The sofa stands in the south and looks north at the TV.
fn studio() -> Vec<SceneObject> {
    vec![
        object(0, "sofa", 2.5, 0.6, [0.9, 1.8, 0.8], 90.0),
        object(1, "tv", 2.5, 3.85, [0.2, 1.2, 0.7], -90.0),
        object(2, "bookshelf", 0.2, 2.0, [0.3, 1.0, 1.8], 0.0),
        object(3, "desk", 4.6, 2.4, [0.7, 1.2, 0.75], 180.0),
        object(4, "office chair", 3.95, 2.4, [0.6, 0.6, 1.0], 0.0),
        object(5, "chair", 1.2, 3.2, [0.5, 0.5, 0.9], -90.0),
        object(6, "plant", 0.5, 0.5, [0.4, 0.4, 1.0], 0.0),
        object(7, "door", 4.98, 1.0, [0.1, 0.9, 2.0], 180.0),
        object(8, "bin", 4.6, 3.6, [0.3, 0.3, 0.4], 0.0),
        object(9, "window", 0.02, 3.2, [0.12, 1.0, 1.2], 0.0),
    ]
}

fn with_scene<T>(objects: Vec<SceneObject>, size: Vec2, body: impl FnOnce(&QuestionScene<'_>) -> T) -> T {
    let boxes: Vec<OrientedBox> = objects.iter().map(|object| object.bounds).collect();
    let free = move |p: Vec2| {
        p.cmpge(Vec2::splat(0.2)).all()
            && p.cmple(size - Vec2::splat(0.2)).all()
            && boxes.iter().all(|b| b.bottom() > 1.0 || b.distance_to_point(p.extend(b.center.z)) > 0.2)
    };
    let camera = CameraPose::looking(Vec3::new(2.0, 2.0, 1.5), Orientation::from_degrees(40.0), 0.0, 0.0);
    let frames = 7 * objects.len() as u32 + 70;
    let sighting = |i: u32| Sighting { first: 7 * i, last: frames - 1, glances: 10, visits: 1 };
    body(&QuestionScene {
        frames,
        sightings: (0..objects.len()).map(|i| Some(sighting(i as u32))).collect(),
        prominence: vec![0.1; objects.len()],
        supports: vec![None; objects.len()],
        outlines: vec![None; objects.len()],
        objects,
        rooms: vec![vec![Vec2::ZERO, Vec2::new(size.x, 0.0), size, Vec2::new(0.0, size.y)]],
        kinds: vec![RoomKind::Living],
        anchor: AnchorFrame::from_first_camera(&camera),
        free: &free,
        prefers_fleeting: false,
    })
}

fn many(scene: &QuestionScene<'_>, seeds: std::ops::Range<u64>) -> Vec<SynthQuestion> {
    let options = QuestionOptions { situations: 12, room_questions: 16, ..QuestionOptions::default() };
    seeds.flat_map(|seed| questions_about(scene, &mut ChaCha8Rng::seed_from_u64(seed), &options)).collect()
}

fn studio_questions() -> Vec<SynthQuestion> {
    with_scene(studio(), Vec2::new(5.0, 4.0), |scene| many(scene, 0..60))
}

fn first_key(question: &SynthQuestion) -> String {
    match &question.labeled.key {
        AnswerKey::Text(texts) => texts[0].clone(),
        AnswerKey::Choice(index) => question.labeled.question.choices[*index].clone(),
        AnswerKey::Number(number) => number.to_string(),
    }
}

#[test]
fn the_same_seed_asks_the_same() {
    with_scene(studio(), Vec2::new(5.0, 4.0), |scene| assert_eq!(many(scene, 3..5), many(scene, 3..5)));
}

#[test]
fn every_family_and_type_occurs() {
    let questions = studio_questions();
    for kind in [
        QuestionKind::What,
        QuestionKind::Is,
        QuestionKind::How,
        QuestionKind::Can,
        QuestionKind::Which,
        QuestionKind::Other,
        QuestionKind::ObjectAbsDistance,
        QuestionKind::ObjectSizeEstimation,
        QuestionKind::RoomSizeEstimation,
        QuestionKind::ObjectRelDistance,
        QuestionKind::ObjectRelDirectionEasy,
        QuestionKind::ObjectRelDirectionMedium,
        QuestionKind::ObjectRelDirectionHard,
        QuestionKind::ObjAppearanceOrder,
        QuestionKind::RoutePlanning,
    ] {
        let count = questions.iter().filter(|q| q.labeled.question.kind == kind).count();
        assert!(count > 10, "{kind:?} occurs {count} times");
    }
}

#[test]
fn mentions_point_at_the_noun_of_the_object() {
    let objects = studio();
    let mut asked_about = 0;
    for question in studio_questions() {
        let Question { text: asked, situation_text, .. } = &question.labeled.question;
        let Some(told) = situation_text else { continue };
        for (text, mentions) in [(told, &question.mentions), (asked, &question.asked_about)] {
            for mention in mentions {
                let noun = &text[mention.start..mention.end];
                let object = objects.iter().find(|o| o.id == mention.object).unwrap();
                let several = |name: &&str| noun == plural(name);
                let fits = noun_fits(noun, object) || names(&object.category).iter().any(several);
                assert!(fits, "{noun} for {object:?} in {text}");
            }
        }
        asked_about += question.asked_about.len();
    }
    assert!(asked_about > 20, "{asked_about} things are asked about");
}

#[test]
fn situations_have_many_wordings() {
    let questions = studio_questions();
    let mut texts: Vec<&str> =
        questions.iter().filter_map(|q| q.labeled.question.situation_text.as_deref()).collect();
    let all = texts.len();
    texts.sort_unstable();
    texts.dedup();
    assert!(texts.len() * 3 > all, "{} different of {all}", texts.len());
    assert!(questions.iter().any(|q| !q.alternative_situations.is_empty()));
}

#[test]
fn poses_are_where_the_words_say() {
    with_scene(studio(), Vec2::new(5.0, 4.0), |scene| {
        for question in many(scene, 0..60) {
            let Some(text) = &question.labeled.question.situation_text else { continue };
            let situation = question.labeled.situation.unwrap();
            let world = scene.anchor.world_from_anchor(Vec2::from(situation.position).extend(0.0)).truncate();
            let heading = scene.anchor.world_orientation(situation.orientation);
            if text.contains("on the sofa") || text.contains("on the couch") {
                assert!(world.distance(Vec2::new(2.5, 0.6)) < 1e-3, "{text}");
            }
            if text.contains("through the door") && text.to_lowercase().contains("enter") {
                assert!(world.distance(Vec2::new(4.4, 1.0)) < 0.2, "{text} at {world}");
                assert!(heading.distance(Orientation::from_degrees(180.0)) < 1e-3, "{text}");
            }
            if text.contains("watching the") {
                let tv = Bearing::between(world, heading, Vec2::new(2.5, 3.85));
                assert!(tv.angle.abs() < 1e-3, "{text}");
            }
        }
    });
}

/// Reads the answer to simple questions off the geometry again, in another way.
#[test]
fn answers_agree_with_the_geometry() {
    with_scene(studio(), Vec2::new(5.0, 4.0), |scene| {
        let mut checked = 0;
        for question in many(scene, 0..60) {
            let text = &question.labeled.question.text;
            let Some(situation) = question.labeled.situation else { continue };
            let see = |i: usize| {
                Bearing::of(&situation, scene.anchor.bev_from_world(scene.objects[i].bounds.center))
            };
            let named = |names: &[&str]| names.iter().any(|name| text.contains(name));
            let (plant, shelf) = (named(&["plant"]), named(&["bookshelf", "bookcase"]));
            if text.starts_with("Is the ")
                && text.contains("left")
                && text.contains("right")
                && (plant || shelf)
            {
                let bearing = see(if plant { 6 } else { 2 });
                let expected = if bearing.angle > 0.0 { "left" } else { "right" };
                assert_eq!(first_key(&question), expected, "{text} {bearing:?}");
                checked += 1;
            }
            if text.starts_with("What is behind me") {
                let answer = first_key(&question);
                let nearest = scene.of_category(&answer)[0];
                assert_eq!(see(nearest).side(), Side::Behind, "{text} {answer}");
                checked += 1;
            }
        }
        assert!(checked > 10, "{checked}");
    });
}

#[test]
fn distances_sizes_and_areas_are_exact() {
    let mut seen = [false; 3];
    for question in studio_questions() {
        let (text, AnswerKey::Number(number)) = (&question.labeled.question.text, &question.labeled.key)
        else {
            continue;
        };
        match question.labeled.question.kind {
            QuestionKind::RoomSizeEstimation => {
                assert_eq!(*number, 20.0);
                seen[0] = true;
            }
            QuestionKind::ObjectSizeEstimation if text.contains("sofa") => {
                assert_eq!(*number, 180.0);
                seen[1] = true;
            }
            QuestionKind::ObjectAbsDistance if text.contains("sofa") && text.contains("tv") => {
                // From the sofa's front edge at y 1.05 to the TV at y 3.75.
                assert!((number - 2.7).abs() < 1e-9, "{number}");
                seen[2] = true;
            }
            _ => {}
        }
    }
    assert_eq!(seen, [true; 3]);
}

#[test]
fn counting_counts() {
    let mut objects = studio();
    objects.push(object(10, "plant", 3.2, 3.6, [0.4, 0.4, 1.0], 0.0));
    objects.push(object(11, "plant", 1.5, 1.6, [0.4, 0.4, 1.0], 0.0));
    let questions = with_scene(objects, Vec2::new(5.0, 4.0), |scene| many(scene, 0..30));
    let asks = |words: &str| {
        questions
            .iter()
            .filter(|q| q.labeled.question.text.contains(words))
            .map(first_key)
            .collect::<Vec<_>>()
    };
    let many_plants = asks("How many plants are in th");
    assert!(!many_plants.is_empty() && many_plants.iter().all(|answer| answer == "three"));
    let vsi = asks("How many plant(s)");
    assert!(!vsi.is_empty() && vsi.iter().all(|answer| answer == "3"));
    // An office chair is a chair too, so nobody counts the chairs.
    assert!(asks("How many chairs").is_empty());
}

#[test]
fn guessing_does_not_pay() {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut choices: BTreeMap<usize, u32> = BTreeMap::new();
    for question in studio_questions() {
        let text = &question.labeled.question.text;
        if text.starts_with("Is there") || text.starts_with("Can I see") || text.contains("left or") {
            *counts.entry(first_key(&question)).or_default() += 1;
        }
        if let AnswerKey::Choice(index) = question.labeled.key {
            *choices.entry(index).or_default() += 1;
        }
    }
    for [a, b] in [["yes", "no"], ["left", "right"]] {
        let (a, b) = (f64::from(counts[a]), f64::from(counts[b]));
        assert!(a / (a + b) > 0.3 && a / (a + b) < 0.7, "{counts:?}");
    }
    let total: u32 = choices.values().sum();
    assert!(choices.values().all(|count| f64::from(*count) < 0.45 * f64::from(total)), "{choices:?}");
}

#[test]
fn twins_are_told_apart() {
    // Two equal armchairs: one in the west, one in the east.
    let objects = vec![
        object(0, "armchair", 0.6, 2.0, [0.8, 0.8, 0.9], 0.0),
        object(4, "armchair", 4.4, 2.0, [0.8, 0.8, 0.9], 180.0),
        object(1, "plant", 0.5, 3.5, [0.4, 0.4, 1.0], 0.0),
        object(2, "lamp", 2.5, 3.6, [0.4, 0.4, 1.0], 0.0),
    ];
    with_scene(objects, Vec2::new(5.0, 4.0), |scene| {
        let questions = many(scene, 0..40);
        let seated = |q: &&SynthQuestion| {
            q.labeled
                .question
                .situation_text
                .as_deref()
                .is_some_and(|t| t.contains("sitting on the grey armchair"))
        };
        let mut count = 0;
        for question in questions.iter().filter(seated) {
            let text = question.labeled.question.situation_text.clone().unwrap();
            // Something besides the chair itself must settle which one it is.
            assert!(question.mentions.len() > 1, "{text}");
            count += 1;
        }
        assert!(count > 0);
    });
}

#[test]
fn a_bare_room_has_no_situated_questions() {
    with_scene(Vec::new(), Vec2::new(3.0, 3.0), |scene| {
        let questions = many(scene, 0..1);
        assert!(questions.iter().all(|q| q.labeled.question.kind == QuestionKind::RoomSizeEstimation));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the boxes: a direction that is asked for is the true one.
    #[test]
    fn stated_directions_are_true(
        places in proptest::collection::vec((0.5f32..5.5, 0.5f32..5.5, 0.2f32..0.9, -180.0f32..180.0), 5..12),
        seed in 0u64..1000,
    ) {
        const CATEGORIES: [&str; 12] = [
            "sofa", "desk", "plant", "bin", "fridge", "lamp", "wardrobe", "bed", "stool", "mirror", "backpack", "toilet",
        ];
        let objects: Vec<SceneObject> = places
            .iter()
            .enumerate()
            .map(|(i, (x, y, side, yaw))| object(i as u32, CATEGORIES[i], *x, *y, [*side, *side, 0.8], *yaw))
            .collect();
        with_scene(objects, Vec2::splat(6.0), |scene| {
            for question in many(scene, seed..seed + 1) {
                let text = question.labeled.question.text.clone();
                let Some(situation) = question.labeled.situation else { continue };
                let Some(rest) = text.strip_prefix("Where is the ") else { continue };
                let Some(target) = scene.objects.iter().find(|o| {
                    let plain = rest.trim_end_matches('?').replace(" from where I am", "");
                    plain == o.category.as_str() || plain.ends_with(&format!(" {}", o.category.as_str()))
                }) else { continue };
                let bearing = Bearing::of(&situation, scene.anchor.bev_from_world(target.bounds.center));
                assert_eq!(first_key(&question), bearing.side().word(), "{text} {bearing:?}");
            }
        });
    }
}

#[test]
fn everyday_texts_name_their_things_in_whole_sentences() {
    let mut objects = studio();
    // A second chair in another corner: which one is told by what it stands beside.
    objects.push(object(10, "chair", 0.5, 1.1, [0.4, 0.4, 0.9], 90.0));
    // Slips of the finger reach the nouns of such texts; they have a test of their own.
    let options = QuestionOptions {
        situations: 12,
        room_questions: 0,
        everyday: 1.0,
        typo_rate: 0.0,
        ..Default::default()
    };
    let questions: Vec<SynthQuestion> = with_scene(objects.clone(), Vec2::new(5.0, 4.0), |scene| {
        let ask = |seed| questions_about(scene, &mut ChaCha8Rng::seed_from_u64(seed), &options);
        (0..120).flat_map(ask).collect()
    });
    let texts =
        || questions.iter().filter_map(|question| question.labeled.question.situation_text.as_deref());
    for question in &questions {
        let text = question.labeled.question.situation_text.as_deref().unwrap();
        assert!(text.starts_with(char::is_uppercase), "{text}");
        assert!(!text.contains("  ") && !text.contains(['{', '}']) && !text.contains(" ."), "{text}");
        for mention in &question.mentions {
            let noun = &text[mention.start..mention.end];
            let named = objects.iter().find(|object| object.id == mention.object).unwrap();
            let kind = crate::synth::category_called(noun).unwrap();
            assert!(named.category.as_str().ends_with(kind), "{noun} for {:?} in {text}", named.category);
        }
    }
    for words in [
        "chair next to the plant",
        "closest to the",
        "which stands by the",
        "There is",
        "with my back",
        "I was",
        "rear",
        ". ",
    ] {
        assert!(texts().any(|text| text.contains(words)), "{words}");
    }
    let plain = QuestionOptions { everyday: 0.0, ..options };
    let told = with_scene(studio(), Vec2::new(5.0, 4.0), |scene| {
        questions_about(scene, &mut ChaCha8Rng::seed_from_u64(1), &plain)
    });
    assert!(told.iter().all(|q| !q.labeled.question.situation_text.as_deref().unwrap().contains("rear")));
}

#[test]
fn everyday_questions_have_the_answer_of_the_scene() {
    let mut objects = studio();
    objects.extend([
        object(10, "plant", 0.5, 3.6, [0.4, 0.4, 1.0], 0.0),
        object(11, "plant", 1.0, 3.7, [0.4, 0.4, 1.0], 0.0),
        object(12, "plant", 4.5, 0.4, [0.4, 0.4, 1.0], 0.0),
    ]);
    let options = QuestionOptions { situations: 12, room_questions: 0, everyday: 1.0, ..Default::default() };
    let mut asked: BTreeMap<&str, BTreeMap<String, u32>> = BTreeMap::new();
    with_scene(objects.clone(), Vec2::new(5.0, 4.0), |scene| {
        for question in
            (0..250).flat_map(|seed| questions_about(scene, &mut ChaCha8Rng::seed_from_u64(seed), &options))
        {
            let text = question.labeled.question.text.as_str();
            assert!(!text.contains(['{', '}']) && !text.contains("  "), "{text}");
            if manner::is_about_looks(text) {
                continue;
            }
            let situation = question.labeled.situation.unwrap();
            let bearing = |object: &SceneObject| {
                Bearing::of(&situation, scene.anchor.bev_from_world(object.bounds.center))
            };
            let named = |k: usize| {
                let mention = &question.asked_about[k];
                objects.iter().find(|object| object.id == mention.object).unwrap()
            };
            let sides: Vec<Side> = Side::ALL.into_iter().filter(|side| says(text, *side)).collect();
            let answer = first_key(&question);
            let way = |front, behind| match bearing(named(0)).side() {
                Side::Left => "left",
                Side::Right => "right",
                Side::Behind => behind,
                Side::Front => front,
            };
            let yes = |yes: bool| if yes { "yes" } else { "no" };
            let plants = |side: Side| {
                let there = |o: &&SceneObject| o.category.as_str() == "plant" && bearing(o).side() == side;
                objects.iter().filter(there).count()
            };
            let (kind, expected) = if text.contains("located") || text.contains("which side of me") {
                ("where", way("front", "behind").to_owned())
            } else if text.contains("odd or even") && text.contains("plants") {
                let odd = plants(sides[0]) % 2 == 1;
                ("odd", if odd { "odd" } else { "even" }.to_owned())
            } else if text.contains("be divided") && text.contains("plants") {
                let by = if text.contains("two") { 2 } else { 3 };
                ("divided", yes(plants(sides[0]) % by == 0).to_owned())
            } else if text.starts_with("How many plants") {
                ("count", number_word(plants(sides[0])))
            } else if text.contains("I turn") && answer.len() < 4 && !text.starts_with("If I'd like") {
                ("turned", yes(bearing(named(0)).side() == turned_to(text)).to_owned())
            } else if text.starts_with("Is the ") && !text.contains("odd or even") {
                ("side", yes(bearing(named(0)).side() == sides[0]).to_owned())
            } else if text.contains("closer") || text.contains("nearer") {
                let here = scene.anchor.world_from_anchor(Vec2::from(situation.position).extend(0.0));
                let gap = |k: usize| {
                    let bounds = &named(k).bounds;
                    bounds.distance_to_point(here.truncate().extend(bounds.center.z))
                };
                let nearer = if gap(0) < gap(1) { named(0) } else { named(1) };
                ("closer", nearer.category.as_str().to_owned())
            } else if text.contains("I turn") {
                ("turn", way("never", "around").to_owned())
            } else if [" go", " walk ", " move ", " take to ", " head to ", "direction is that"]
                .iter()
                .any(|verb| text.contains(verb))
            {
                ("way", way("forward", "backward").to_owned())
            } else {
                continue;
            };
            assert_eq!(answer, expected, "{kind}: {text}");
            *asked.entry(kind).or_default().entry(answer).or_default() += 1;
        }
    });
    every_kind_is_asked_and_guessing_does_not_pay(&asked);
}

/// The side that a question is about that says which way somebody turns.
fn turned_to(text: &str) -> Side {
    if text.contains("left") {
        Side::Left
    } else if text.contains("right") {
        Side::Right
    } else {
        Side::Behind
    }
}

/// `asked`: kinds of questions and how often each answer was the right one.
fn every_kind_is_asked_and_guessing_does_not_pay(asked: &BTreeMap<&str, BTreeMap<String, u32>>) {
    for kind in ["where", "odd", "divided", "count", "turned", "side", "closer", "turn", "way"] {
        assert!(asked.get(kind).is_some_and(|answers| answers.len() > 1), "{kind}: {asked:?}");
    }
    for kind in ["odd", "divided", "turned", "side"] {
        let most = asked[kind].values().max().unwrap();
        assert!(f64::from(*most) < 0.7 * f64::from(asked[kind].values().sum::<u32>()), "{kind}: {asked:?}");
    }
}

/// Whether a text says that something is on a side.
fn says(text: &str, side: Side) -> bool {
    match side {
        Side::Left => ["my left", "left of me"].iter().any(|words| text.contains(words)),
        Side::Right => ["my right", "right of me"].iter().any(|words| text.contains(words)),
        Side::Behind => ["behind me", "my back"].iter().any(|words| text.contains(words)),
        Side::Front => ["front of me", "ahead of me"].iter().any(|words| text.contains(words)),
    }
}
