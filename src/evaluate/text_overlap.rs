//! Word overlap between answers and references: BLEU, ROUGE-L, CIDEr-D, with the
//! numerics of pycocoevalcap 1.2 ("closest" reference length, beta 1.2, sigma 6,
//! four n-gram orders). Words are split at white space, without a PTB tokeniser:
//! scores differ by about a point from tables that use one.

use std::collections::{BTreeMap, BTreeSet};

/// Longest n-grams compared.
const ORDERS: usize = 4;

/// A prediction with its references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPair {
    /// What was answered.
    pub prediction: String,
    /// What would have been right; at least one.
    pub references: Vec<String>,
}

/// A score of the whole set and of every pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores<T> {
    /// Of the set.
    pub corpus: T,
    /// Per pair, in order.
    pub items: Vec<T>,
}

type Ngrams<'a> = BTreeMap<Vec<&'a str>, f64>;

fn ngrams(text: &str) -> Ngrams<'_> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut counts = Ngrams::new();
    for order in 1..=ORDERS {
        for gram in words.windows(order) {
            *counts.entry(gram.to_vec()).or_default() += 1.0;
        }
    }
    counts
}

/// Matches and lengths that BLEU adds up.
#[derive(Debug, Clone, Copy, Default)]
struct Overlap {
    guessed: [f64; ORDERS],
    correct: [f64; ORDERS],
    length: f64,
    reference_length: f64,
}

impl Overlap {
    fn of(pair: &TextPair) -> Self {
        let length = pair.prediction.split_whitespace().count();
        let lengths = pair.references.iter().map(|r| r.split_whitespace().count());
        let closest = lengths.min_by_key(|l| (l.abs_diff(length), *l)).unwrap_or(0);
        let mut overlap = Self { length: length as f64, reference_length: closest as f64, ..Self::default() };
        for order in 0..ORDERS {
            overlap.guessed[order] = length.saturating_sub(order) as f64;
        }
        let mut most = Ngrams::new();
        for reference in &pair.references {
            for (gram, count) in ngrams(reference) {
                let entry = most.entry(gram).or_default();
                *entry = entry.max(count);
            }
        }
        for (gram, count) in ngrams(&pair.prediction) {
            overlap.correct[gram.len() - 1] += count.min(most.get(&gram).copied().unwrap_or(0.0));
        }
        overlap
    }

    fn add(&mut self, other: &Self) {
        for order in 0..ORDERS {
            self.guessed[order] += other.guessed[order];
            self.correct[order] += other.correct[order];
        }
        self.length += other.length;
        self.reference_length += other.reference_length;
    }

    /// BLEU-1 to BLEU-4, 0 to 1.
    fn bleu(&self) -> [f64; ORDERS] {
        const SMALL: f64 = 1e-9;
        const TINY: f64 = 1e-15;
        let ratio = (self.length + TINY) / (self.reference_length + SMALL);
        let brevity = if ratio < 1.0 { (1.0 - 1.0 / ratio).exp() } else { 1.0 };
        let mut product = 1.0;
        std::array::from_fn(|order| {
            product *= (self.correct[order] + TINY) / (self.guessed[order] + SMALL);
            product.powf(1.0 / (order + 1) as f64) * brevity
        })
    }
}

/// BLEU-1 to BLEU-4, 0 to 1; the corpus score pools counts over all pairs.
pub fn bleu(pairs: &[TextPair]) -> Scores<[f64; ORDERS]> {
    let mut total = Overlap::default();
    let items = pairs
        .iter()
        .map(|pair| {
            let overlap = Overlap::of(pair);
            total.add(&overlap);
            overlap.bleu()
        })
        .collect();
    Scores { corpus: total.bleu(), items }
}

/// ROUGE-L, 0 to 1; the corpus score is the mean.
pub fn rouge_l(pairs: &[TextPair]) -> Scores<f64> {
    const BETA_SQUARED: f64 = 1.2 * 1.2;
    let score = |pair: &TextPair| {
        let words: Vec<&str> = pair.prediction.split(' ').collect();
        let (mut precision, mut recall) = (0.0f64, 0.0f64);
        for reference in &pair.references {
            let reference: Vec<&str> = reference.split(' ').collect();
            let common = common_subsequence(&reference, &words) as f64;
            precision = precision.max(common / words.len() as f64);
            recall = recall.max(common / reference.len() as f64);
        }
        if precision == 0.0 || recall == 0.0 {
            return 0.0;
        }
        (1.0 + BETA_SQUARED) * precision * recall / (recall + BETA_SQUARED * precision)
    };
    let items: Vec<f64> = pairs.iter().map(score).collect();
    Scores { corpus: mean(&items), items }
}

