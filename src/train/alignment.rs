//! Vision tokens that speak the language model's words.
//!
//! Not part of Loc3R-VLM, whose language model has seen pictures before. A decoder that
//! starts from nothing finds the sofa of a sentence only when the tokens on a sofa
//! resemble the word "sofa": the projector learns that the product of a token with the
//! embedding of a word is what it would be for the sum of the words it shows, each by
//! the root of its share. Whatever is orthogonal to the words stays free.
//!
//! Shapes: n tokens, W words, h width of the language model.

use candle_core::{D, Device, Tensor};

use super::TrainError;
use super::clip::{ClipView, NO_CLASS, category_names, color_names, tokens_over_cells};
use crate::model::tokenizer::TextTokenizer;

/// The words that tokens can show: categories (surfaces first), then colours.
#[derive(Debug, Clone)]
pub struct WordTable {
    /// Vocabulary entries that the words are made of, (P) u32.
    pieces: Tensor,
    /// Which pieces make a word, (W, P); rows of length 1.
    spelling: Tensor,
}

impl WordTable {
    /// Looks the words up as they stand within a sentence.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn new(tokenizer: &TextTokenizer, device: &Device) -> Result<Self, TrainError> {
        let words = words()
            .map(|word| tokenizer.encode(&format!(" {word}")))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TrainError::Data { reason: error.to_string() })?;
        let pieces = words.concat();
        let mut spelling = vec![0f32; words.len() * pieces.len()];
        let mut first = 0;
        for (k, word) in words.iter().enumerate() {
            spelling[k * pieces.len() + first..][..word.len()].fill(1.0 / (word.len() as f32).sqrt());
            first += word.len();
        }
        let shape = (words.len(), pieces.len());
        Ok(Self {
            spelling: Tensor::from_vec(spelling, shape, device)?,
            pieces: Tensor::new(pieces, device)?,
        })
    }

    /// Vectors of the words, (W, h).
    fn vectors(&self, embeddings: &Tensor) -> candle_core::Result<Tensor> {
        self.spelling.matmul(&embeddings.detach().index_select(&self.pieces, 0)?)
    }

    /// How far tokens (n, h) are from the words they show, `shares` (n, W): mean over
    /// tokens of Σ_w ((x - t) · e_w)² with t = Σ_w √share_w e_w. The `embeddings`
    /// (vocabulary, h) are taken as given.
    pub fn loss(&self, tokens: &Tensor, shares: &Tensor, embeddings: &Tensor) -> candle_core::Result<Tensor> {
        let words = self.vectors(embeddings)?;
        let target = shares.sqrt()?.matmul(&words)?;
        (tokens - target)?.matmul(&words.t()?)?.sqr()?.sum(D::Minus1)?.mean_all()
    }

    /// Among tokens that mostly show one object: (how many, how many whose most similar
    /// word for an object is that object's).
    pub fn named(
        &self,
        tokens: &Tensor,
        shares: &Tensor,
        embeddings: &Tensor,
    ) -> candle_core::Result<(usize, usize)> {
        let words = self.vectors(embeddings)?;
        let objects = category_names().len() - 1 - FIRST_OBJECT_WORD;
        let of_objects = |x: &Tensor| x.narrow(1, FIRST_OBJECT_WORD, objects);
        let likely = of_objects(&tokens.matmul(&words.t()?)?)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let shown = of_objects(shares)?;
        let (mut counted, mut right) = (0, 0);
        for (shown, likely) in shown.to_vec2::<f32>()?.iter().zip(likely) {
            if let Some(object) = shown.iter().position(|&share| share > 0.5) {
                counted += 1;
                right += usize::from(likely as usize == object);
            }
        }
        Ok((counted, right))
    }
}

/// Words of surfaces come before those of objects.
const FIRST_OBJECT_WORD: usize = 3;

/// Every class but "none", in order of the classes.
fn words() -> impl Iterator<Item = String> {
    category_names().into_iter().skip(1).chain(color_names().into_iter().skip(1))
}

/// Share of the cells under each token of the pooled grid that show each word,
/// token-major (n W).
pub fn word_shares(view: &ClipView, pooled_grid: usize) -> Vec<f32> {
    let (categories, colors) = (category_names().len() - 1, color_names().len() - 1);
    let width = categories + colors;
    let mut shares = vec![0.0; pooled_grid * pooled_grid * width];
    let (tokens, share) = tokens_over_cells(view.category.len(), pooled_grid);
    for ((&category, &color), token) in view.category.iter().zip(&view.color).zip(tokens) {
        let words = &mut shares[token * width..][..width];
        if category != NO_CLASS {
            words[usize::from(category) - 1] += share;
        }
        if color != NO_CLASS {
            words[categories + usize::from(color) - 1] += share;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use glam::Vec3;

    use super::*;
    use crate::model::odometry::planar::PlanarPose;
    use crate::train::clip::NO_OBJECT;

    fn table() -> WordTable {
        let sentence = words().collect::<Vec<_>>().join(" ");
        let text = format!("the {sentence} in the room");
        let tokenizer = TextTokenizer::train(std::iter::repeat_n(text, 8), 1024).unwrap();
        WordTable::new(&tokenizer, &Device::Cpu).unwrap()
    }

    fn embeddings() -> Tensor {
        let values: Vec<f32> = (0..1024 * 96).map(|i| 0.1 * (1.7 * (i as f32).powf(1.3)).sin()).collect();
        Tensor::from_vec(values, (1024, 96), &Device::Cpu).unwrap()
    }

    #[test]
    fn shares_count_the_cells_under_a_token() {
        let sofa = 4;
        let view = ClipView {
            rgb: Vec::new(),
            category: [2, sofa, 1, 1, sofa, sofa, 1, 1, 0, 0, 2, 2, 0, 0, 2, 2].to_vec(),
            color: [0, 3, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec(),
            object: vec![NO_OBJECT; 16],
            point: vec![Vec3::ZERO; 16],
            planar: PlanarPose::IDENTITY,
            view: [0.0; 5],
            token_points: Vec::new(),
        };
        let shares = word_shares(&view, 2);
        let width = words().count();
        let share = |token: usize, word: usize| shares[token * width + word];
        let colors = category_names().len() - 1;
        assert_eq!((share(0, 1), share(0, usize::from(sofa) - 1), share(0, colors + 2)), (0.25, 0.75, 0.75));
        assert_eq!((share(1, 0), share(3, 1)), (1.0, 1.0));
        assert!(shares[2 * width..3 * width].iter().all(|&share| share == 0.0));
    }

    #[test]
    fn a_token_that_is_its_word_has_no_loss_and_names_it() {
        let (table, embeddings) = (table(), embeddings());
        let mut shares = vec![0f32; 2 * words().count()];
        shares[7] = 1.0;
        shares[words().count() + 9] = 1.0;
        let shares = Tensor::from_vec(shares, (2, words().count()), &Device::Cpu).unwrap();
        let chosen = Tensor::new(&[7u32, 9], &Device::Cpu).unwrap();
        let tokens = table.vectors(&embeddings).unwrap().index_select(&chosen, 0).unwrap();
        let loss =
            |tokens: &Tensor| table.loss(tokens, &shares, &embeddings).unwrap().to_scalar::<f32>().unwrap();
        assert!(loss(&tokens) < 1e-9);
        assert!(loss(&(&tokens * 0.5).unwrap()) > 1e-3);
        assert_eq!(table.named(&tokens, &shares, &embeddings).unwrap(), (2, 2));
        let other = embeddings.narrow(0, 0, 2).unwrap();
        assert_eq!(table.named(&other, &shares, &embeddings).unwrap().0, 2);
    }
}
