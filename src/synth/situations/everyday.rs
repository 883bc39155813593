//! Situations the way people write them down: what they do there and why, in the present
//! or the past, what is around them in sentences of its own. Learned from the manner of
//! SQA3D's situations; none of their sentences is used, and no template shares six words in a
//! row with one, but for what [`activities`] says.

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::{Cue, CueKind, Drawn, Look, Place};
use crate::qa::Side;
use crate::synth::phrasing::{
    Activity, Referent, Text, activities, article, capitalized, is_seat, number_word,
};
use crate::synth::questions::QuestionScene;

/// What people do besides, which says nothing of where they are.
const BESIDES: &[&str] = &[
    "reading a book",
    "reading the news",
    "waiting for a friend",
    "waiting for my turn",
    "talking on the phone",
    "checking my phone",
    "listening to music",
    "drinking a cup of coffee",
    "having a snack",
    "taking a short break",
    "thinking about dinner",
    "thinking about my work",
    "enjoying the quiet",
    "looking for my keys",
    "to get some rest",
    "to relax a bit",
    "to have a closer look",
    "to stretch my legs",
    "wondering what to do next",
    "humming a song",
];

const FACING: &[&str] = &[
    "facing",
    "facing",
    "while facing",
    "and facing",
    ", facing",
    "looking at",
    "and looking at",
    "while looking at",
    "looking toward",
    "and looking towards",
    "directly facing",
    "facing towards",
    "staring at",
    "and I am facing",
    "with my eyes on",
    "turned to",
];