/// Length of the longest common subsequence.
fn common_subsequence(a: &[&str], b: &[&str]) -> usize {
    let mut row = vec![0usize; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if word == other { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// Term-frequency vectors of one text, one per n-gram order.
struct Weighted<'a> {
    grams: [BTreeMap<Vec<&'a str>, f64>; ORDERS],
    norms: [f64; ORDERS],
    /// Number of bigrams: what the reference implementation calls length.
    length: f64,
}

impl<'a> Weighted<'a> {
    fn new(text: &'a str, frequencies: &BTreeMap<Vec<&str>, f64>, log_documents: f64) -> Self {
        let mut weighted =
            Self { grams: std::array::from_fn(|_| BTreeMap::new()), norms: [0.0; ORDERS], length: 0.0 };
        for (gram, count) in ngrams(text) {
            let order = gram.len() - 1;
            let frequency = frequencies.get(&gram).copied().unwrap_or(0.0);
            let weight = count * (log_documents - frequency.max(1.0).ln());
            weighted.norms[order] += weight * weight;
            weighted.length += if order == 1 { count } else { 0.0 };
            weighted.grams[order].insert(gram, weight);
        }
        weighted.norms = weighted.norms.map(f64::sqrt);
        weighted
    }

    /// Mean over the orders of the clipped cosine with a reference.
    fn similarity(&self, reference: &Self) -> f64 {
        const SIGMA: f64 = 6.0;
        let delta = self.length - reference.length;
        let penalty = (-(delta * delta) / (2.0 * SIGMA * SIGMA)).exp();
        let total: f64 = (0..ORDERS)
            .map(|order| {
                let dot: f64 = self.grams[order]
                    .iter()
                    .map(|(gram, weight)| {
                        let other = reference.grams[order].get(gram).copied().unwrap_or(0.0);
                        weight.min(other) * other
                    })
                    .sum();
                let norms = self.norms[order] * reference.norms[order];
                penalty * if norms == 0.0 { dot } else { dot / norms }
            })
            .sum();
        total / ORDERS as f64
    }
}

/// CIDEr-D, 0 to 10; n-gram frequencies come from the references of this set.
pub fn cider_d(pairs: &[TextPair]) -> Scores<f64> {
    let mut frequencies: BTreeMap<Vec<&str>, f64> = BTreeMap::new();
    for pair in pairs {
        let distinct: BTreeSet<Vec<&str>> =
            pair.references.iter().flat_map(|reference| ngrams(reference).into_keys()).collect();
        for gram in distinct {
            *frequencies.entry(gram).or_default() += 1.0;
        }
    }
    let log_documents = (pairs.len() as f64).ln();
    let items: Vec<f64> = pairs
        .iter()
        .map(|pair| {
            let prediction = Weighted::new(&pair.prediction, &frequencies, log_documents);
            let total: f64 = pair
                .references
                .iter()
                .map(|reference| {
                    prediction.similarity(&Weighted::new(reference, &frequencies, log_documents))
                })
                .sum();
            10.0 * total / pair.references.len().max(1) as f64
        })
        .collect();
    Scores { corpus: mean(&items), items }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::answers::clean_answer;
    use crate::evaluate::golden::{self, numbers, text, texts};
    use serde_json::Value;

    const TOLERANCE: f64 = 1e-9;

    fn agrees(pairs: &[TextPair], expected: &Value) {
        let close = |a: f64, b: f64| assert!((a - b).abs() < TOLERANCE, "{a} {b}");
        let bleu = bleu(pairs);
        for (a, b) in bleu.corpus.iter().zip(numbers(&expected["bleu_1_to_4"])) {
            close(*a, b);
        }
        close(rouge_l(pairs).corpus, expected["rouge_l"].as_f64().unwrap());
        close(cider_d(pairs).corpus, expected["cider_d"].as_f64().unwrap());
        let items = &expected["per_item"];
        for (i, item) in items["bleu_1_to_4"].as_array().unwrap().iter().enumerate() {
            for (a, b) in bleu.items[i].iter().zip(numbers(item)) {
                close(*a, b);
            }
        }
        for (a, b) in rouge_l(pairs).items.into_iter().zip(numbers(&items["rouge_l"])) {
            close(a, b);
        }
        for (a, b) in cider_d(pairs).items.into_iter().zip(numbers(&items["cider_d"])) {
            close(a, b);
        }
    }

    fn raw(pair: &Value) -> TextPair {
        TextPair {
            prediction: text(&pair["pred"]).trim_end_matches('.').to_owned(),
            references: texts(&pair["refs"]),
        }
    }

    #[test]
    fn overlap_of_raw_texts_agrees_with_the_reference() {
        let golden = golden::metrics();
        let pairs: Vec<TextPair> = golden["pairs"].as_array().unwrap().iter().map(raw).collect();
        agrees(&pairs, &golden["ngram_raw"]);
        let sentences: Vec<TextPair> = golden["ngram_sentences_only"]["indices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| pairs[i.as_u64().unwrap() as usize].clone())
            .collect();
        agrees(&sentences, &golden["ngram_sentences_only"]);
    }

    #[test]
    fn overlap_of_cleaned_texts_agrees_with_the_reference() {
        let golden = golden::metrics();
        let cleaned = |pair: &Value| TextPair {
            prediction: clean_answer(text(&pair["pred"])),
            references: texts(&pair["refs"]).iter().map(|r| clean_answer(r)).collect(),
        };
        let pairs: Vec<TextPair> = golden["pairs"].as_array().unwrap().iter().map(cleaned).collect();
        agrees(&pairs, &golden["ngram_cleaned"]);
    }

    #[test]
    fn a_single_pair_has_no_informative_words() {
        let golden = golden::metrics();
        let single = &golden["ngram_single_item"];
        let pair =
            TextPair { prediction: text(&single["pred"]).to_owned(), references: texts(&single["refs"]) };
        agrees(&[pair], single);
    }
}
