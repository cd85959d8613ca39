//! The decode loop on hand-written logits.

use diffcoder_engine::decode::canvas::{Canvas, Cell};
use diffcoder_engine::decode::sample::{Candidates, Sampler};
use diffcoder_engine::decode::stats::ForwardCounts;
use diffcoder_engine::decode::stop::StopRule;
use diffcoder_engine::decode::{
    CommitMode, DecodeRule, Decoder, End, Forward, Interrupt, Outcome, PREFILL_ROWS, Unwatched,
    Watch,
};
use diffcoder_engine::infiller::{DecodeOrder, Unmasking};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::support::{Scripted, TokenLog, sure};

const MASK: u32 = 5;
const EOS: u32 = 2;
const ONE_A_STEP: Unmasking = Unmasking::Static { steps_per_block: 4 };

fn rule(unmasking: Unmasking, commit: CommitMode) -> DecodeRule {
    DecodeRule {
        block_length: 4,
        unmasking,
        order: DecodeOrder::SurestFirst,
        stop: StopRule::Decided { eos: EOS },
        commit,
        copy: None,
        speculate: None,
    }
}

fn sampler() -> Sampler {
    Sampler {
        candidates: Candidates::Text { mask: MASK, vocab_size: 16 },
        ..Sampler::greedy(ChaCha8Rng::seed_from_u64(3))
    }
}

fn run(
    model: &Scripted<impl Fn(usize, usize) -> Vec<f32>>,
    canvas: &mut Canvas,
    rule: DecodeRule,
    watch: &mut dyn Watch,
) -> (Outcome, TokenLog) {
    let mut cache = model.new_cache();
    let sampler = sampler();
    let outcome =
        Decoder { model, rule, sampler: &sampler }.run(canvas, &mut cache, watch).unwrap();
    (outcome, cache)
}

/// Stops at the n-th question and keeps what it was shown.
struct Stopper {
    at: usize,
    how: Interrupt,
    asked: usize,
    shown: Vec<(usize, ForwardCounts)>,
}

impl Stopper {
    fn new(at: usize, how: Interrupt) -> Self {
        Self { at, how, asked: 0, shown: Vec::new() }
    }
}

impl Watch for Stopper {
    fn interrupt(&mut self) -> Option<Interrupt> {
        self.asked += 1;
        (self.asked > self.at).then_some(self.how)
    }

    fn on_step(&mut self, canvas: &Canvas, forwards: ForwardCounts) {
        let masks = canvas.cells().iter().filter(|&&cell| cell == Cell::Masked).count();
        self.shown.push((masks, forwards));
    }
}

#[test]
fn the_prompts_tail_shares_its_block_with_the_first_tokens() {
    let model = Scripted::new(|position, _| sure(8 + (position % 4) as u32, 0.5));
    let mut canvas = Canvas::masks(&[1; 6], 5, MASK);
    let (outcome, cache) =
        run(&model, &mut canvas, rule(ONE_A_STEP, CommitMode::Separate), &mut Unwatched);
    assert_eq!(canvas.generated(), [10, 11, 8, 9, 10]);
    assert_eq!(outcome.end, End::CanvasFull);
    // Prefill of one block; 2 masks and their commit; 3 masks of the cut last block and its commit.
    let calls = model.calls.borrow();
    let rows: Vec<usize> = calls.iter().map(|call| call.0).collect();
    assert_eq!(rows, [4, 4, 4, 4, 3, 3, 3, 3]);
    // Logits are asked for from the first to the last mask only.
    assert_eq!(calls[1].2, 2);
    assert_eq!(calls[2].2, 1);
    assert_eq!(outcome.forwards, ForwardCounts { prefill: 1, denoise: 5, commit: 2, ahead: 0 });
    assert_eq!(cache.0, canvas.tokens());
}

