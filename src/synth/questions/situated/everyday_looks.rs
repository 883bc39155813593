//! Questions of people about what they see around them: outlines and colours, what stands on
//! what, which room it is, how many there are, what is in sight. Learned from the manner of
//! SQA3D's questions; none of their sentences is used.

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::families::{one_of, presence};
use super::{Asked, View, asked, count_key, key, left_or_right, side_key, side_words, yes_no};
use crate::qa::{AnswerKey, Side};
use crate::synth::RoomKind;
use crate::synth::phrasing::{article, plural};
use crate::synth::questions::coin;

/// Colours that light turns into one another: no choice between two of these is asked for.
const ALIKE: &[[&str; 2]] = &[
    ["white", "beige"],
    ["white", "grey"],
    ["grey", "black"],
    ["grey", "beige"],
    ["beige", "yellow"],
    ["beige", "brown"],
    ["brown", "black"],
    ["brown", "orange"],
    ["orange", "yellow"],
    ["orange", "red"],
    ["red", "pink"],
    ["pink", "purple"],
    ["purple", "blue"],
];

/// Rooms that people have a word for, and what makes one be such a room.
const ROOMS: &[(RoomKind, &str, &[&str])] = &[
    (RoomKind::Living, "living room", &["sofa"]),
    (RoomKind::Bedroom, "bedroom", &["bed"]),
    (RoomKind::Kitchen, "kitchen", &["stove", "fridge"]),
    (RoomKind::Bathroom, "bathroom", &["toilet", "bathtub"]),
    (RoomKind::Office, "office", &["desk", "whiteboard"]),
];

pub(super) fn ask(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    match rng.random_range(0..17) {
        0..=3 => outline(view, rng),
        4 => what_is_on(view, rng),
        5 => what_is_under(view, rng),
        6..=7 => one_of_two_colors(view, rng),
        8..=9 => how_many_here(view, rng),
        10 => more_on_a_side(view, rng),
        11..=12 => in_sight(view, rng),
        13 => is_there(view, rng),
        14 => open_or_closed(view, rng),
        _ => which_room(view, rng),
    }
}

/// "Is the table round or rectangular?"
fn outline(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let outlines = &view.scene.outlines;
    let has_one =
        |i: &usize| view.here[*i] && view.scene.seen(*i) && outlines.get(*i).is_some_and(Option::is_some);
    let (object, referent) = view.named_one((0..view.gaps.len()).filter(has_one), rng)?;
    let outline = outlines.get(object).copied().flatten()?;
    let answer = match outline {
        "round" => key(&["round", "circular", "circle"]),
        "oval" => key(&["oval", "elliptical"]),
        "rectangular" => key(&["rectangular", "rectangle"]),
        other => key(&[other]),
    };
    let others: &[&str] = match outline {
        "round" | "oval" => &["square", "rectangular"],
        "rectangular" => &["round", "oval", "square"],
        _ => &["round", "oval", "rectangular"],
    };
    let other = one_of(others, rng);
    let (a, b) = if coin(rng) { (outline, other) } else { (other, outline) };
    let text = match rng.random_range(0..4) {
        0 => "What shape is the {}?".to_owned(),
        1 => "What is the {}'s shape?".to_owned(),
        2 => format!("Is the shape of the {{}} {a} or {b}?"),
        _ => format!("Is the {{}} {a} or {b} in shape?"),
    };
    Some(asked(&text, [referent.into()], answer))
}

/// "What is on the nightstand?", where that is one thing.
fn what_is_on(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let only = |host: usize| match view.scene.standing_on(host).as_slice() {
        [thing] => Some(*thing).filter(|&thing| view.scene.seen(thing)),
        _ => None,
    };
    let (host, referent) = view.named_one(view.askable().filter(|&i| only(i).is_some()), rng)?;
    let ask = one_of(
        &["What is there on top of the {}?", "What is on the {}?", "What is standing or lying on the {}?"],
        rng,
    );
    Some(asked(ask, [referent.into()], view.answer(only(host)?)))
}

/// "What is under the lamp?": what it stands on.
fn what_is_under(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let host = |thing: usize| view.scene.support(thing).filter(|&host| view.scene.seen(host));
    let (thing, referent) = view.named_one(view.askable().filter(|&i| host(i).is_some()), rng)?;
    let ask = one_of(&["What is under the {}?", "What is the {} on top of?", "What is the {} on?"], rng);
    Some(asked(ask, [referent.into()], view.answer(host(thing)?)))
}

/// "Is the chair black or white?"
fn one_of_two_colors(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let objects = &view.scene.objects;
    let (object, referent) = view.named_one(view.untold().filter(|&i| objects[i].color.is_some()), rng)?;
    // A colour that tells which one is meant gives the answer away.
    let color = objects[object].color.as_deref().filter(|_| referent.adjective.is_empty())?;
    let alike = |other: &str| {
        other == color || ALIKE.iter().any(|pair| pair.contains(&color) && pair.contains(&other))
    };
    let others: Vec<&str> =
        objects.iter().filter_map(|object| object.color.as_deref()).filter(|other| !alike(other)).collect();
    let other = *others.choose(rng)?;
    let (a, b) = if coin(rng) { (color, other) } else { (other, color) };
    let text = match rng.random_range(0..3) {
        0 => format!("Is the color of the {{}} {a} or {b}?"),
        1 => format!("What color is the {{}}, {a} or {b}?"),
        _ => format!("Is the {{}} {a} or {b}?"),
    };
    Some(asked(&text, [referent.into()], key(&[color])))
}

