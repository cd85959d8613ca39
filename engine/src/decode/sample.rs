//! Chooses the token of one mask from its logits, with all randomness passed in.

use std::borrow::Cow;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Which ids may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// Every row of the head, as the published implementations do.
    All,
    /// Ids of the tokenizer without the mask: a mask is no text, and rows past the tokenizer's end belong to no token.
    Text {
        /// Id of the mask.
        mask: u32,
        /// Number of ids of the tokenizer.
        vocab_size: usize,
    },
}

impl Candidates {
    fn allows(self, id: usize) -> bool {
        match self {
            Self::All => true,
            Self::Text { mask, vocab_size } => id < vocab_size && id != mask as usize,
        }
    }
}

/// A token and how sure the model is of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Its probability under the raw logits, whatever temperature, nucleus or candidates say; among [`Draw::only`] where
    /// that is given. 0 to 1.
    pub confidence: f64,
}

/// Place of a draw in the decode of one request; equal draws see equal noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw<'a> {
    /// Position on the canvas, prompt included.
    pub position: usize,
    /// Denoising step of the position's block, from 0.
    pub step: usize,
    /// Ids that may not be chosen here.
    pub banned: &'a [u32],
    /// The only ids that may be chosen here, ascending; `None` where all may.
    pub only: Option<&'a [u32]>,
}

/// How one token is chosen.
#[derive(Clone, Debug)]
pub struct Sampler {
    /// 0 takes the most likely token; above it, Gumbel noise of that strength is added to the logits.
    pub temperature: f64,
    /// Only the most likely tokens whose probabilities (at temperature 1) reach this sum may be drawn; 1 and above
    /// switch it off. Without a temperature it changes nothing.
    pub top_p: f64,
    /// The source of noise. It is never advanced: each draw has a stream of its own.
    pub rng: ChaCha8Rng,
    /// Ids that may be chosen.
    pub candidates: Candidates,
    /// An id, and what is added to its logit before anything else.
    pub bias: Option<(u32, f32)>,
}

impl Sampler {
    /// Takes the most likely token of every row of the head.
    pub fn greedy(rng: ChaCha8Rng) -> Self {
        Self { temperature: 0.0, top_p: 1.0, rng, candidates: Candidates::All, bias: None }
    }

    /// Chooses from one row of logits, (V,).
    pub fn choose(&self, logits: &[f32], draw: Draw<'_>) -> Choice {
        let logits = &*self.biased(logits);
        let token = if self.temperature > 0.0 {
            self.draw(logits, draw)
        } else {
            self.best(logits.iter().map(|&logit| f64::from(logit)), draw)
        };
        let confidence = match draw.only {
            None => confidence(logits, token),
            // What is known to stand here anyway says nothing for or against the model.
            Some(ids) => {
                let known: Vec<f32> = ids.iter().map(|&id| logits[id as usize]).collect();
                ids.binary_search(&(token as u32)).map_or(0.0, |at| confidence(&known, at))
            }
        };
        Choice { token: token as u32, confidence }
    }

    /// The `count` most likely tokens of one row of logits, (V,), most likely first.
    pub fn likeliest(&self, logits: &[f32], draw: Draw<'_>, count: usize) -> Vec<Choice> {
        let logits = self.biased(logits);
        let mut best: Vec<usize> = Vec::with_capacity(count + 1);
        for id in (0..logits.len()).filter(|&id| self.allows(id, draw)) {
            let place = best.partition_point(|&other| logits[other] >= logits[id]);
            if place < count {
                best.insert(place, id);
                best.truncate(count);
            }
        }
        let scale = Scale::of(&logits);
        let choice = |id: usize| Choice { token: id as u32, confidence: scale.share(logits[id]) };
        best.into_iter().map(choice).collect()
    }

    /// The logits with the bias.
    fn biased<'a>(&self, logits: &'a [f32]) -> Cow<'a, [f32]> {
        match self.bias {
            Some((id, bias)) if (id as usize) < logits.len() => {
                let mut biased = logits.to_vec();
                biased[id as usize] += bias;
                Cow::Owned(biased)
            }
            _ => Cow::Borrowed(logits),
        }
    }

    /// `argmax(l - T ln(-ln u))`, which draws from `softmax(l / T)`.
    fn draw(&self, logits: &[f32], draw: Draw<'_>) -> usize {
        let floor = self.nucleus_floor(logits, draw);
        let mut rng = self.rng.clone();
        rng.set_stream(((draw.position as u64) << 32) | draw.step as u64);
        rng.set_word_pos(0);
        let scores = logits.iter().map(|&logit| {
            // Every id consumes one number, so that neither nucleus nor candidates shift the noise of the others.
            let uniform: f64 = rng.random::<f64>().max(f64::MIN_POSITIVE);
            if logit < floor {
                f64::NEG_INFINITY
            } else {
                f64::from(logit) - self.temperature * (-uniform.ln()).ln()
            }
        });
        self.best(scores, draw)
    }

    /// The least logit inside the nucleus.
    fn nucleus_floor(&self, logits: &[f32], draw: Draw<'_>) -> f32 {
        if self.top_p >= 1.0 {
            return f32::NEG_INFINITY;
        }
        let mut allowed: Vec<f32> =
            (0..logits.len()).filter(|&id| self.allows(id, draw)).map(|id| logits[id]).collect();
        allowed.sort_by(|a, b| b.total_cmp(a));
        let Some(&top) = allowed.first() else { return f32::NEG_INFINITY };
        let weight = |logit: f32| f64::from(logit - top).exp();
        let enough = self.top_p * allowed.iter().map(|&logit| weight(logit)).sum::<f64>();
        let mut sum = 0.0;
        for &logit in &allowed {
            sum += weight(logit);
            if sum >= enough {
                return logit;
            }
        }
        f32::NEG_INFINITY
    }

    fn allows(&self, id: usize, draw: Draw<'_>) -> bool {
        let id_here = id as u32;
        self.candidates.allows(id)
            && !draw.banned.contains(&id_here)
            && draw.only.is_none_or(|only| only.binary_search(&id_here).is_ok())
    }

    /// The first allowed id with the largest score.
    fn best(&self, scores: impl Iterator<Item = f64>, draw: Draw<'_>) -> usize {
        let mut best: Option<(usize, f64)> = None;
        for (id, score) in scores.enumerate().filter(|&(id, _)| self.allows(id, draw)) {
            if best.is_none_or(|(_, top)| score > top) {
                best = Some((id, score));
            }
        }
        best.map_or(0, |(id, _)| id)
    }
}

