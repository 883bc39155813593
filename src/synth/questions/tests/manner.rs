//! How training texts are worded and what they ask about looks, over the studio.

use std::collections::BTreeSet;

use super::*;

/// The studio with plants on both sides, a laptop on the desk and a low table.
fn furnished() -> Vec<SceneObject> {
    let mut objects = studio();
    objects.extend([
        object(10, "plant", 0.5, 3.6, [0.4, 0.4, 1.0], 0.0),
        object(11, "plant", 1.0, 3.7, [0.4, 0.4, 1.0], 0.0),
        object(12, "plant", 4.5, 0.4, [0.4, 0.4, 1.0], 0.0),
        object(13, "laptop", 4.6, 2.4, [0.3, 0.3, 0.2], 180.0),
        object(14, "coffee table", 2.0, 1.8, [0.6, 0.6, 0.4], 0.0),
    ]);
    objects[13].bounds.center.z = 0.85;
    objects
}

/// Whether the choice between two colours is asked for.
fn is_of_colors(text: &str) -> bool {
    let either = text.starts_with("Is the ") && text.contains(" or ") && !text.contains("odd or even");
    text.contains("color") || either
}

/// Whether it is asked if something is open.
fn is_of_closing(text: &str) -> bool {
    text.starts_with("Is the ") && (text.contains(" open") || text.contains(" closed"))
}

/// Whether a question is one of those that this file checks, and says a side or a number.
pub(super) fn is_about_looks(text: &str) -> bool {
    text.contains("shape")
        || is_of_closing(text)
        || is_of_colors(text)
        || (text.starts_with("How many") && text.contains("room"))
}

/// Kind and right answer of a question about looks, read off the scene in another way.
fn looked_up(scene: &QuestionScene<'_>, question: &SynthQuestion) -> Option<(&'static str, String)> {
    let text = question.labeled.question.text.as_str();
    let situation = question.labeled.situation?;
    let named = || {
        let id = question.asked_about[0].object;
        scene.objects.iter().find(|object| object.id == id).unwrap()
    };
    let bearing =
        |object: &SceneObject| Bearing::of(&situation, scene.anchor.bev_from_world(object.bounds.center));
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let starts = |ways: &[&str]| ways.iter().any(|way| text.starts_with(way));
    let names_of = |object: &SceneObject| -> Vec<String> {
        names(&object.category).into_iter().map(str::to_owned).collect()
    };
    Some(if text.contains("shape") {
        ("outline", if named().id == ObjectId(14) { "round" } else { "rectangular" }.to_owned())
    } else if is_of_closing(text) {
        assert!(["door", "window"].contains(&named().category.as_str()), "{text}");
        let closed = if text.contains(" or ") { "closed".to_owned() } else { yes(text.contains(" closed")) };
        ("closing", closed)
    } else if is_of_colors(text) {
        ("color", named().color.clone().unwrap())
    } else if text.starts_with("How many") && text.contains("room") {
        let counted =
            |object: &&SceneObject| text.starts_with(&format!("How many {} ", plural(&names_of(object)[0])));
        ("here", number_word(scene.objects.iter().filter(counted).count()))
    } else if text.contains(" more ") {
        assert!(text.contains("plants"), "{text}");
        let plants = |side: Side| {
            scene
                .objects
                .iter()
                .filter(|o| o.category.as_str() == "plant" && bearing(o).side() == side)
                .count()
        };
        let more = if plants(Side::Left) > plants(Side::Right) { "left" } else { "right" };
        ("more", more.to_owned())
    } else if starts(&["What is on the ", "What is there on top", "What is standing or lying"]) {
        ("on", "laptop".to_owned())
    } else if starts(&["What is under "]) || text.ends_with(" on?") || text.ends_with(" on top of?") {
        ("under", "desk".to_owned())
    } else if text.contains("without turning") || text.contains("in sight") || starts(&["Do I see "]) {
        ("sight", yes(bearing(named()).angle.abs() < 0.5))
    } else if starts(&["Is there "]) {
        let side = Side::ALL.into_iter().find(|side| says(text, *side)).unwrap();
        let all: Vec<String> = scene.objects.iter().flat_map(names_of).collect();
        let noun =
            all.iter().filter(|name| text.contains(&format!(" {name} "))).max_by_key(|name| name.len());
        let there = |noun: &String| {
            scene.objects.iter().any(|object| noun_fits(noun, object) && bearing(object).side() == side)
        };
        ("there", yes(noun.is_some_and(there)))
    } else if starts(&["Which room", "Am I in the"]) || text.starts_with("Is this room") {
        // A desk stands here: nobody is asked whether this is an office.
        assert!(!text.contains("office"), "{text}");
        let open = text.starts_with("Which") || text.contains(" or in the ");
        ("room", if open { "living room".to_owned() } else { yes(text.contains("living room")) })
    } else {
        return None;
    })
}