#[test]
fn fused_rows_of_the_last_block_ride_in_the_next_ones_first_step() {
    let model = Scripted::new(|_, _| sure(9, 0.99));
    let mut canvas = Canvas::masks(&[1; 6], 10, MASK);
    let threshold = rule(Unmasking::Threshold(0.9), CommitMode::Fused);
    let (outcome, cache) = run(&model, &mut canvas, threshold, &mut Unwatched);
    assert_eq!(*model.calls.borrow(), [(8, 4, 2, 0), (8, 4, 4, 0), (8, 4, 4, 0)]);
    assert_eq!(outcome.forwards, ForwardCounts { denoise: 3, ..ForwardCounts::default() });
    assert_eq!(cache.0, canvas.tokens()[..12]);
    assert_eq!(outcome.events.len(), 10);
}

#[test]
fn a_threshold_takes_what_is_sure_and_else_the_best() {
    // Two of four are sure at once; the others never are.
    let model = Scripted::new(|position, _| match position {
        0 | 2 => sure(8, 0.96),
        1 => sure(9, 0.3),
        _ => sure(10, 0.4),
    });
    let mut canvas = Canvas::masks(&[], 4, MASK);
    let rule = rule(Unmasking::Threshold(0.95), CommitMode::Fused);
    let (outcome, _) = run(&model, &mut canvas, rule, &mut Unwatched);
    let order: Vec<_> = outcome.events.iter().map(|event| (event.call, event.position)).collect();
    assert_eq!(order, [(0, 0), (0, 2), (1, 3), (2, 1)]);
    assert!((outcome.events[2].confidence - 0.4).abs() < 1e-6);
}

#[test]
fn an_end_token_waits_until_everything_left_of_it_is_decided() {
    // The end token is surest and comes last; what is right of it stays a mask.
    let model = Scripted::new(|position, _| match position {
        6 => sure(EOS, 0.9),
        5 => sure(8, 0.8),
        4 => sure(9, 0.7),
        _ => sure(10, 0.2),
    });
    let mut canvas = Canvas::masks(&[1; 4], 12, MASK);
    let (outcome, _) =
        run(&model, &mut canvas, rule(ONE_A_STEP, CommitMode::Fused), &mut Unwatched);
    assert_eq!(outcome.end, End::EndToken(2));
    assert_eq!(canvas.generated()[..4], [9, 8, EOS, MASK]);
    let order: Vec<_> = outcome.events.iter().map(|event| event.position).collect();
    assert_eq!(order, [5, 4, 6]);
    assert_eq!(outcome.forwards.denoise, 3);
}

#[test]
fn a_fill_is_never_empty() {
    // The model would close every place at once; the second best token is as unlikely everywhere.
    let model = Scripted::new(|_, _| sure(EOS, 0.9));
    let mut canvas = Canvas::masks(&[1; 5], 7, MASK);
    let threshold = rule(Unmasking::Threshold(0.5), CommitMode::Fused);
    let (outcome, _) = run(&model, &mut canvas, threshold, &mut Unwatched);
    assert_eq!(outcome.end, End::EndToken(1));
    assert_eq!(canvas.generated()[..3], [0, EOS, EOS]);
}

#[test]
fn a_given_block_costs_its_commit_alone_and_its_end_token_counts() {
    let model = Scripted::new(|_, _| sure(9, 0.99));
    let mut canvas = Canvas::with_given(&[1; 4], &[7, 7, 7, 7, MASK, 6, MASK, MASK], MASK);
    let threshold = rule(Unmasking::Threshold(0.9), CommitMode::Separate);
    let (outcome, _) = run(&model, &mut canvas, threshold, &mut Unwatched);
    assert_eq!(canvas.generated(), [7, 7, 7, 7, 9, 6, 9, 9]);
    assert_eq!(outcome.forwards, ForwardCounts { prefill: 1, denoise: 1, commit: 2, ahead: 0 });
    let mut canvas = Canvas::with_given(&[1; 4], &[7, EOS, 7, 7, MASK, MASK], MASK);
    let (outcome, _) = run(&model, &mut canvas, threshold, &mut Unwatched);
    assert_eq!(outcome.end, End::EndToken(1));
}

