//! Templates of the six families.

use std::f32::consts::PI;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::{Asked, View, asked, count_key, key, left_or_right, random_side, side_key, side_words, yes_no};
use crate::qa::{AnswerKey, Side};
use crate::synth::phrasing::{Noun, article, is_seat, noun_fits, number_word, plural};
use crate::synth::questions::coin;

/// Farther by this much is certainly farther, metres.
const CLEARLY_FARTHER: f32 = 0.5;
/// Categories for questions about what is not there.
const COMMON: &[&str] = &[
    "sofa",
    "bed",
    "desk",
    "table",
    "chair",
    "plant",
    "fridge",
    "stove",
    "sink",
    "bathtub",
    "toilet",
    "wardrobe",
    "bookshelf",
    "mirror",
    "clock",
    "whiteboard",
    "bin",
    "backpack",
    "washing machine",
    "radiator",
    "piano",
];

pub(super) fn one_of<'t>(ways: &[&'t str], rng: &mut ChaCha8Rng) -> &'t str {
    ways.choose(rng).copied().unwrap_or_default()
}

pub(super) fn what(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    match rng.random_range(0..10) {
        0..=3 => what_is_there(view, rng),
        4..=6 => what_color(view, rng),
        7 => what_is_nearest(view, rng),
        8 => what_after_turning(view, rng),
        _ => what_direction(view, rng),
    }
}

/// "What is on my left?"
fn what_is_there(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let side = random_side(rng);
    let nearest = view.nearest(side, 0.0)?;
    if view.told.contains(&nearest) {
        return None;
    }
    let words = side_words(side, rng);
    let text = match rng.random_range(0..4) {
        0 => format!("What is the closest thing {words}?"),
        1 => format!("What object is {words}?"),
        _ => format!("What is {words}?"),
    };
    Some(asked(&text, [], view.answer(nearest)))
}

/// "What color is the chair behind me?"
fn what_color(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let (object, side, noun) = sided_noun(view, rng)?;
    let color = view.scene.objects[object].color.clone()?;
    let words = side_words(side, rng);
    let text = match rng.random_range(0..3) {
        0 => format!("What is the color of the {{}} {words}?"),
        1 => format!("What color is the {{}} that is {words}?"),
        _ => format!("What color is the {{}} {words}?"),
    };
    Some(asked(&text, [noun], key(&[&color])))
}