#[test]
fn questions_about_looks_have_the_answer_of_the_scene() {
    let options = QuestionOptions { situations: 12, room_questions: 0, everyday: 1.0, ..Default::default() };
    let mut asked: BTreeMap<&str, BTreeMap<String, u32>> = BTreeMap::new();
    with_scene(furnished(), Vec2::new(5.0, 4.0), |scene| {
        let count = scene.objects.len();
        let (mut supports, mut outlines) = (vec![None; count], vec![None; count]);
        supports[13] = Some(3);
        (outlines[3], outlines[14]) = (Some("rectangular"), Some("round"));
        let scene = QuestionScene { supports, outlines, ..scene.clone() };
        for seed in 0..500 {
            for question in questions_about(&scene, &mut ChaCha8Rng::seed_from_u64(seed), &options) {
                let Some((kind, expected)) = looked_up(&scene, &question) else { continue };
                let answer = first_key(&question);
                assert_eq!(answer, expected, "{kind}: {}", question.labeled.question.text);
                assert!(answer.split(' ').count() <= 2 && answer == answer.to_lowercase(), "{answer}");
                *asked.entry(kind).or_default().entry(answer).or_default() += 1;
            }
        }
    });
    for kind in ["outline", "closing", "color", "here", "more", "on", "under", "sight", "there", "room"] {
        assert!(asked.contains_key(kind), "{kind}: {asked:?}");
    }
    for (kind, answers) in [
        ("outline", ["round", "rectangular"]),
        ("more", ["left", "right"]),
        ("sight", ["yes", "no"]),
        ("there", ["yes", "no"]),
        ("room", ["yes", "no"]),
    ] {
        let counts = answers.map(|answer| asked[kind].get(answer).copied().unwrap_or(0));
        assert!(counts.iter().all(|count| *count > 0), "{kind}: {asked:?}");
    }
    for kind in ["sight", "there", "room"] {
        let (yes, no) = (f64::from(asked[kind]["yes"]), f64::from(asked[kind]["no"]));
        assert!((0.2..0.8).contains(&(yes / (yes + no))), "{kind}: {asked:?}");
    }
}

#[test]
fn without_a_sign_of_its_use_no_room_is_asked_for() {
    let options = QuestionOptions { situations: 12, room_questions: 0, everyday: 1.0, ..Default::default() };
    let objects: Vec<SceneObject> =
        furnished().into_iter().filter(|o| o.category.as_str() != "sofa").collect();
    with_scene(objects, Vec2::new(5.0, 4.0), |scene| {
        for seed in 0..60 {
            for question in questions_about(scene, &mut ChaCha8Rng::seed_from_u64(seed), &options) {
                let text = &question.labeled.question.text;
                assert!(!text.starts_with("Am I in ") && !text.starts_with("Which room"), "{text}");
            }
        }
    });
}

#[test]
fn fleeting_objects_come_first_where_they_are_preferred() {
    const FLEETING: [u32; 3] = [6, 8, 9];
    let share = |fleeting: f64| {
        let options =
            QuestionOptions { situations: 12, room_questions: 0, fleeting, ..QuestionOptions::default() };
        with_scene(studio(), Vec2::new(5.0, 4.0), |scene| {
            let mut sightings = scene.sightings.clone();
            // Seen once in passing, once and long but early, often but early.
            let last = scene.frames - 1;
            sightings[6] = Some(Sighting { first: last - 6, last, glances: 2, visits: 1 });
            sightings[8] = Some(Sighting { first: 0, last: scene.frames / 3, glances: 8, visits: 1 });
            sightings[9] = Some(Sighting { first: 0, last: scene.frames / 3, glances: 5, visits: 3 });
            let scene = QuestionScene { sightings, ..scene.clone() };
            let found: Vec<u32> = (0..10).filter(|i| scene.is_fleeting(*i as usize)).collect();
            assert_eq!(found, FLEETING);
            let (mut named, mut all) = (0u32, 0u32);
            for seed in 0..60 {
                for question in questions_about(&scene, &mut ChaCha8Rng::seed_from_u64(seed), &options) {
                    for mention in question.mentions.iter().chain(&question.asked_about) {
                        named += u32::from(FLEETING.contains(&mention.object.0));
                        all += 1;
                    }
                }
            }
            f64::from(named) / f64::from(all)
        })
    };
    let (plain, half, all) = (share(0.0), share(0.5), share(1.0));
    assert!(all > 1.5 * plain && half > plain && half < all, "{plain} {half} {all}");
}