#[test]
fn masks_are_never_sampled_unless_asked_to() {
    let model = Scripted::new(|_, _| sure(MASK, 0.9));
    let mut canvas = Canvas::masks(&[], 4, MASK);
    run(&model, &mut canvas, rule(ONE_A_STEP, CommitMode::Fused), &mut Unwatched);
    assert!(canvas.generated().iter().all(|&token| token != MASK));
    let greedy = Sampler::greedy(ChaCha8Rng::seed_from_u64(0));
    let mut canvas = Canvas::masks(&[], 4, MASK);
    let rule = rule(ONE_A_STEP, CommitMode::Fused);
    let decoder = Decoder { model: &model, rule, sampler: &greedy };
    decoder.run(&mut canvas, &mut model.new_cache(), &mut Unwatched).unwrap();
    assert_eq!(canvas.generated(), [MASK; 4]);
}

#[test]
fn equal_seeds_give_equal_fills_fused_or_not() {
    let model = Scripted::new(|_, _| vec![0.0; 16]);
    let fill = |seed: u64, commit: CommitMode| {
        let sampler =
            Sampler { temperature: 1.0, rng: ChaCha8Rng::seed_from_u64(seed), ..sampler() };
        let mut canvas = Canvas::masks(&[1; 3], 21, MASK);
        let rule =
            DecodeRule { stop: StopRule::FullBlock { eos: None }, ..rule(ONE_A_STEP, commit) };
        let decoder = Decoder { model: &model, rule, sampler: &sampler };
        decoder.run(&mut canvas, &mut model.new_cache(), &mut Unwatched).unwrap();
        canvas.generated().to_vec()
    };
    assert_eq!(fill(1, CommitMode::Fused), fill(1, CommitMode::Separate));
    assert_ne!(fill(1, CommitMode::Fused), fill(2, CommitMode::Fused));
}

#[test]
fn no_forward_follows_a_cancel() {
    let prompt = vec![1; 3 * PREFILL_ROWS + 2];
    for commit in [CommitMode::Separate, CommitMode::Fused] {
        let model = Scripted::new(|_, _| sure(9, 0.5));
        let (whole, _) = run(
            &model,
            &mut Canvas::masks(&prompt, 8, MASK),
            rule(ONE_A_STEP, commit),
            &mut Unwatched,
        );
        assert!(model.calls.borrow().iter().all(|call| call.0 <= PREFILL_ROWS + 4));
        for at in 0..whole.forwards.total() {
            let model = Scripted::new(|_, _| sure(9, 0.5));
            let mut watch = Stopper::new(at, Interrupt::Cancelled);
            let mut canvas = Canvas::masks(&prompt, 8, MASK);
            let (outcome, cache) = run(&model, &mut canvas, rule(ONE_A_STEP, commit), &mut watch);
            assert_eq!(outcome.end, End::Interrupted(Interrupt::Cancelled));
            assert_eq!(model.forwards(), at);
            assert_eq!(outcome.forwards.total(), at);
            assert_eq!(cache.0, canvas.tokens()[..cache.0.len()], "keys of decided tokens stay");
        }
    }
}

