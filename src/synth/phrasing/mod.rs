//! Words of generated texts: the names people give to things, what they do with
//! them, and texts that remember where each object is named.

mod typos;
mod vocabulary;

pub(super) use typos::{mistyped, slipped, with_strange_words};
pub(super) use vocabulary::{Activity, activities, has_front, is_flat, is_seat, names, plural};
pub use vocabulary::{category_called, front};

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::Mention;
use crate::scene::{ObjectId, SceneObject};

/// A way to refer to an object and everything it could mean.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Referent {
    /// Index of the object meant.
    pub(super) object: usize,
    /// Its identity.
    pub(super) id: ObjectId,
    /// What stands before the noun ("grey"), may be empty.
    pub(super) adjective: String,
    /// The noun ("sofa").
    pub(super) noun: String,
    /// What tells it from others of its kind.
    pub(super) beside: Option<Beside>,
    /// Indices of all objects the words fit, `object` included.
    pub(super) matches: Vec<usize>,
}

/// "next to the sofa", "with the laptop on it".
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Beside {
    /// "next to", "with".
    pub(super) words: &'static str,
    /// What follows the other thing ("on it"), may be empty.
    pub(super) after: &'static str,
    /// The other thing.
    pub(super) id: ObjectId,
    /// Its noun.
    pub(super) noun: String,
}

impl Referent {
    /// "grey sofa".
    pub(super) fn words(&self) -> String {
        if self.adjective.is_empty() {
            self.noun.clone()
        } else {
            format!("{} {}", self.adjective, self.noun)
        }
    }
}

/// What a question calls a thing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Noun {
    /// What stands before it ("grey"), may be empty.
    pub(super) adjective: String,
    /// The noun ("sofa", "chairs").
    pub(super) words: String,
    /// The object meant; `None` when it means several or none.
    pub(super) object: Option<ObjectId>,
}

impl Noun {
    /// `words` for an object.
    pub(super) fn of(words: String, object: &SceneObject) -> Self {
        Self { adjective: String::new(), words, object: Some(object.id) }
    }

    /// `words` that mean no single object.
    pub(super) fn of_nothing(words: &str) -> Self {
        Self { adjective: String::new(), words: words.to_owned(), object: None }
    }
}

impl From<Referent> for Noun {
    fn from(referent: Referent) -> Self {
        Self { adjective: referent.adjective, words: referent.noun, object: Some(referent.id) }
    }
}

/// Whether `noun` could be used for `object`: "chair" also fits an office chair.
pub(super) fn noun_fits(noun: &str, object: &SceneObject) -> bool {
    let fits = |name: &str| name == noun || name.to_lowercase().ends_with(&noun.to_lowercase());
    fits(object.category.as_str()) || names(&object.category).into_iter().any(fits)
}

/// Category names that mean one object only, with its index.
pub fn named_alone(objects: &[SceneObject]) -> Vec<(String, usize)> {
    let name = |object: &SceneObject| object.category.as_str().to_owned();
    let alone = |noun: &str| objects.iter().filter(|other| noun_fits(noun, other)).count() == 1;
    (0..objects.len()).map(|i| (name(&objects[i]), i)).filter(|(noun, _)| alone(noun)).collect()
}

/// Refers to `objects[object]` by a random synonym, with its colour when
/// `colored` and known.
pub(super) fn refer(objects: &[SceneObject], object: usize, colored: bool, rng: &mut ChaCha8Rng) -> Referent {
    let target = &objects[object];
    let choices = names(&target.category);
    // Half of the time people use the plain name.
    let noun = match choices.choose(rng) {
        Some(synonym) if rng.random_bool(0.5) => (*synonym).to_owned(),
        _ => choices.first().map_or(target.category.as_str(), |name| *name).to_owned(),
    };
    let adjective = target.color.clone().filter(|_| colored).unwrap_or_default();
    let fits = |other: &SceneObject| {
        noun_fits(&noun, other) && (adjective.is_empty() || other.color.as_deref() == Some(&adjective))
    };
    let matches = (0..objects.len()).filter(|&i| fits(&objects[i])).collect();
    Referent { object, id: target.id, adjective, noun, beside: None, matches }
}

/// "a" or "an", as `words` want it.
pub(super) fn article(words: &str) -> &'static str {
    if words.to_lowercase().starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// `words` with a capital first letter.
pub(super) fn capitalized(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Who speaks, which decides verbs and pronouns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// "I am standing"
    First,
    /// "I'm standing"
    Contracted,
    /// "Standing"
    Participle,
    /// "Stand"
    Imperative,
    /// "You are standing"
    Second,
}

impl Voice {
    /// A voice; the first person is the most common.
    pub(super) fn random(rng: &mut ChaCha8Rng) -> Self {
        match rng.random_range(0..20) {
            0..=9 => Self::First,
            10..=12 => Self::Contracted,
            13..=15 => Self::Participle,
            16..=17 => Self::Imperative,
            _ => Self::Second,
        }
    }

