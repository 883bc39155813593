//! Questions the way people ask them: for the sake of something they want to do, about the
//! number of things on a side, about what a turn brings into view. Learned from the manner
//! of SQA3D's questions; none of their sentences is used, and no template shares six words in
//! a row with one, but for what [`activities`] says.

use std::f32::consts::PI;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::families::{one_of, turn_key, turning_target, which_is_closer};
use super::{Asked, View, asked, count_key, everyday_looks, key, side_key, side_words, yes_no};
use crate::geometry::wrap_angle;
use crate::qa::{AnswerKey, Side};
use crate::scene::Category;
use crate::synth::phrasing::{Noun, activities, is_seat, plural};
use crate::synth::questions::coin;

/// Asks somebody who wants to {goal} for the way.
const WAYS: &[&str] = &[
    "Which direction should I take to {goal}?",
    "Which direction do I go in if I'd like to {goal}?",
    "Which way should I head to {goal}?",
    "Which way must I walk in order to {goal}?",
    "What direction must I go so as to {goal}?",
    "In what direction should I walk so that I can {goal}?",
    "To what direction would I move in order to {goal}?",
    "If I'd like to {goal}, what direction must I go?",
    "Say I'd like to {goal}: which way should I go?",
    "I have to {goal}. Which direction is that?",
    "How would I have to move to {goal}?",
];
/// The same of somebody who only turns.
const TURNS: &[&str] = &[
    "Which direction do I turn so as to {goal}?",
    "Which way should I turn so that I can {goal}?",
    "How must I turn in order to {goal}?",
    "If I'd like to {goal}, which way do I turn?",
];

/// What people want when they go to a thing, without its name; where things of other kinds
/// would do as well, it is no question.
fn wishes(category: &Category) -> &'static [&'static str] {
    match category.as_str() {
        "sink" => &["wash my face", "fill a glass with water"],
        "bed" => &["sleep", "go to bed"],
        "door" | "doorway" => &["leave", "get outside", "go out"],
        "window" => &["look outside", "let in some air", "see what the weather is like"],
        "bin" => &["throw something out", "get rid of some trash", "throw away a tissue"],
        "fridge" => &["get something cold to drink", "put the milk away"],
        "stove" => &["make dinner", "fry an egg"],
        "washing machine" => &["do my laundry", "wash my clothes"],
        "bookshelf" | "shelf" => &["borrow a book", "find something to read"],
        "wardrobe" => &["hang up my coat"],
        "mirror" => &["see myself", "check my hair", "see how I look"],
        "whiteboard" => &["write something down for everybody", "draw a diagram"],
        "clock" => &["see what time it is", "check the time"],
        "tv" => &["watch TV", "put on the television"],
        "bathtub" => &["take a bath"],
        "toilet" => &["use the restroom", "flush"],
        "towel" => &["dry my hands", "dry myself"],
        "laptop" | "monitor" => &["check my email", "use the computer"],
        "radiator" => &["turn the heat up"],
        "piano" => &["play some music"],
        "backpack" => &["collect my bag"],
        _ => &[],
    }
}

pub(super) fn ask(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    match rng.random_range(0..28) {
        0..=4 => which_way(view, rng),
        5 => where_is(view, rng),
        6..=9 => how_many(view, rng),
        10..=12 => odd_or_even(view, rng),
        13 => divided(view, rng),
        14..=15 => is_on_side(view, rng),
        16..=17 => after_turning(view, rng),
        18 => closer(view, rng),
        19 => one_of_two(view, rng),
        _ => everyday_looks::ask(view, rng),
    }
}

/// "Which way should I head to wash my face?"
fn which_way(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    if rng.random_bool(0.25) {
        let (noun, side) = turning_target(view, rng)?;
        let goal = one_of(&["see the {}", "look at the {}", "face the {}"], rng);
        return Some(asked(&one_of(TURNS, rng).replace("{goal}", goal), [noun], turn_key(side)));
    }
    // People rarely ask for what is behind them, and hardly ever for what they see.
    let side = match rng.random_range(0..20) {
        0..=6 => Side::Left,
        7..=13 => Side::Right,
        14..=16 => Side::Behind,
        _ => Side::Front,
    };
    let object = view.choose(view.untold().filter(|&i| view.certainly(i, side)), rng)?;
    let category = &view.scene.objects[object].category;
    let (goal, noun) = match wishes(category).choose(rng) {
        Some(wish) if coin(rng) => {
            let serves = |i: &usize| wishes(&view.scene.objects[*i].category).contains(wish);
            if (0..view.scene.objects.len()).filter(serves).count() > 1 {
                return None;
            }
            ("{}".to_owned(), Noun::of((*wish).to_owned(), &view.scene.objects[object]))
        }
        _ => (errand(category, rng), view.unique_name(object, rng)?.into()),
    };
    Some(asked(&one_of(WAYS, rng).replace("{goal}", &goal), [noun], way_key(side)))
}

/// What somebody goes to a thing for, with "{}" for its name.
fn errand(category: &Category, rng: &mut ChaCha8Rng) -> String {
    let mut errands = vec!["get to the {}".to_owned(), "reach the {}".to_owned()];
    if is_seat(category) {
        errands.push("sit on the {}".to_owned());
    }
    let imperatives = activities(category).iter().map(|(_, imperative)| imperative);
    errands.extend(imperatives.filter(|words| !words.starts_with("walk")).map(|words| {
        let mine = words.replace("get ready to ", "").replace("your", "my").replace("you look", "I look");
        mine.replace("{}", "the {}")
    }));
    errands.choose(rng).cloned().unwrap_or_default()
}