#[test]
fn every_denoising_step_is_shown() {
    let model = Scripted::new(|_, _| sure(9, 0.5));
    let mut watch = Stopper::new(usize::MAX, Interrupt::Deadline);
    let mut canvas = Canvas::masks(&[1; 300], 8, MASK);
    let (outcome, _) = run(&model, &mut canvas, rule(ONE_A_STEP, CommitMode::Fused), &mut watch);
    let masks: Vec<usize> = watch.shown.iter().map(|shown| shown.0).collect();
    assert_eq!(masks, [7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(watch.shown.len(), outcome.forwards.denoise);
    assert_eq!(watch.shown.last().unwrap().1, outcome.forwards);
}

#[test]
fn a_deadline_leaves_the_gapless_start() {
    // The second of four is surest, then the first: after two steps two stand without a gap.
    let model = Scripted::new(|position, _| sure(9, [0.6, 0.7, 0.2, 0.5][position % 4]));
    let gapless = |at| {
        let mut canvas = Canvas::masks(&[], 4, MASK);
        let mut watch = Stopper::new(at, Interrupt::Deadline);
        let (outcome, _) =
            run(&model, &mut canvas, rule(ONE_A_STEP, CommitMode::Fused), &mut watch);
        assert_eq!(outcome.end, End::Interrupted(Interrupt::Deadline));
        canvas.gapless()
    };
    assert_eq!([gapless(0), gapless(1), gapless(2), gapless(3)], [0, 0, 2, 2]);
}

#[test]
fn choices_that_agree_with_a_copy_need_less_confidence() {
    // "8 9 10 11 12 13 14 15" stood before; the hole comes behind "8 9 10".
    let prompt = [8, 9, 10, 11, 12, 13, 14, 15, 1, 8, 9, 10];
    let decode = |copy: Option<f64>, disagrees_at: usize, text_before: usize| {
        // Sure enough for the draft, not for the threshold.
        let model = Scripted::new(move |position, _| {
            let token = if position == disagrees_at { 3 } else { 11 + (position - 12) as u32 };
            sure(token, 0.6)
        });
        let mut canvas = Canvas::masks(&prompt, 4, MASK).with_text_before(text_before);
        let rule = DecodeRule { copy, ..rule(Unmasking::Threshold(0.95), CommitMode::Fused) };
        let (outcome, _) = run(&model, &mut canvas, rule, &mut Unwatched);
        (canvas.generated().to_vec(), outcome.forwards.denoise)
    };
    let nowhere = usize::MAX;
    let whole = vec![11, 12, 13, 14];
    assert_eq!(decode(None, nowhere, 12), (whole.clone(), 4));
    assert_eq!(decode(Some(0.5), nowhere, 12), (whole.clone(), 1));
    assert_eq!(decode(Some(0.7), nowhere, 12), (whole.clone(), 4));
    // Nothing is known of the text before.
    assert_eq!(decode(Some(0.5), nowhere, 0), (whole, 4));
    // From the first disagreement on each token needs a forward, and the model has its way.
    assert_eq!(decode(Some(0.5), 14, 12), (vec![11, 12, 3, 14], 3));
}

/// A rule that computes ahead what is at least this probable.
fn speculating(order: DecodeOrder, least: f64) -> DecodeRule {
    DecodeRule { order, speculate: Some(least), ..rule(ONE_A_STEP, CommitMode::Fused) }
}

#[test]
fn canvases_that_come_up_as_guessed_need_no_forward() {
    let model = Scripted::new(|position, _| sure(8 + (position % 4) as u32, 0.8));
    let mut canvas = Canvas::masks(&[1; 4], 12, MASK);
    let mut watch = Stopper::new(usize::MAX, Interrupt::Deadline);
    let rule = speculating(DecodeOrder::LeftToRight, 0.45);
    let (outcome, cache) = run(&model, &mut canvas, rule, &mut watch);
    assert_eq!(canvas.generated(), [8, 9, 10, 11].repeat(3));
    // The first step knows nothing yet. From then on three tokens are 0.8^3 sure, with which the next block is seen.
    assert_eq!(outcome.forwards, ForwardCounts { prefill: 0, denoise: 4, commit: 0, ahead: 8 });
    // Rows: each step's own and those of the canvases ahead; the last one has no next block.
    let calls = model.calls.borrow();
    let logits: Vec<usize> = calls.iter().map(|call| call.2).collect();
    assert_eq!(logits, [4, 3 + 2 + 1 + 4, 3 + 2 + 1 + 4, 3 + 2 + 1]);
    assert_eq!(cache.0, canvas.tokens()[..12]);
    // Every step is shown and may be interrupted, whether or not it took a forward.
    let masks: Vec<usize> = watch.shown.iter().map(|shown| shown.0).collect();
    assert_eq!(masks, (0..12).rev().collect::<Vec<_>>());
    assert_eq!(watch.asked, 12);
}

#[test]
fn a_wrong_guess_costs_a_forward_and_nothing_else() {
    // What comes second is another token once the first one stands.
    let changing = |position: usize, asked: usize| match position {
        5 if asked > 0 => sure(3, 0.9),
        _ => sure(9, 0.8),
    };
    for order in DecodeOrder::ALL {
        let mut canvas = Canvas::masks(&[1; 4], 4, MASK);
        let rule = speculating(order, 0.4);
        let (outcome, _) = run(&Scripted::new(changing), &mut canvas, rule, &mut Unwatched);
        assert_eq!(canvas.generated(), [9, 3, 9, 9], "{order:?}");
        // Two canvases for "9 9 9" that did not come up, then one for the last token that did.
        let forwards = ForwardCounts { denoise: 3, ahead: 3, ..ForwardCounts::default() };
        assert_eq!(outcome.forwards, forwards, "{order:?}");
    }
}

#[test]
fn nothing_is_computed_behind_an_end_or_below_the_least_probability() {
    let ends_at = |at: usize| {
        Scripted::new(move |position, _| sure(if position == at { EOS } else { 9 }, 0.8))
    };
    let ahead = |at: usize, least: f64| {
        let mut canvas = Canvas::masks(&[1; 4], 8, MASK);
        let rule = speculating(DecodeOrder::LeftToRight, least);
        let (outcome, _) = run(&ends_at(at), &mut canvas, rule, &mut Unwatched);
        (outcome.end, outcome.forwards.ahead)
    };
    // The end at the third place: one canvas has the second token, none has the third.
    assert_eq!(ahead(6, 0.5), (End::EndToken(2), 1));
    assert_eq!(ahead(6, 0.81), (End::EndToken(2), 0));
    assert_eq!(ahead(100, 0.79), (End::CanvasFull, 3));
}

#[test]
fn a_forward_that_computes_ahead_stays_small() {
    let model = Scripted::new(|_, _| vec![0.0; 16]);
    let mut canvas = Canvas::masks(&[1; 300], 32, MASK);
    let (outcome, _) =
        run(&model, &mut canvas, speculating(DecodeOrder::SurestFirst, 0.0), &mut Unwatched);
    assert!(outcome.forwards.ahead > 0);
    let rows: Vec<usize> = model.calls.borrow().iter().map(|call| call.3).collect();
    assert!(rows.iter().all(|&branches| branches <= 60), "{rows:?}");
    // Next to a part of the prompt there is no room.
    assert_eq!(rows[0], 0);
}

#[test]
fn copies_are_looked_ahead_of_into_the_blocks_that_follow() {
    // "8 9 10 11 12 13 14 15 1" stood before; the hole comes behind "8 9 10 11".
    let prompt = [8, 9, 10, 11, 12, 13, 14, 15, 1, 6, 6, 6, 8, 9, 10, 11];
    let said = [12, 13, 14, 15, 1, 6, 6, 6];
    let model = Scripted::new(move |position, _| sure(said[(position - 16) % 8], 0.4));
    let mut canvas = Canvas::masks(&prompt, 8, MASK).with_text_before(16);
    let rule = speculating(DecodeOrder::LeftToRight, 0.01);
    let (outcome, _) = run(&model, &mut canvas, rule, &mut Unwatched);
    assert_eq!(canvas.generated(), said);
    assert_eq!(outcome.forwards.denoise, 2);
}