/// Situation texts of the studio, as training draws them.
fn situation_texts(options: &QuestionOptions, seeds: std::ops::Range<u64>) -> Vec<String> {
    let options = QuestionOptions {
        situations: 12,
        questions_per_situation: 1,
        wordings: 1,
        room_questions: 0,
        ..*options
    };
    with_scene(studio(), Vec2::new(5.0, 4.0), |scene| {
        seeds
            .flat_map(|seed| questions_about(scene, &mut ChaCha8Rng::seed_from_u64(seed), &options))
            .filter_map(|question| question.labeled.question.situation_text)
            .collect()
    })
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

#[test]
fn training_texts_have_clock_directions_imperatives_typos_and_strange_words_in_their_shares() {
    let options =
        QuestionOptions { typo_rate: 0.05, everyday: QuestionOptions::EVERYDAY, ..Default::default() };
    let clean = situation_texts(&QuestionOptions { typo_rate: 0.0, ..options }, 0..300);
    let share = |texts: &[String], is: &dyn Fn(&str) -> bool| {
        texts.iter().filter(|text| is(text.as_str())).count() as f64 / texts.len() as f64
    };
    let hours = share(&clean, &|text| text.contains("o'clock"));
    assert!((0.03..0.3).contains(&hours), "{hours}");
    let imperatives = share(&clean, &|text| {
        let first = text.split(' ').next().unwrap_or_default();
        !["I", "I'm", "You", "Just", "Seated", "About"].contains(&first) && !first.ends_with("ing")
    });
    assert!((0.02..0.12).contains(&imperatives), "{imperatives}");
    // A word that 300 clean seeds never use is a slip.
    let known: BTreeSet<&str> = clean.iter().flat_map(|text| words_of(text)).collect();
    let unknown = |options: &QuestionOptions| {
        let texts = situation_texts(options, 300..600);
        share(&texts, &|text| words_of(text).any(|word| !known.contains(word)))
    };
    let typos = unknown(&options);
    assert!((0.025..0.09).contains(&typos), "{typos}");
    let strange = unknown(&QuestionOptions { typo_rate: 0.0, strange: 0.5, ..options });
    assert!((0.42..0.58).contains(&strange), "{strange}");
}

#[test]
fn slips_of_people_reach_nouns_and_those_of_the_benchmark_do_not() {
    let slipped = |everyday: f64| {
        let options = QuestionOptions {
            situations: 12,
            room_questions: 0,
            typo_rate: 1.0,
            everyday,
            ..QuestionOptions::default()
        };
        with_scene(studio(), Vec2::new(5.0, 4.0), |scene| {
            let mut changed = 0;
            for seed in 0..40 {
                for question in questions_about(scene, &mut ChaCha8Rng::seed_from_u64(seed), &options) {
                    let text = question.labeled.question.situation_text.as_deref().unwrap();
                    for mention in &question.mentions {
                        let noun = &text[mention.start..mention.end];
                        let object = scene.objects.iter().find(|o| o.id == mention.object).unwrap();
                        let near = |name: &str| {
                            noun.len().abs_diff(name.len()) <= 1
                                && noun.chars().next() == name.chars().next()
                                && noun.chars().last() == name.chars().last()
                        };
                        let all = names(&object.category);
                        assert!(all.iter().any(|name| near(name)), "{noun} for {all:?} in {text}");
                        changed += usize::from(!all.contains(&noun));
                    }
                }
            }
            changed
        })
    };
    assert_eq!(slipped(0.0), 0);
    assert!(slipped(1.0) > 20);
}