fn way_key(side: Side) -> AnswerKey {
    match side {
        Side::Left => key(&["left", "to the left", "turn left"]),
        Side::Right => key(&["right", "to the right", "turn right"]),
        Side::Behind => key(&["backward", "behind", "behind me", "around", "turn around"]),
        Side::Front => key(&["forward", "front", "straight", "in front of me"]),
    }
}

/// Some things that can be counted on a side, noun, side and count, whose count `fits`.
fn some(
    view: &View<'_>,
    fits: impl Fn(usize) -> bool,
    rng: &mut ChaCha8Rng,
) -> Option<(Noun, &'static str, usize)> {
    let mut found = Vec::new();
    for (noun, members) in view.countable() {
        for side in Side::ALL {
            let count = view.count_on(&members, side).filter(|count| *count > 0 && fits(*count));
            found.extend(count.map(|count| (view.noun_of(&plural(noun), &members), side, count)));
        }
    }
    let (noun, side, count) = found.choose(rng).cloned()?;
    Some((noun, side_words(side, rng), count))
}

fn how_many(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    // There is mostly one of a kind.
    let several = coin(rng);
    let (noun, side, count) = some(view, |count| !several || count > 1, rng)?;
    let ask = one_of(&["How many {} are there", "How many {} are", "How many {} do I have"], rng);
    Some(asked(&format!("{ask} {side}?"), [noun], count_key(count)))
}

fn odd_or_even(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let odd = coin(rng);
    let (noun, side, _) = some(view, |count| (count % 2 == 1) == odd, rng)?;
    let ask = one_of(&["Is the number of {}", "Is the amount of {}", "Is the count of {}"], rng);
    Some(asked(&format!("{ask} {side} odd or even?"), [noun], key(if odd { &["odd"] } else { &["even"] })))
}

fn divided(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let yes = coin(rng);
    let (word, by) = if coin(rng) { ("two", 2) } else { ("three", 3) };
    let (noun, side, _) = some(view, |count| (count % by == 0) == yes, rng)?;
    let ask = one_of(&["Can the number of {}", "Can the amount of {}"], rng);
    Some(asked(&format!("{ask} {side} be divided by {word}?"), [noun], yes_no(yes)))
}

/// "Is the lamp behind me?"
fn is_on_side(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let (yes, side) = (coin(rng), super::random_side(rng));
    let fits = |i: &usize| view.side(*i).is_some_and(|of| (of == side) == yes);
    let (_, referent) = view.named_one(view.untold().filter(fits), rng)?;
    let words = side_words(side, rng);
    let (text, answer) = match rng.random_range(0..5) {
        0 => (format!("True or false: is the {{}} {words}?"), key(if yes { &["true"] } else { &["false"] })),
        1 => (format!("Do I have the {{}} {words}?"), yes_no(yes)),
        2 if side == Side::Front => ("Am I facing the {}?".to_owned(), yes_no(yes)),
        _ => (format!("Is the {{}} {words}?"), yes_no(yes)),
    };
    Some(asked(&text, [referent.into()], answer))
}

/// "Will I see the lamp if I turn left?"
fn after_turning(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let turns = [("turn left", 0.5 * PI), ("turn right", -0.5 * PI), ("turn around", PI)];
    let (turn, angle) = *turns.choose(rng)?;
    let yes = coin(rng);
    let fits = |i: &usize| {
        let off = wrap_angle(view.bearings[*i].angle - angle).abs();
        if yes { off < 0.5 && view.unobstructed(*i) } else { off > 1.9 }
    };
    let (_, referent) = view.named_one(view.untold().filter(fits), rng)?;
    let text = match rng.random_range(0..4) {
        0 => format!("Will I see the {{}} if I {turn}?"),
        1 => format!("Can I see the {{}} if I {turn}?"),
        2 => format!("If I {turn}, will I be facing the {{}}?"),
        _ => format!("Do I have to {turn} to face the {{}}?"),
    };
    Some(asked(&text, [referent.into()], yes_no(yes)))
}

fn closer(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let ways = [
        "What would be nearer to me, the {} or the {}?",
        "What is nearer, the {} or the {}?",
        "Between the {} and the {}, which one is closer?",
        "Am I closer to the {} or the {}?",
    ];
    which_is_closer(view, &ways, rng)
}

/// "Which one is on my left, the lamp or the sofa?"
fn one_of_two(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let side = super::random_side(rng);
    let there = view.named_one(view.untold().filter(|&i| view.certainly(i, side)), rng)?;
    let elsewhere = |i: &usize| view.side(*i).is_some_and(|of| of != side);
    let other = view.named_one(view.untold().filter(elsewhere), rng)?;
    let category = |i: usize| &view.scene.objects[i].category;
    if category(there.0) == category(other.0) {
        return None;
    }
    let answer = view.answer(there.0);
    let (a, b) = if coin(rng) { (there.1, other.1) } else { (other.1, there.1) };
    let ask = one_of(&["Which one is", "Which object is", "What is"], rng);
    let text = format!("{ask} {}, the {{}} or the {{}}?", side_words(side, rng));
    Some(asked(&text, [a.into(), b.into()], answer))
}

/// "Where is the lamp located?"
fn where_is(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let side = super::random_side(rng);
    let (_, referent) = view.named_one(view.untold().filter(|&i| view.certainly(i, side)), rng)?;
    let ask = one_of(
        &["Where is the {} located?", "On which side of me is the {}?", "The {} is at which side of me?"],
        rng,
    );
    Some(asked(ask, [referent.into()], side_key(side)))
}
