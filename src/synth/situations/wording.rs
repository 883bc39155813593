//! Sentences for drawn situations.

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::{Cue, CueKind, Drawn, Look, Place};
use crate::qa::Side;
use crate::synth::phrasing::{
    Referent, Text, Voice, activities, article as indefinite, is_seat, number_word,
};
use crate::synth::questions::QuestionScene;

/// A verb as ("standing", "stand").
type Verb = (&'static str, &'static str);

const STANDING: Verb = ("standing", "stand");

/// The sentence for a drawn situation.
pub(super) fn compose(
    scene: &QuestionScene<'_>,
    drawn: &Drawn,
    anchors: &[Referent; 2],
    target: Option<&Referent>,
    cues: &[Cue],
    voice: Voice,
    rng: &mut ChaCha8Rng,
) -> Text {
    let category = &scene.objects[drawn.anchors[0]].category;
    let [first, second] = anchors;
    let mut text = match (drawn.place, drawn.look) {
        (Place::On, _) => on(category.as_str(), first, voice, rng),
        (Place::At, _) => at(category.as_str(), first, voice, rng),
        (Place::Front, Look::Anchor) => {
            let doing = activities(category);
            match doing.choose(rng) {
                Some(activity) if rng.random_bool(0.5) => {
                    let pattern = if voice == Voice::Imperative { activity.1 } else { activity.0 };
                    Text::new("").pattern(&voice.opening((pattern, pattern)), first)
                }
                _ => facing_it(first, voice, rng),
            }
        }
        (Place::Front, Look::Away) => away(is_seat(category), first, voice, rng),
        (Place::Front, _) => {
            let words = ["in front of", "right in front of", "before"].choose(rng).unwrap_or(&"in front of");
            Text::new(&voice.opening(STANDING)).say(words).the(first)
        }
        (Place::Beside, _) => {
            let words = ["next to", "beside", "by", "near", "close to", "at the side of"].choose(rng);
            Text::new(&voice.opening(STANDING)).say(words.unwrap_or(&"next to")).the(first)
        }
        (Place::Between, _) => {
            let between = ["between", "in between", "in the gap between"].choose(rng).unwrap_or(&"between");
            Text::new(&voice.opening(STANDING)).say(between).the(first).say("and").the(second)
        }
        (Place::Entering, _) => entering(first, voice, rng),
        (Place::Middle, _) => {
            let words = ["in the middle of the room", "in the center of the room"].choose(rng);
            Text::new(&voice.opening(STANDING)).say(words.unwrap_or(&"in the middle of the room"))
        }
    };
    if drawn.look == Look::Across {
        let (mine, comma) = (voice.possessive(), [",", ""].choose(rng).unwrap_or(&""));
        let hand = ["on", "to"].choose(rng).unwrap_or(&"on");
        text = text.say(&format!("{comma}{}with", if comma.is_empty() { "" } else { " " })).the(first);
        text = text.say(&format!("{hand} {mine} left"));
        if rng.random_bool(0.5) {
            text = text.say("and").the(second).say(&format!("{hand} {mine} right"));
        }
    }
    if let Some(target) = target {
        let watchable = scene.objects[target.object].category.as_str() == "tv";
        text = text.say(&voice.joined(facing(watchable, rng))).the(target);
    }
    let text = with_cues(text, cues, voice, rng);
    if rng.random_bool(0.85) { text.say(".") } else { text }
}

fn facing(watchable: bool, rng: &mut ChaCha8Rng) -> Verb {
    const FACING: &[Verb] = &[
        ("facing", "face"),
        ("facing", "face"),
        ("facing", "face"),
        ("looking at", "look at"),
        ("looking towards", "look towards"),
        ("turned towards", "turn towards"),
    ];
    if watchable && rng.random_bool(0.4) {
        return ("watching", "watch");
    }
    FACING.choose(rng).copied().unwrap_or(("facing", "face"))
}

fn on(category: &str, seat: &Referent, voice: Voice, rng: &mut ChaCha8Rng) -> Text {
    const BED: &[Verb] = &[("lying", "lie"), ("lying", "lie"), ("resting", "rest"), ("sitting", "sit")];
    const SOFT: &[Verb] = &[
        ("sitting", "sit"),
        ("sitting", "sit"),
        ("relaxing", "relax"),
        ("resting", "rest"),
        ("seated", "sit down"),
    ];
    const HARD: &[Verb] = &[("sitting", "sit"), ("sitting", "sit"), ("seated", "sit down")];
    let verbs = match category {
        "bed" => BED,
        "sofa" | "armchair" => SOFT,
        _ => HARD,
    };
    let verb = verbs.choose(rng).copied().unwrap_or(("sitting", "sit"));
    let inside = matches!(category, "armchair" | "office chair") && rng.random_bool(0.3);
    Text::new(&voice.opening(verb)).say(if inside { "in" } else { "on" }).the(seat)
}