/// One of `options`.
fn pick(options: &[&'static str], rng: &mut ChaCha8Rng) -> &'static str {
    options.choose(rng).copied().unwrap_or("")
}

/// The text for a drawn situation.
pub(super) fn compose(
    scene: &QuestionScene<'_>,
    drawn: &Drawn,
    anchors: &[Referent; 2],
    target: Option<&Referent>,
    cues: &[Cue],
    rng: &mut ChaCha8Rng,
) -> Text {
    let mut text = place(scene, drawn, anchors, rng);
    if drawn.look == Look::Across {
        text = text.say("with").the(&anchors[0]).say(pick(&["on my left", "to my left"], rng));
        text = text.say("and").the(&anchors[1]).say(pick(&["on my right", "to my right"], rng));
    }
    let besides = rng.random_bool(0.25).then(|| pick(BESIDES, rng));
    let (before, after) = if rng.random_bool(0.5) { (besides, None) } else { (None, besides) };
    let told = |text: Text, what: Option<&str>| what.map_or(text.clone(), |what| text.say(what));
    text = told(text, before);
    if let Some(target) = target {
        text = text.say(pick(FACING, rng)).the(target);
    }
    text = told(text, after);
    for cue in cues {
        text = remark(text, cue, rng);
    }
    if rng.random_bool(0.8) { text.say(".") } else { text }
}

fn place(scene: &QuestionScene<'_>, drawn: &Drawn, anchors: &[Referent; 2], rng: &mut ChaCha8Rng) -> Text {
    let category = &scene.objects[drawn.anchors[0]].category;
    let [first, second] = anchors;
    let pattern = match (drawn.place, drawn.look) {
        (Place::On, _) => pick(on(category.as_str()), rng),
        (Place::At, _) => pick(
            &[
                "I sat down at {}",
                "I chose a seat at {}",
                "I am working at {}",
                "I was having lunch at {}",
                "I am seated at {}",
            ],
            rng,
        ),
        (Place::Front, Look::Anchor) => return at_work(category, first, rng),
        (Place::Front, Look::Away) if is_seat(category) => pick(
            &["I stood up from {}", "I got up from {}", "I just left {} behind me", "I walk away from {}"],
            rng,
        ),
        (Place::Front, Look::Away) => pick(
            &[
                "I turned away from {}",
                "I took a step away from {}",
                "I am leaning with my back against {}",
                "I am standing with {} at my back",
            ],
            rng,
        ),
        (Place::Front, _) => pick(
            &[
                "I am right in front of {}",
                "I stand before {}",
                "I stopped in front of {}",
                "I was standing right in front of {}",
            ],
            rng,
        ),
        (Place::Beside, _) => pick(
            &[
                "I am right next to {}",
                "I am standing right by {}",
                "I stand beside {}",
                "I am kneeling next to {}",
                "I am on the side of {}",
                "I was standing close to {}",
                "I stopped by {}",
            ],
            rng,
        ),
        (Place::Between, _) => {
            let opening =
                ["I am walking between", "I stand between", "I am in the middle of", "I squeezed in between"];
            return Text::new(pick(&opening, rng)).the(first).say("and").the(second);
        }
        (Place::Entering, _) => pick(
            &[
                "I came in through {}",
                "I just came in via {}",
                "I entered via {}",
                "I stepped into the room through {}",
                "I am coming back through {}",
                "I opened {} and just came in",
            ],
            rng,
        ),
        (Place::Middle, _) => {
            let words = [
                "I am right in the middle of this room",
                "I stand in the centre of the room",
                "I stopped in the middle of this room",
            ];
            return Text::new(pick(&words, rng));
        }
    };
    Text::new("").pattern(pattern, first)
}

fn on(category: &str) -> &'static [&'static str] {
    match category {
        "bed" => &[
            "I lay down on {}",
            "I just woke up on {}",
            "I am napping on {}",
            "I am lying on {}",
            "I sat down on {}",
        ],
        "sofa" | "armchair" => &[
            "I sat down on {}",
            "I am leaning back on {}",
            "I took a seat on {}",
            "I was sitting on {}",
            "I am having a rest on {}",
        ],
        _ => &["I sat down on {}", "I took a seat on {}", "I was sitting on {}", "I am seated on {}"],
    }
}

/// What people note down to do at a thing, besides what [`activities`] lists.
fn chores(category: &str) -> &'static [Activity] {
    match category {
        "bin" => &[
            ("getting rid of an old wrapper in {}", "get rid of an old wrapper in {}"),
            ("dropping a bottle into {}", "drop a bottle into {}"),
            ("emptying the garbage from {}", "empty the garbage from {}"),
        ],
        "sink" => &[
            ("washing the dishes in {}", "wash the dishes in {}"),
            ("cleaning {}", "clean {}"),
            ("brushing teeth at {}", "brush teeth at {}"),
        ],
        "door" | "doorway" => &[
            ("closing {}", "close {}"),
            ("pulling {} shut", "pull {} shut"),
            ("holding {} open", "hold {} open"),
            ("trying to open {}", "try to open {}"),
        ],
        "window" => &[("closing {}", "close {}"), ("cleaning {}", "clean {}")],
        "cabinet" | "shelf" | "bookshelf" => &[
            ("grabbing something from {}", "grab something from {}"),
            ("placing papers in {}", "place papers in {}"),
            ("sorting items on {}", "sort the items on {}"),
        ],
        "wardrobe" | "dresser" => &[
            ("putting folded clothes into {}", "put folded clothes into {}"),
            ("grabbing a shirt from {}", "grab a shirt from {}"),
        ],
        "fridge" => &[("fetching the orange juice from {}", "fetch the orange juice from {}")],
        "table" | "desk" => &[
            ("cleaning {}", "clean {}"),
            ("placing a plate on {}", "place a plate on {}"),
            ("writing notes at {}", "write notes at {}"),
        ],
        "whiteboard" => &[("cleaning {}", "clean {}"), ("drawing on {}", "draw on {}")],
        "bed" => &[("folding a blanket on {}", "fold a blanket on {}")],
        "backpack" | "box" => &[("packing {}", "pack {}"), ("picking up {}", "pick up {}")],
        "monitor" | "laptop" => &[("typing in front of {}", "type in front of {}")],
        "picture" | "mirror" | "clock" | "tv" | "lamp" => {
            &[("fixing {}", "fix {}"), ("dusting {}", "dust {}")]
        }
        _ => &[("cleaning {}", "clean {}"), ("fixing {}", "fix {}")],
    }
}