    /// "my" or "your".
    pub(super) fn possessive(self) -> &'static str {
        if self.addressed() { "your" } else { "my" }
    }

    /// "me" or "you".
    pub(super) fn object(self) -> &'static str {
        if self.addressed() { "you" } else { "me" }
    }

    fn addressed(self) -> bool {
        matches!(self, Self::Imperative | Self::Second)
    }

    /// The opening words for a verb given as ("standing", "stand").
    pub(super) fn opening(self, verb: (&str, &str)) -> String {
        match self {
            Self::First => format!("I am {}", verb.0),
            Self::Contracted => format!("I'm {}", verb.0),
            Self::Participle => capitalized(verb.0),
            Self::Imperative => capitalized(verb.1),
            Self::Second => format!("You are {}", verb.0),
        }
    }

    /// A second verb of the same sentence: ("facing", "face") becomes " facing" or " and face".
    pub(super) fn joined(self, verb: (&str, &str)) -> String {
        match self {
            Self::Imperative => format!("and {}", verb.1),
            _ => verb.0.to_owned(),
        }
    }
}

/// A text under construction that remembers where objects are named.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Text {
    /// The words so far.
    pub(super) words: String,
    /// Where objects are named.
    pub(super) mentions: Vec<Mention>,
}

impl Text {
    /// Starts with `words`.
    pub(super) fn new(words: &str) -> Self {
        Self { words: words.to_owned(), mentions: Vec::new() }
    }

    /// `template` with `nouns` in the place of its "{}".
    pub(super) fn filled(template: &str, nouns: &[Noun]) -> Self {
        let mut parts = template.split("{}");
        let mut text = Self::new(parts.next().unwrap_or_default());
        for (noun, words) in nouns.iter().zip(parts) {
            text.push_noun(&noun.adjective, &noun.words, noun.object);
            text.words.push_str(words);
        }
        text
    }

    /// Appends a noun behind its adjective, and remembers where it names `object`.
    fn push_noun(&mut self, adjective: &str, noun: &str, object: Option<ObjectId>) {
        if !adjective.is_empty() {
            self.words.push_str(adjective);
            self.words.push(' ');
        }
        let start = self.words.len();
        self.words.push_str(noun);
        let end = self.words.len();
        self.mentions.extend(object.map(|object| Mention { start, end, object }));
    }

    /// Appends words, after a blank unless they start with punctuation.
    pub(super) fn say(mut self, words: &str) -> Self {
        if !self.words.is_empty() && !words.starts_with([',', '.', ';', '?', '\'']) {
            self.words.push(' ');
        }
        self.words.push_str(words);
        self
    }

    /// Appends `article` and the name of an object.
    pub(super) fn name(self, article: &str, referent: &Referent) -> Self {
        let mut text = self.say(article);
        text.words.push(' ');
        text.push_noun(&referent.adjective, &referent.noun, Some(referent.id));
        if let Some(beside) = &referent.beside {
            text = text.say(beside.words).say("the ");
            text.push_noun("", &beside.noun, Some(beside.id));
            if !beside.after.is_empty() {
                text = text.say(beside.after);
            }
        }
        text
    }

    /// Appends "the" and the name of an object.
    pub(super) fn the(self, referent: &Referent) -> Self {
        self.name("the", referent)
    }

    /// Appends a pattern with "{}" where the object is named: "cooking at {}".
    pub(super) fn pattern(self, pattern: &str, referent: &Referent) -> Self {
        match pattern.split_once("{}") {
            Some((before, "")) => self.say(before.trim_end()).the(referent),
            Some((before, after)) => self.say(before.trim_end()).the(referent).say(after.trim_start()),
            None => self.say(pattern),
        }
    }
}

/// The English word of a small number, its digits from 21 on.
pub(super) fn number_word(number: usize) -> String {
    const WORDS: [&str; 21] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    WORDS.get(number).map_or_else(|| number.to_string(), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sofa(noun: &str) -> Referent {
        Referent {
            object: 0,
            id: ObjectId(4),
            adjective: "grey".to_owned(),
            noun: noun.to_owned(),
            beside: None,
            matches: vec![0],
        }
    }

    #[test]
    fn mentions_span_the_noun() {
        let text = Text::new("I am").pattern("sitting on {}", &sofa("sofa")).say(", relaxed.");
        assert_eq!(text.words, "I am sitting on the grey sofa, relaxed.");
        let mention = text.mentions[0];
        assert_eq!(&text.words[mention.start..mention.end], "sofa");
        assert_eq!(mention.object, ObjectId(4));
    }

    #[test]
    fn voices_agree_with_their_pronouns() {
        assert_eq!(Voice::Imperative.opening(("standing", "stand")), "Stand");
        assert_eq!(Voice::Imperative.possessive(), "your");
        assert_eq!(Voice::Imperative.joined(("facing", "face")), "and face");
        assert_eq!(Voice::Participle.opening(("standing", "stand")), "Standing");
        assert_eq!(Voice::First.possessive(), "my");
    }

    #[test]
    fn small_numbers_are_words() {
        assert_eq!(number_word(0), "zero");
        assert_eq!(number_word(12), "twelve");
        assert_eq!(number_word(34), "34");
    }
}
