//! Texts with a slip of the finger or with words that nobody knows, whose mentions still span
//! the nouns.

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::Text;

/// Swaps two neighbouring letters of one longer word that is not a mention, the
/// way people mistype; texts without such a word stay as they are.
pub(in crate::synth) fn mistyped(text: &Text, rng: &mut ChaCha8Rng) -> Text {
    let bytes = text.words.as_bytes();
    let named = |at: usize| text.mentions.iter().any(|m| (m.start..m.end).contains(&at));
    let places: Vec<usize> = (1..bytes.len().saturating_sub(2))
        .filter(|&at| !named(at) && !named(at + 1) && in_word(bytes, at) && bytes[at] != bytes[at + 1])
        .collect();
    let mut mistyped = text.clone();
    if let Some(&at) = places.choose(rng) {
        swap(&mut mistyped, at);
    }
    mistyped
}

/// Swaps two letters, or drops or doubles one, inside of one longer word, nouns included;
/// texts without such a word stay as they are.
pub(in crate::synth) fn slipped(text: &Text, rng: &mut ChaCha8Rng) -> Text {
    let bytes = text.words.as_bytes();
    let places: Vec<usize> = (1..bytes.len().saturating_sub(2)).filter(|&at| in_word(bytes, at)).collect();
    let mut slipped = text.clone();
    let Some(&at) = places.choose(rng) else { return slipped };
    match rng.random_range(0..3) {
        0 if bytes[at] != bytes[at + 1] => swap(&mut slipped, at),
        0..=1 => {
            slipped.words.remove(at);
            shift(&mut slipped, at, |place| place - 1);
        }
        _ => {
            slipped.words.insert(at, bytes[at] as char);
            shift(&mut slipped, at, |place| place + 1);
        }
    }
    slipped
}

/// Parts of a made-up word: how it begins, sounds and closes, and what is hung on to it.
const BEGINNINGS: [&str; 20] = [
    "b", "bl", "br", "c", "ch", "cr", "d", "dr", "f", "fl", "g", "gr", "h", "l", "m", "p", "pr", "s", "st",
    "tr",
];
const SOUNDS: [&str; 9] = ["a", "e", "i", "o", "u", "ai", "ea", "oa", "oo"];
const CLOSINGS: [&str; 12] = ["ck", "d", "g", "ll", "m", "nd", "nk", "p", "rt", "sh", "t", "v"];
const ENDINGS: [&str; 8] = ["", "", "", "s", "ing", "ed", "er", "ly"];

/// Puts one to three made-up words between those of `text`, but not at its start nor into a
/// mention: people use words that no generated text has, and mean the same.
pub(in crate::synth) fn with_strange_words(text: &Text, rng: &mut ChaCha8Rng) -> Text {
    let mut strange = text.clone();
    for _ in 0..rng.random_range(1..=3) {
        let named = |at: usize| strange.mentions.iter().any(|m| m.start < at && at < m.end);
        let places: Vec<usize> =
            strange.words.match_indices(' ').map(|(blank, _)| blank + 1).filter(|&at| !named(at)).collect();
        let Some(&at) = places.choose(rng) else { break };
        let word = format!("{} ", made_up(rng));
        strange.words.insert_str(at, &word);
        shift(&mut strange, at - 1, |place| place + word.len());
    }
    strange
}

/// One or two syllables and an ending.
fn made_up(rng: &mut ChaCha8Rng) -> String {
    let mut word = String::new();
    for _ in 0..rng.random_range(1..=2) {
        for parts in [&BEGINNINGS[..], &SOUNDS, &CLOSINGS] {
            word.extend(parts.choose(rng).copied());
        }
    }
    word.extend(ENDINGS.choose(rng).copied());
    word
}

/// Whether the letters `at` and `at + 1` are lower case with such letters on both sides.
fn in_word(bytes: &[u8], at: usize) -> bool {
    (at - 1..at + 3).all(|i| bytes.get(i).is_some_and(u8::is_ascii_lowercase))
}

fn swap(text: &mut Text, at: usize) {
    let bytes = text.words.as_bytes();
    let (first, second) = (bytes[at] as char, bytes[at + 1] as char);
    text.words.replace_range(at..at + 2, &format!("{second}{first}"));
}

/// Moves the ends of mentions that lie behind byte `at`.
fn shift(text: &mut Text, at: usize, moved: impl Fn(usize) -> usize) {
    for end in text.mentions.iter_mut().flat_map(|mention| [&mut mention.start, &mut mention.end]) {
        if *end > at {
            *end = moved(*end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;

    use super::*;
    use crate::scene::ObjectId;
    use crate::synth::phrasing::Referent;

    fn text() -> Text {
        let sofa = Referent {
            object: 0,
            id: ObjectId(4),
            adjective: "grey".to_owned(),
            noun: "sofa".to_owned(),
            beside: None,
            matches: vec![0],
        };
        Text::new("I am").pattern("standing behind {}", &sofa)
    }

    #[test]
    fn typos_change_letters_but_no_name() {
        let (text, mut rng) = (text(), ChaCha8Rng::seed_from_u64(3));
        for _ in 0..20 {
            let typo = mistyped(&text, &mut rng);
            assert_ne!(typo.words, text.words);
            assert_eq!(typo.words.len(), text.words.len());
            assert!(typo.words.ends_with(" sofa"));
        }
    }

    #[test]
    fn slips_swap_drop_and_double_letters_of_any_word() {
        let (text, mut rng) = (text(), ChaCha8Rng::seed_from_u64(3));
        let (mut nouns, mut lengths) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..400 {
            let slip = slipped(&text, &mut rng);
            assert_ne!(slip.words, text.words);
            let [mention] = slip.mentions.as_slice() else { panic!("{:?}", slip.mentions) };
            assert_eq!(mention.end, slip.words.len(), "{}", slip.words);
            let noun = &slip.words[mention.start..mention.end];
            assert!(slip.words[..mention.start].ends_with(' '), "{}", slip.words);
            nouns.insert(noun.to_owned());
            lengths.insert(slip.words.len() as i64 - text.words.len() as i64);
        }
        assert_eq!(lengths, BTreeSet::from([-1, 0, 1]));
        assert_eq!(nouns, BTreeSet::from(["sofa", "sfoa", "sfa", "soofa"].map(str::to_owned)));
    }

    #[test]
    fn strange_words_stand_between_the_others_and_names_stay_whole() {
        let sofa = text();
        let text = sofa.say("with the bed at the back.");
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut adjectives = 0;
        for _ in 0..100 {
            let strange = with_strange_words(&text, &mut rng);
            let [mention] = strange.mentions.as_slice() else { panic!("{:?}", strange.mentions) };
            assert_eq!(&strange.words[mention.start..mention.end], "sofa", "{}", strange.words);
            let known: BTreeSet<&str> = text.words.split(' ').collect();
            let (kept, new): (Vec<&str>, Vec<&str>) =
                strange.words.split(' ').partition(|word| known.contains(word));
            assert_eq!(kept.join(" "), text.words);
            assert!((1..=3).contains(&new.len()) && new.iter().all(|word| word.len() > 2), "{new:?}");
            adjectives += usize::from(!strange.words.contains("grey sofa"));
        }
        assert!(adjectives > 5);
        let word = Text::new("Stop.");
        assert_eq!(with_strange_words(&word, &mut rng), word);
    }

    #[test]
    fn a_text_without_longer_words_has_no_slip() {
        let short = Text::new("I sit on it.");
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        assert_eq!(slipped(&short, &mut rng), short);
        assert_eq!(mistyped(&short, &mut rng), short);
    }
}