/// An object that is the only one of its noun on a side.
fn sided_noun(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<(usize, Side, Noun)> {
    let object = view.choose(view.askable(), rng)?;
    let side = view.side(object)?;
    let noun = super::names(&view.scene.objects[object].category).choose(rng).map(|n| (*n).to_owned())?;
    let alone = (0..view.gaps.len())
        .filter(|&i| i != object && view.here[i] && noun_fits(&noun, &view.scene.objects[i]))
        .all(|i| view.bearings[i].off_side(side) >= super::OUTSIDE);
    alone.then(|| (object, side, Noun::of(noun, &view.scene.objects[object])))
}

/// "What is next to the sofa?": the nearest thing by a margin.
fn what_is_nearest(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let (object, referent) = view.named_one(view.askable(), rng)?;
    let bounds = &view.scene.objects[object].bounds;
    let mut others: Vec<(f32, usize)> = (0..view.gaps.len())
        .filter(|&i| i != object && view.here[i] && !super::is_flat(&view.scene.objects[i].category))
        .map(|i| (view.scene.objects[i].bounds.distance(bounds), i))
        .collect();
    others.sort_by(|a, b| a.0.total_cmp(&b.0));
    let [(first, nearest), (second, _), ..] = others.as_slice() else { return None };
    if *first > 1.0 || second - first < 0.3 || !view.scene.seen(*nearest) {
        return None;
    }
    let near = one_of(&["What is next to the", "What is closest to the", "What is right beside the"], rng);
    Some(asked(&format!("{near} {{}}?"), [referent.into()], view.answer(*nearest)))
}

/// "What will be in front of me if I turn left?"
fn what_after_turning(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let turns = [("turn left", 0.5 * PI), ("turn right", -0.5 * PI), ("turn around", PI)];
    let (turn, angle) = *turns.choose(rng)?;
    let side = random_side(rng);
    let nearest = view.nearest(side, angle)?;
    if view.told.contains(&nearest) {
        return None;
    }
    let words = side_words(side, rng);
    let text = match rng.random_range(0..2) {
        0 => format!("What will be {words} if I {turn}?"),
        _ => format!("What is {words} after I {turn}?"),
    };
    Some(asked(&text, [], view.answer(nearest)))
}

/// "What direction should I turn to face the lamp?"
fn what_direction(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let (noun, side) = turning_target(view, rng)?;
    Some(asked("What direction should I turn to face the {}?", [noun], turn_key(side)))
}

/// A uniquely named object to the left or right, or behind, equally often.
pub(super) fn turning_target(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<(Noun, Side)> {
    let side = [Side::Left, Side::Right, Side::Behind][rng.random_range(0..3)];
    let (_, referent) = view.named_one(view.untold().filter(|&i| view.certainly(i, side)), rng)?;
    Some((referent.into(), side))
}

pub(super) fn turn_key(side: Side) -> AnswerKey {
    match side {
        Side::Left => key(&["left", "to the left", "turn left"]),
        Side::Right => key(&["right", "to the right", "turn right"]),
        Side::Behind => key(&["around", "turn around", "behind", "backward"]),
        Side::Front => key(&["forward", "straight"]),
    }
}

pub(super) fn is(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    match rng.random_range(0..12) {
        0..=3 => is_left_or_right(view, rng),
        4..=6 => {
            let (noun, side, yes) = presence(view, rng)?;
            let article = article(&noun.words);
            let text = format!("Is there {article} {{}} {}?", side_words(side, rng));
            Some(asked(&text, [noun], yes_no(yes)))
        }
        7..=8 => is_front_or_behind(view, rng),
        9 => is_closer(view, rng),
        10 => is_odd_or_even(view, rng),
        _ => is_color(view, rng),
    }
}

fn is_left_or_right(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let side = left_or_right(rng);
    let (_, referent) = view.named_one(view.untold().filter(|&i| view.certainly(i, side)), rng)?;
    let text = match rng.random_range(0..4) {
        0 => "Is the {} on my left or on my right?",
        1 => "Is the {} to my left or right?",
        2 => "Is the {} to my right or left?",
        _ => "Is the {} on my left side or my right side?",
    };
    Some(asked(text, [referent.into()], side_key(side)))
}

fn is_front_or_behind(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let side = if coin(rng) { Side::Front } else { Side::Behind };
    let (_, referent) = view.named_one(view.untold().filter(|&i| view.certainly(i, side)), rng)?;
    let ends =
        one_of(&["in front of me or behind me", "behind me or in front of me", "in front or behind me"], rng);
    Some(asked(&format!("Is the {{}} {ends}?"), [referent.into()], side_key(side)))
}

fn is_closer(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let (near, far) = near_and_far(view, rng)?;
    let yes = coin(rng);
    let (a, b) = if yes { (near.1, far.1) } else { (far.1, near.1) };
    Some(asked("Is the {} closer to me than the {}?", [a, b], yes_no(yes)))
}

/// Two uniquely named objects, the second farther away by a margin.
fn near_and_far(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<((usize, Noun), (usize, Noun))> {
    let a = view.named_one(view.askable(), rng)?;
    let farther = view.askable().filter(|&i| view.gaps[i] > view.gaps[a.0] + CLEARLY_FARTHER);
    let b = view.named_one(farther, rng)?;
    Some(((a.0, a.1.into()), (b.0, b.1.into())))
}

/// One of `ways` to ask which of two things of different kinds is nearer.
pub(super) fn which_is_closer(view: &View<'_>, ways: &[&str], rng: &mut ChaCha8Rng) -> Option<Asked> {
    let (near, far) = near_and_far(view, rng)?;
    let category = |i: usize| &view.scene.objects[i].category;
    if category(near.0) == category(far.0) {
        return None;
    }
    let answer = view.answer(near.0);
    let (a, b) = if coin(rng) { (near.1, far.1) } else { (far.1, near.1) };
    Some(asked(one_of(ways, rng), [a, b], answer))
}

fn is_odd_or_even(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let odd = coin(rng);
    let able = view.countable();
    let able: Vec<_> = able.iter().filter(|(_, members)| (members.len() % 2 == 1) == odd).collect();
    let (noun, _) = able.choose(rng)?;
    let text = format!("Is the number of {} in this room odd or even?", plural(noun));
    Some(asked(&text, [], key(if odd { &["odd"] } else { &["even"] })))
}

fn is_color(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let (object, side, noun) = sided_noun(view, rng)?;
    let color = view.scene.objects[object].color.clone()?;
    let mut others: Vec<&str> = view.scene.objects.iter().filter_map(|o| o.color.as_deref()).collect();
    others.retain(|other| *other != color);
    let other = *others.choose(rng)?;
    let (words, swapped) = (side_words(side, rng), coin(rng));
    let (a, b) = if swapped { (other, color.as_str()) } else { (color.as_str(), other) };
    Some(asked(&format!("Is the {{}} {words} {a} or {b}?"), [noun], key(&[&color])))
}

/// A noun, a side, and whether there is one there; half of the time there is not,
/// and then mostly because it is on another side.
pub(super) fn presence(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<(Noun, Side, bool)> {
    let (yes, side) = (coin(rng), random_side(rng));
    let able = view.countable();
    let able: Vec<_> = able
        .iter()
        .filter(|(_, members)| !members.iter().any(|i| view.told.contains(i)))
        .filter(|(_, members)| view.count_on(members, side).is_some_and(|count| (count > 0) == yes))
        .collect();
    if !yes && rng.random_bool(0.25) {
        let noun = absent(view, rng)?;
        return Some((Noun::of_nothing(noun), side, false));
    }
    able.choose(rng).map(|(noun, members)| (view.noun_of(noun, members), side, yes))
}

/// A common thing that is nowhere in the scene.
fn absent(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<&'static str> {
    let missing = |noun: &&&str| {
        !view.scene.objects.iter().any(|object| noun_fits(noun, object) || object.category.as_str() == **noun)
    };
    COMMON.iter().filter(missing).collect::<Vec<_>>().choose(rng).map(|noun| **noun)
}

pub(super) fn how(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    match rng.random_range(0..10) {
        0..=4 => {
            let side = random_side(rng);
            let able = view.countable();
            let (noun, members) = able.choose(rng)?;
            let count = view.count_on(members, side)?;
            // Most counts of a side are zero: ask for them less.
            if count == 0 && rng.random_bool(0.8) {
                return None;
            }
            let text = format!("How many {{}} are {}?", side_words(side, rng));
            Some(asked(&text, [view.noun_of(&plural(noun), members)], count_key(count)))
        }
        5..=6 => {
            let able = view.countable();
            let several: Vec<_> = able.iter().filter(|(_, members)| members.len() > 1).collect();
            let (noun, members) =
                if rng.random_bool(0.7) { *several.choose(rng)? } else { able.choose(rng)? };
            let place = one_of(&["in the room", "in this room", "there in the room"], rng);
            Some(asked(&format!("How many {} are {place}?", plural(noun)), [], count_key(members.len())))
        }
        7 => {
            let (object, referent) = view.named_one(view.askable(), rng)?;
            let metres = view.gaps[object];
            let certain = (metres - metres.round()).abs() < 0.3 && metres >= 0.7;
            let ask = "How many meters away is the {}?";
            certain.then(|| asked(ask, [referent.into()], count_key(metres.round() as usize)))
        }
        _ => {
            let (noun, side) = turning_target(view, rng)?;
            let ask = one_of(
                &["How should I turn to face the {}?", "How do I have to turn to look at the {}?"],
                rng,
            );
            Some(asked(ask, [noun], turn_key(side)))
        }
    }
}

pub(super) fn can(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let yes = coin(rng);
    match rng.random_range(0..6) {
        0..=2 => {
            let fits = |i: &usize| {
                let off = view.bearings[*i].angle.abs();
                if yes { off < 0.5 && view.unobstructed(*i) } else { off > 1.9 }
            };
            let (_, referent) = view.named_one(view.untold().filter(fits), rng)?;
            let text = match rng.random_range(0..3) {
                0 => "Can I see the {} without turning?",
                1 => "Can I see the {} if I look straight ahead?",
                _ => "Can I see the {} from my position without turning my head?",
            };
            Some(asked(text, [referent.into()], yes_no(yes)))
        }
        3..=4 => {
            let fits = |i: &usize| {
                let bounds = &view.scene.objects[*i].bounds;
                let high = bounds.bottom() > 1.7 || bounds.top() < 0.3;
                !high && if yes { view.gaps[*i] < 0.6 } else { view.gaps[*i] > 1.5 }
            };
            let (_, referent) = view.named_one(view.askable().filter(fits), rng)?;
            let text = match rng.random_range(0..3) {
                0 => "Can I touch the {} without taking a step?",
                1 => "Can I reach the {} from where I am?",
                _ => "Can I reach the {} without moving?",
            };
            Some(asked(text, [referent.into()], yes_no(yes)))
        }
        _ => {
            let side = random_side(rng);
            let nearest = view.nearest(side, 0.0)?;
            let seat = is_seat(&view.scene.objects[nearest].category);
            (seat == yes && !view.told.contains(&nearest)).then(|| {
                asked(&format!("Can I sit on the object {}?", side_words(side, rng)), [], yes_no(seat))
            })
        }
    }
}

pub(super) fn which(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    match rng.random_range(0..10) {
        0..=2 => {
            let ways = [
                "Which is closer to me, the {} or the {}?",
                "Which one is nearer to me, the {} or the {}?",
                "Which object is closer, the {} or the {}?",
            ];
            which_is_closer(view, &ways, rng)
        }
        3..=5 => {
            let (noun, side) = turning_target(view, rng)?;
            let ask = one_of(
                &["Which direction should I turn to face the {}?", "Which way do I turn to see the {}?"],
                rng,
            );
            Some(asked(ask, [noun], turn_key(side)))
        }
        6..=7 => {
            let side = left_or_right(rng);
            let (_, referent) = view.named_one(view.untold().filter(|&i| view.certainly(i, side)), rng)?;
            let ask = one_of(&["Which side of me is the {} on?", "Which side is the {} on from here?"], rng);
            Some(asked(ask, [referent.into()], side_key(side)))
        }
        8 => {
            let (a, b) = (view.named_one(view.askable(), rng)?, view.named_one(view.askable(), rng)?);
            let top = |i: usize| view.scene.objects[i].bounds.top();
            let (taller, shorter) = if top(a.0) > top(b.0) { (&a, &b) } else { (&b, &a) };
            let category = |i: usize| &view.scene.objects[i].category;
            let floor = |i: usize| view.scene.objects[i].bounds.bottom() < 0.15;
            let clear = top(taller.0) - top(shorter.0) > 0.3 && floor(a.0) && floor(b.0);
            if !clear || category(a.0) == category(b.0) {
                return None;
            }
            let answer = view.answer(taller.0);
            Some(asked("Which is taller, the {} or the {}?", [a.1.into(), b.1.into()], answer))
        }
        _ => {
            let doors = |i: &usize| matches!(view.scene.objects[*i].category.as_str(), "door" | "doorway");
            let all: Vec<usize> = (0..view.gaps.len()).filter(|i| view.here[*i] && doors(i)).collect();
            let [door] = all.as_slice() else { return None };
            let side = view.side(*door)?;
            (!view.told.contains(door) && view.scene.seen(*door)).then(|| {
                let words = one_of(
                    &["Which way should I go to leave the room?", "Which direction is the exit?"],
                    rng,
                );
                asked(words, [], side_key(side))
            })
        }
    }
}

pub(super) fn other(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    match rng.random_range(0..10) {
        0..=2 => {
            let (noun, side, yes) = presence(view, rng)?;
            let words = side_words(side, rng);
            let several = Noun { words: plural(&noun.words), ..noun };
            Some(asked(&format!("Are there any {{}} {words}?"), [several], yes_no(yes)))
        }
        3..=5 => {
            let side = random_side(rng);
            let (_, referent) = view.named_one(view.untold().filter(|&i| view.certainly(i, side)), rng)?;
            let ask = one_of(
                &["Where is the {}?", "Where is the {} from where I am?", "Where do I find the {}?"],
                rng,
            );
            Some(asked(ask, [referent.into()], side_key(side)))
        }
        6 => clock_direction(view, rng),
        7 => {
            let side = left_or_right(rng);
            let (_, referent) = view.named_one(view.untold().filter(|&i| view.certainly(i, side)), rng)?;
            let after = if side == Side::Left { Side::Right } else { Side::Left };
            let text = "If I turn around, is the {} on my left or my right?";
            Some(asked(text, [referent.into()], side_key(after)))
        }
        8 => {
            let able = view.countable();
            let (a, b) = (able.choose(rng)?, able.choose(rng)?);
            let (more, less) = if a.1.len() > b.1.len() { (a, b) } else { (b, a) };
            if more.1.len() == less.1.len() {
                return None;
            }
            let yes = coin(rng);
            let (x, y) = if yes { (more.0, less.0) } else { (less.0, more.0) };
            let text = format!("Are there more {} than {} in this room?", plural(x), plural(y));
            Some(asked(&text, [], yes_no(yes)))
        }
        _ => {
            let yes = coin(rng);
            let noun = if yes { view.countable().choose(rng)?.0 } else { absent(view, rng)? };
            Some(asked(&format!("Does this room have {} {noun}?", article(noun)), [], yes_no(yes)))
        }
    }
}

/// "At what o'clock is the lamp?"
fn clock_direction(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let certain = |i: &usize| {
        let bearing = view.bearings[*i];
        let middle = -f32::from(bearing.clock()) * PI / 6.0;
        crate::geometry::wrap_angle(bearing.angle - middle).abs() < 0.15
    };
    let (object, referent) = view.named_one(view.untold().filter(certain), rng)?;
    let word = number_word(view.bearings[object].clock().into());
    let text = "At what o'clock is the {} from my point of view?";
    Some(asked(text, [referent.into()], key(&[&format!("{word} o'clock"), &word])))
}