fn at(category: &str, table: &Referent, voice: Voice, rng: &mut ChaCha8Rng) -> Text {
    const DESK: &[Verb] = &[
        ("working at", "work at"),
        ("sitting at", "sit at"),
        ("studying at", "study at"),
        ("typing at", "type at"),
    ];
    const TABLE: &[Verb] =
        &[("sitting at", "sit at"), ("eating at", "eat at"), ("having a meal at", "have a meal at")];
    let verbs = if category == "desk" { DESK } else { TABLE };
    Text::new(&voice.opening(verbs.choose(rng).copied().unwrap_or(("sitting at", "sit at")))).the(table)
}

/// Standing in front of a thing and looking at it.
fn facing_it(thing: &Referent, voice: Voice, rng: &mut ChaCha8Rng) -> Text {
    let stand = Text::new(&voice.opening(STANDING));
    match rng.random_range(0..8) {
        0..=2 => stand.say("in front of").the(thing),
        3..=4 => stand.say("in front of").the(thing).say(&voice.joined(("facing", "face"))).say("it"),
        5 => {
            stand.say("directly in front of").the(thing).say(&voice.joined(("looking", "look"))).say("at it")
        }
        6 => Text::new(&voice.opening(("facing", "face")))
            .the(thing)
            .say("right in front of")
            .say(voice.object()),
        _ => stand.say("at").the(thing).say(&voice.joined(("facing", "face"))).say("it"),
    }
}

fn away(seat: bool, thing: &Referent, voice: Voice, rng: &mut ChaCha8Rng) -> Text {
    let stand = Text::new(&voice.opening(STANDING));
    let (mine, me) = (voice.possessive(), voice.object());
    match rng.random_range(0..6) {
        0..=1 if seat && voice == Voice::First => Text::new("I just got up from").the(thing),
        0 if seat && voice == Voice::Participle => Text::new("Just got up from").the(thing),
        0..=2 => {
            stand.say("in front of").the(thing).say(&voice.joined(("facing", "face"))).say("away from it")
        }
        3 => stand.say("close to").the(thing).say(&format!("with {mine} back to it")),
        4 => stand.say("with").the(thing).say(&format!("right behind {me}")),
        _ => stand.say(&format!("with {mine} back to")).the(thing),
    }
}

fn entering(door: &Referent, voice: Voice, rng: &mut ChaCha8Rng) -> Text {
    const OPENINGS: &[&str] = &[
        "I just entered through",
        "I just entered the room through",
        "I have just come in through",
        "I just walked into the room through",
        "I am walking in through",
        "I have just entered the room by",
    ];
    let words = match voice {
        Voice::First | Voice::Contracted => OPENINGS.choose(rng).copied().unwrap_or(OPENINGS[0]),
        Voice::Participle => "Just entered through",
        Voice::Imperative => "Enter the room through",
        Voice::Second => "You have just entered through",
    };
    Text::new(words).the(door)
}

fn with_cues(mut text: Text, cues: &[Cue], voice: Voice, rng: &mut ChaCha8Rng) -> Text {
    const OPENINGS: &[(&str, &str, &str)] = &[
        ("with", "the", ""),
        ("with", "the", ""),
        (", with", "the", ""),
        ("while", "the", "is"),
        ("and", "the", "is"),
        (", and", "the", "is"),
        ("and there is", "a", ""),
        (", having", "the", ""),
    ];
    let Some((opening, article, verb)) = OPENINGS.choose(rng).copied() else { return text };
    for (number, cue) in cues.iter().enumerate() {
        let article = match article {
            "a" => indefinite(&cue.referent.words()),
            other => other,
        };
        text = text.say(if number == 0 { opening } else { "and" }).name(article, &cue.referent);
        if !verb.is_empty() {
            text = text.say(verb);
        }
        text = text.say(&direction(cue.kind, voice, rng));
    }
    text
}

/// "on my left", "behind me", "in my three o'clock direction".
fn direction(kind: CueKind, voice: Voice, rng: &mut ChaCha8Rng) -> String {
    let (mine, me) = (voice.possessive(), voice.object());
    let pick = |options: &[String], rng: &mut ChaCha8Rng| options.choose(rng).cloned().unwrap_or_default();
    match kind {
        CueKind::Side(side @ (Side::Left | Side::Right)) => {
            let word = side.word();
            pick(
                &[
                    format!("on {mine} {word}"),
                    format!("on {mine} {word}"),
                    format!("to {mine} {word}"),
                    format!("to the {word} of {me}"),
                    format!("on {mine} {word} side"),
                    format!("on {mine} {word} hand side"),
                ],
                rng,
            )
        }
        CueKind::Side(Side::Behind) => {
            pick(&[format!("behind {me}"), format!("behind {me}"), format!("at {mine} back")], rng)
        }
        CueKind::Side(_) => pick(&[format!("in front of {me}"), format!("ahead of {me}")], rng),
        CueKind::Clock(hour) => pick(
            &[
                format!("at {mine} {hour} o'clock"),
                format!("in {mine} {hour} o'clock direction"),
                format!("in {mine} {} o'clock direction", number_word(hour.into())),
            ],
            rng,
        ),
    }
}