/// "How many chairs does this room have?"
fn how_many_here(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    // There is mostly one of a kind.
    let several = rng.random_bool(0.8);
    let able = view.countable();
    let able: Vec<_> = able.iter().filter(|(_, members)| !several || members.len() > 1).collect();
    let (noun, members) = able.choose(rng)?;
    let ask = one_of(
        &[
            "How many {} does this room have?",
            "How many {} are in the room in total?",
            "How many {} can I count in the room?",
        ],
        rng,
    );
    Some(asked(&ask.replace("{}", &plural(noun)), [], count_key(members.len())))
}

/// "Are more chairs at my left or at my right?"
fn more_on_a_side(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let side = left_or_right(rng);
    let opposite = if side == Side::Left { Side::Right } else { Side::Left };
    let more = |members: &[usize]| {
        let (here, there) = (view.count_on(members, side), view.count_on(members, opposite));
        here.zip(there).is_some_and(|(here, there)| here > there)
    };
    let able = view.countable();
    let told = |members: &[usize]| members.iter().any(|i| view.told.contains(i));
    let able: Vec<_> = able
        .iter()
        .filter(|(_, all)| all.len() > 1 && !told(all.as_slice()) && more(all.as_slice()))
        .collect();
    let (noun, _) = able.choose(rng)?;
    let ask = one_of(
        &[
            "Are more {} at my left or at my right?",
            "Are more {} to my right or to my left?",
            "Which side has more {}, my left or my right?",
        ],
        rng,
    );
    Some(asked(&ask.replace("{}", &plural(noun)), [], side_key(side)))
}

/// "Can I see the lamp from here without turning?"
fn in_sight(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let yes = coin(rng);
    let fits = |i: &usize| {
        let off = view.bearings[*i].angle.abs();
        if yes { off < 0.5 && view.unobstructed(*i) } else { off > 1.9 }
    };
    let (_, referent) = view.named_one(view.untold().filter(fits), rng)?;
    let ask = one_of(
        &[
            "Can I see the {} from here without turning?",
            "Do I see the {} right now?",
            "Do I have the {} in sight the way I am facing?",
            "Am I able to see the {} without turning my head?",
        ],
        rng,
    );
    Some(asked(ask, [referent.into()], yes_no(yes)))
}

/// "Is the door closed?" Those of generated rooms are; what is open is a doorway.
fn open_or_closed(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let closes = |i: &usize| ["door", "window"].contains(&view.scene.objects[*i].category.as_str());
    let (object, referent) = view.named_one(view.askable().filter(closes), rng)?;
    let place = view.side(object).filter(|_| coin(rng)).map(|side| side_words(side, rng));
    let the = place.map_or("the {}".to_owned(), |place| format!("the {{}} {place}"));
    let (text, answer) = match rng.random_range(0..4) {
        0 => (format!("Is {the} open or closed?"), key(&["closed"])),
        1 => (format!("Is {the} closed or open?"), key(&["closed"])),
        2 => (format!("Is {the} open?"), yes_no(false)),
        _ => (format!("Is {the} closed?"), yes_no(true)),
    };
    Some(asked(&text, [referent.into()], answer))
}

/// "Do I have a chair behind me?"
fn is_there(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let (noun, side, yes) = presence(view, rng)?;
    let (article, words) = (article(&noun.words), side_words(side, rng));
    let ask = one_of(&["Is there", "Do I have", "Is there at least"], rng);
    let count = if ask.ends_with("least") { "one" } else { article };
    Some(asked(&format!("{ask} {count} {{}} {words}?"), [noun], yes_no(yes)))
}

/// "Am I in the bathroom?"
fn which_room(view: &View<'_>, rng: &mut ChaCha8Rng) -> Option<Asked> {
    let room = view.scene.room_of(view.pose.position)?;
    let kind = *view.scene.kinds.get(room)?;
    let shows = |signs: &[&str], must_be_seen: bool| {
        (0..view.gaps.len()).any(|i| {
            let is_sign = signs.contains(&view.scene.objects[i].category.as_str());
            is_sign && view.here[i] && (view.scene.seen(i) || !must_be_seen)
        })
    };
    let (_, name, _) = ROOMS.iter().find(|(of, _, signs)| *of == kind && shows(signs, true))?;
    let others: Vec<&str> = ROOMS
        .iter()
        .filter(|(of, _, signs)| *of != kind && !shows(signs, false))
        .map(|(_, name, _)| *name)
        .collect();
    let other = *others.choose(rng)?;
    let yes = coin(rng);
    let (a, b) = if yes { (name, &other) } else { (&other, name) };
    let named: AnswerKey = key(&[name]);
    Some(match rng.random_range(0..6) {
        0 => asked("Which room am I in?", [], named),
        1 => asked(&format!("Am I in the {a} or in the {b}?"), [], named),
        2 => asked(&format!("Is this room the {a}?"), [], yes_no(yes)),
        _ => asked(&format!("Am I in the {a}?"), [], yes_no(yes)),
    })
}