/// Softmax in f64 at `token`; 0 where the logits are not numbers.
fn confidence(logits: &[f32], token: usize) -> f64 {
    Scale::of(logits).share(logits[token])
}

/// What turns a logit into a probability.
struct Scale {
    top: f64,
    sum: f64,
}

impl Scale {
    fn of(logits: &[f32]) -> Self {
        let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum = logits.iter().map(|&logit| (f64::from(logit) - top).exp()).sum();
        Self { top, sum }
    }

    /// Softmax in f64; 0 where the logits are not numbers.
    fn share(&self, logit: f32) -> f64 {
        let share = (f64::from(logit) - self.top).exp() / self.sum;
        if share.is_finite() { share } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const HERE: Draw<'_> = Draw { position: 7, step: 1, banned: &[], only: None };

    fn sampler(temperature: f64, top_p: f64) -> Sampler {
        let rng = ChaCha8Rng::seed_from_u64(11);
        Sampler { temperature, top_p, rng, candidates: Candidates::All, bias: None }
    }

    /// How often each of 4 ids is drawn at 4,000 places.
    fn counts(sampler: &Sampler, logits: &[f32]) -> [usize; 4] {
        let mut counts = [0; 4];
        for position in 0..4000 {
            counts[sampler.choose(logits, Draw { position, step: 0, banned: &[], only: None }).token
                as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_best_and_reports_its_softmax() {
        let choice = sampler(0.0, 1.0).choose(&[0.0, 1.0, 1.0, -1.0], HERE);
        assert_eq!(choice.token, 1);
        let e = std::f64::consts::E;
        assert!((choice.confidence - e / (1.0 + 2.0 * e + 1.0 / e)).abs() < 1e-12);
    }

    #[test]
    fn a_bias_raises_its_token_alone() {
        let mut biased = sampler(0.0, 1.0);
        biased.bias = Some((0, 1.5));
        let choice = biased.choose(&[0.0, 1.0, -1.0], HERE);
        assert_eq!(choice.token, 0);
        let e = |x: f64| x.exp();
        assert!((choice.confidence - e(1.5) / (e(1.5) + e(1.0) + e(-1.0))).abs() < 1e-6);
        assert_eq!(biased.choose(&[0.0, 2.0, -1.0], HERE).token, 1);
    }

    #[test]
    fn mask_and_rows_past_the_tokenizer_are_never_chosen() {
        let mut text = sampler(0.0, 1.0);
        text.candidates = Candidates::Text { mask: 1, vocab_size: 3 };
        let logits = [0.0, 9.0, 1.0, 8.0];
        let choice = text.choose(&logits, HERE);
        assert_eq!(choice.token, 2);
        assert!(choice.confidence < 1e-3, "raw logits count the suppressed rows too");
        assert_eq!(sampler(0.0, 1.0).choose(&logits, HERE).token, 1);
        text.temperature = 5.0;
        assert!((0..500).all(|position| {
            matches!(
                text.choose(&logits, Draw { position, step: 0, banned: &[], only: None }).token,
                0 | 2
            )
        }));
    }

    #[test]
    fn temperature_draws_from_the_tempered_softmax() {
        let logits = [0.0, (2.0f32).ln(), (4.0f32).ln(), f32::NEG_INFINITY];
        let drawn = counts(&sampler(1.0, 1.0), &logits);
        for (count, share) in drawn.iter().zip([1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0, 0.0]) {
            assert!((*count as f64 / 4000.0 - share).abs() < 0.03, "{drawn:?}");
        }
        // At temperature 1/2 the shares go with the squares: 1, 4, 16.
        let drawn = counts(&sampler(0.5, 1.0), &logits);
        assert!((drawn[2] as f64 / 4000.0 - 16.0 / 21.0).abs() < 0.03, "{drawn:?}");
    }

    #[test]
    fn a_nucleus_leaves_out_the_tail() {
        let logits = [0.0, (2.0f32).ln(), (4.0f32).ln(), -1.0];
        let drawn = counts(&sampler(1.0, 0.6), &logits);
        assert_eq!((drawn[0], drawn[3]), (0, 0));
        assert!(drawn[1] > 0 && drawn[2] > 0);
        assert_eq!(counts(&sampler(1.0, 0.3), &logits), [0, 0, 4000, 0]);
    }

    #[test]
    fn a_draw_depends_on_its_place_alone() {
        let logits: Vec<f32> = (0..64).map(|id| (id % 7) as f32 * 0.1).collect();
        let sampler = sampler(2.0, 1.0);
        let at = |position, step| {
            sampler.choose(&logits, Draw { position, step, banned: &[], only: None })
        };
        assert_eq!(at(3, 0), at(3, 0));
        assert!((0..20).any(|position| at(position, 0) != at(position, 1)));
        assert!((0..20).any(|position| at(position, 0) != at(position + 1, 0)));
    }
}
