//! Texts with a slip of the finger, whose mentions still span the nouns.

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
    fn a_text_without_longer_words_has_no_slip() {
        let short = Text::new("I sit on it.");
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        assert_eq!(slipped(&short, &mut rng), short);
        assert_eq!(mistyped(&short, &mut rng), short);
    }
}