/// Standing in front of a thing, facing it, mostly to do something there.
fn at_work(category: &crate::scene::Category, thing: &Referent, rng: &mut ChaCha8Rng) -> Text {
    let usual = activities(category);
    let doing = if usual.is_empty() || rng.random_bool(0.5) { chores(category.as_str()) } else { usual };
    match (doing.choose(rng), rng.random_range(0..8)) {
        (Some(activity), 0..=1) => Text::new("I was").pattern(activity.0, thing),
        (Some(activity), 2) if !activity.0.starts_with("about") => {
            Text::new("I started").pattern(activity.0, thing)
        }
        // "wash your hands" is said to others; here it is said of oneself.
        (Some(activity), 3..=4) if !activity.1.contains("you") => {
            Text::new(pick(&["I would like to", "I am here to", "I was going to", "I stopped to"], rng))
                .pattern(activity.1, thing)
        }
        (_, choice) => {
            let patterns = [
                "I am facing {} right in front of me",
                "I walked up to {}",
                "I am looking at {} in front of me",
                "I am reaching for {} in front of me",
                "I stopped in front of {} and look at it",
            ];
            Text::new("").pattern(patterns[choice % patterns.len()], thing)
        }
    }
}

/// What is where, as part of the sentence or as one of its own.
fn remark(text: Text, cue: &Cue, rng: &mut ChaCha8Rng) -> Text {
    let thing = &cue.referent;
    if cue.kind == CueKind::Side(Side::Behind) && rng.random_bool(0.3) {
        let words = ["with my back to", "and my back is facing", ", my back towards", "with my back facing"];
        return text.say(pick(&words, rng)).the(thing);
    }
    let way = direction(cue.kind, rng);
    let article = article(&thing.words());
    match rng.random_range(0..10) {
        0..=1 => text.say(", and").the(thing).say("is").say(&way),
        2 => text.say("while").the(thing).say("is").say(&way),
        3 => text.say(&format!(". {} is", capitalized(&way))).the(thing),
        4 => text.say(&format!("and {way} is")).the(thing),
        5 => text.say(". There is").name(article, thing).say(&way),
        6 => text.say("and there is").name(article, thing).say(&way),
        7 => text.say(".").name("The", thing).say("is").say(&way),
        8 => text.say("and I can see").the(thing).say(&way),
        _ => text.say("with").the(thing).say(&way),
    }
}

fn direction(kind: CueKind, rng: &mut ChaCha8Rng) -> String {
    match kind {
        CueKind::Side(side @ (Side::Left | Side::Right)) => {
            let word = side.word();
            let ways = [
                "on my {}",
                "to my {}",
                "on the {} side of me",
                "to the {}",
                "on my {}-hand side",
                "at my {}",
            ];
            pick(&ways, rng).replace("{}", word)
        }
        CueKind::Side(Side::Behind) => {
            pick(&["behind me", "right behind me", "directly behind me", "at my back", "just behind me"], rng)
                .to_owned()
        }
        CueKind::Side(_) => {
            pick(&["in front of me", "right in front of me", "straight ahead"], rng).to_owned()
        }
        CueKind::Clock(hour) => {
            let corner = match hour {
                1 | 2 => ["ahead of me to the right", "in my front right"],
                4 | 5 => ["behind me to the right", "in my rear right"],
                7 | 8 => ["behind me to the left", "in my rear left"],
                10 | 11 => ["ahead of me to the left", "in my front left"],
                _ => ["", ""],
            };
            if !corner[0].is_empty() && rng.random_bool(0.4) {
                return pick(&corner, rng).to_owned();
            }
            let name = if rng.random_bool(0.5) { hour.to_string() } else { number_word(hour.into()) };
            pick(
                &[
                    "in my {} o'clock direction",
                    "at my {} o'clock",
                    "at {} o'clock",
                    "in the {} o'clock direction",
                ],
                rng,
            )
            .replace("{}", &name)
        }
    }
}
