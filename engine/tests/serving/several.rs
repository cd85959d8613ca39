//! Several holes in one request, alternatives, line limits.

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::engine::Engine;
use diffcoder_engine::infiller::{
    FillMode, Finish, Frame, HoleFill, Infill, InfillError, InfillLimits, InfillRequest, Infiller,
    Segment,
};
use diffcoder_engine::prompt::joint::{Piece, joint_prompt};
use proptest::prelude::*;

use crate::support::{random_engine, random_engine_that, tokenizer};

const PIECES: [&str; 4] =
    ["fn area(w: u32) -> u32 {\n    let a = ", ";\n    let b = ", "(a);\n    ", "\n}\n"];

fn request(mode: FillMode) -> InfillRequest {
    let mut segments = Vec::new();
    for (index, piece) in PIECES.iter().enumerate() {
        if index > 0 {
            segments.push(Segment::Hole { draft: "".into() });
        }
        segments.push(Segment::Text((*piece).into()));
    }
    InfillRequest {
        limits: InfillLimits { max_tokens: 10, ..InfillLimits::default() },
        mode,
        ..InfillRequest::new("several.rs", segments)
    }
}

fn joint_engine() -> Engine {
    random_engine_that(&["infill", "multi-hole"], 1024)
}

fn run(engine: &mut Engine, request: &InfillRequest) -> (Infill, Vec<Frame>) {
    let mut frames = Vec::new();
    let result =
        engine.infill(request, &CancelToken::new(), &mut |frame| frames.push(frame.clone()));
    (result.unwrap(), frames)
}

fn texts(fills: &[HoleFill]) -> Vec<String> {
    fills.iter().map(|fill| fill.text.clone()).collect()
}

/// Holes in the order in which their first frames came.
fn order(frames: &[Frame]) -> Vec<usize> {
    let mut order: Vec<usize> = frames.iter().map(|frame| frame.hole).collect();
    order.dedup();
    order
}

#[test]
fn every_mode_and_model_fills_every_hole_and_frames_say_which() {
    for mut engine in [joint_engine(), random_engine(1024)] {
        for mode in [FillMode::Joint, FillMode::InTurn, FillMode::Independent] {
            let (infill, frames) = run(&mut engine, &request(mode));
            assert_eq!(infill.holes.len(), 3);
            assert!(infill.holes.iter().all(|fill| fill.confidence > 0.0));
            let mut holes = order(&frames);
            assert_eq!(holes.len(), 3, "a hole is finished before the next one begins");
            holes.sort_unstable();
            assert_eq!(holes, [0, 1, 2]);
            assert!(frames.is_sorted_by_key(|frame| frame.forwards));
            assert!(frames.last().unwrap().forwards <= infill.stats.forwards);
            // The same again from warm keys.
            assert_eq!(texts(&run(&mut engine, &request(mode)).0.holes), texts(&infill.holes));
        }
    }
}

#[test]
fn a_fill_that_is_to_be_avoided_comes_out_another_way() {
    for (mut engine, mode) in [
        (joint_engine(), FillMode::Joint),
        (random_engine(1024), FillMode::InTurn),
        (random_engine(1024), FillMode::Independent),
    ] {
        // One round gives what the model says by itself; the next one stands in its holes and is not wanted again.
        let mut request = request(mode);
        request.segments.truncate(3);
        let first = run(&mut engine, &request).0.holes.remove(0).text;
        assert!(!first.is_empty());
        request.segments[1] = Segment::Hole { draft: first.as_str().into() };
        assert_eq!(run(&mut engine, &request).0.holes[0].text, first, "{mode:?}");
        request.avoid_draft = true;
        let (other, frames) = run(&mut engine, &request);
        assert_ne!(other.holes[0].text, first, "{mode:?}");
        assert!(frames.is_sorted_by_key(|frame| frame.forwards));
        assert!(other.holes[0].confidence > 0.0);
        // What the model does not say is no reason to change what it says.
        request.segments[1] = Segment::Hole { draft: "something else".into() };
        assert_eq!(run(&mut engine, &request).0.holes[0].text, first, "{mode:?}");
    }
}

#[test]
fn an_instruction_is_refused_by_a_model_that_follows_none() {
    let request =
        InfillRequest { instruction: Some("make it fast".into()), ..request(FillMode::Joint) };
    let refused = random_engine(1024).infill(&request, &CancelToken::new(), &mut |_| ());
    let Err(InfillError::BadRequest(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("random") && reason.contains("instruct"), "{reason}");
}

#[test]
fn an_independent_fill_is_what_the_hole_would_get_alone() {
    let mut engine = random_engine(1024);
    let together = run(&mut engine, &request(FillMode::Independent)).0;
    for hole in 0..3 {
        let (left, right) = (PIECES[..=hole].concat(), PIECES[hole + 1..].concat());
        let segments = vec![
            Segment::Text(left.into()),
            Segment::Hole { draft: "".into() },
            Segment::Text(right.into()),
        ];
        let alone = InfillRequest { segments, ..request(FillMode::Joint) };
        let alone = run(&mut random_engine(1024), &alone).0;
        assert_eq!(alone.holes[0].text, together.holes[hole].text);
    }
}

#[test]
fn a_fill_becomes_context_of_the_holes_that_follow() {
    // The hole that is filled last gets what it would get alone in a document that holds the other fills.
    let (infill, frames) = run(&mut joint_engine(), &request(FillMode::InTurn));
    let last = *order(&frames).last().unwrap();
    let filled = |hole: usize| -> &str { if hole == last { "" } else { &infill.holes[hole].text } };
    let mut sides = [String::new(), String::new()];
    for (index, piece) in PIECES.iter().enumerate() {
        if index > 0 {
            sides[usize::from(index > last)].push_str(filled(index - 1));
        }
        sides[usize::from(index > last)].push_str(piece);
    }
    let [left, right] = sides;
    let segments = vec![
        Segment::Text(left.into()),
        Segment::Hole { draft: "".into() },
        Segment::Text(right.into()),
    ];
    let alone = InfillRequest { segments, ..request(FillMode::Joint) };
    assert_eq!(run(&mut random_engine(1024), &alone).0.holes[0].text, infill.holes[last].text);
}

#[test]
fn a_joint_prompt_holds_each_marker_once_and_opens_fills_on_a_block_edge() {
    let all = tokenizer();
    let special = all.special().clone();
    let pieces = [
        Piece::Text("use a;\nlet x = "),
        Piece::Hole(0),
        Piece::Text(";\nlet y = f("),
        Piece::Hole(1),
        Piece::Text(", "),
        Piece::Hole(2),
        Piece::Text(");\nlet z = "),
        Piece::Hole(3),
        Piece::Text(";\n"),
    ];
    let prompt = joint_prompt(&all, &pieces, 4, 400).unwrap().unwrap();
    assert!(prompt.tokens.len().is_multiple_of(4));
    assert_eq!(prompt.openers.len(), 4);
    assert_eq!(prompt.openers[2], special.holes.unwrap()[0], "the middle hole is the seam");
    let count = |id: u32| prompt.tokens.iter().filter(|token| **token == id).count();
    for (hole, opener) in prompt.openers.iter().enumerate() {
        assert_eq!(count(*opener), usize::from(hole != 2), "the seam has no marker of its own");
    }
    assert_eq!(prompt.tokens.last(), Some(&special.fim.unwrap().middle));
    // R is what stands right of the seam in its line.
    let rest = prompt.tokens.iter().position(|t| Some(*t) == special.fim_rest).unwrap();
    assert_eq!(all.decode(&prompt.tokens[rest + 1..rest + 3]).unwrap(), ");");
    // Far apart, or too many: no one prompt.
    let far = "let filler = 1;\n".repeat(400);
    let apart = [Piece::Hole(0), Piece::Text(&far), Piece::Hole(1)];
    assert_eq!(joint_prompt(&all, &apart, 4, 400).unwrap(), None);
    let many: Vec<Piece<'_>> = (0..9).map(Piece::Hole).collect();
    assert_eq!(joint_prompt(&all, &many, 4, 400).unwrap(), None);
}

#[test]
fn holes_too_far_apart_for_one_prompt_are_filled_in_turn() {
    let far = "let filler = 1;\n".repeat(400);
    let hole = || Segment::Hole { draft: "".into() };
    let segments =
        vec![Segment::Text("let a = ".into()), hole(), Segment::Text(far.into()), hole()];
    let request = InfillRequest { segments, ..request(FillMode::Joint) };
    assert_eq!(run(&mut joint_engine(), &request).0.holes.len(), 2);
}

#[test]
fn alternatives_differ_and_the_most_confident_come_first() {
    let mut engine = joint_engine();
    let one = run(&mut engine, &request(FillMode::Joint)).0;
    assert!(one.alternatives.is_empty());
    let request = InfillRequest { alternatives: 4, ..request(FillMode::Joint) };
    let (several, frames) = run(&mut engine, &request);
    assert_eq!(
        texts(&several.holes),
        texts(&one.holes),
        "the first result is the one that is given alone"
    );
    assert_eq!(several.alternatives.len(), 3);
    let mut all: Vec<Vec<String>> = several.alternatives.iter().map(|fills| texts(fills)).collect();
    all.push(texts(&several.holes));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
    let confidence = |fills: &Vec<HoleFill>| {
        fills.iter().map(|fill| f64::from(fill.confidence).ln()).sum::<f64>()
    };
    assert!(several.alternatives.is_sorted_by(|a, b| confidence(a) >= confidence(b)));
    assert_eq!(order(&frames).len(), 3, "frames show the first result only");
}

#[test]
fn a_line_limit_cuts_the_fill_and_saves_forwards() {
    let mut engine = random_engine(1024);
    let mut shortened = 0;
    for piece in 0..40 {
        let text = format!("fn f{piece}() {{\n    let value_{piece} = ");
        let segments = vec![Segment::Text(text.into()), Segment::Hole { draft: "".into() }];
        let mut request = InfillRequest {
            limits: InfillLimits { max_tokens: 48, ..InfillLimits::default() },
            ..InfillRequest::new("lines", segments)
        };
        // The most likely tokens of a random model are ever the same few.
        request.sampling.temperature = 3.0;
        request.sampling.seed = piece;
        let whole = run(&mut engine, &request).0;
        request.limits.max_lines = Some(1);
        let line = run(&mut engine, &request).0;
        let expected = whole.holes[0].text.split('\n').next().unwrap();
        assert_eq!(line.holes[0].text, expected.trim_end_matches('\r'));
        if whole.holes[0].text.contains('\n') {
            assert_eq!(line.holes[0].finish, Finish::LineLimit);
            assert!(line.stats.forwards <= whole.stats.forwards);
            shortened += usize::from(line.stats.forwards < whole.stats.forwards);
        } else {
            // A line end past the last token that counts was no limit.
            assert_eq!(line.holes[0].finish, whole.holes[0].finish);
        }
    }
    assert!(shortened > 0, "no fill of the random model had a second line");
}

#[test]
fn holes_that_follow_a_line_limit_see_what_it_kept() {
    let all = tokenizer();
    let (before, between) = ("fn area(w: u32) -> u32 {\n    let a = ", ";\n    let b = ");
    let pieces = [Piece::Text(before), Piece::Hole(0), Piece::Text(between), Piece::Hole(1)];
    let hole = || Segment::Hole { draft: "".into() };
    let segments =
        vec![Segment::Text(before.into()), hole(), Segment::Text(between.into()), hole()];
    let mut engine = joint_engine().without_healing();
    let mut cut = 0;
    for seed in 0..40 {
        let limits = InfillLimits { max_tokens: 48, max_lines: Some(1), ..InfillLimits::default() };
        let mut request = InfillRequest { limits, ..InfillRequest::new("lines", segments.clone()) };
        request.sampling.temperature = 3.0;
        request.sampling.seed = seed;
        let (infill, frames) = run(&mut engine, &request);
        let first = &infill.holes[order(&frames)[0]];
        if first.finish != Finish::LineLimit {
            continue;
        }
        // Room for two fills with their ends is taken from the context; the prompt ends on a block edge.
        let prompt = joint_prompt(&all, &pieces, 4, 1024 - 2 * 52).unwrap().unwrap().tokens.len();
        let closed = (1 + all.encode(&first.text).unwrap().len() + 1).next_multiple_of(4);
        assert_eq!(infill.stats.prompt_tokens, (prompt + 1) + (prompt + closed + 1));
        cut += 1;
    }
    assert!(cut > 0, "no first fill of the random model had a second line");
}

#[test]
fn a_cancel_between_holes_is_seen() {
    for mode in [FillMode::Joint, FillMode::Independent] {
        let (cancel, mut last) = (CancelToken::new(), None);
        let result = joint_engine().infill(&request(mode), &cancel, &mut |frame| {
            if last.is_some_and(|hole| hole != frame.hole) {
                cancel.cancel();
            }
            last = Some(frame.hole);
        });
        assert!(matches!(result, Err(InfillError::Cancelled)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever stands around the holes, there is one fill for each, and a request without a hole is refused.
    #[test]
    fn any_document_gets_one_fill_per_hole(
        texts in prop::collection::vec("[ -~\n\r\té…]{0,40}", 1..7),
        joint in any::<bool>(),
    ) {
        let mut segments = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                segments.push(Segment::Hole { draft: "old".into() });
            }
            segments.push(Segment::Text(text.as_str().into()));
        }
        let mode = if joint { FillMode::Joint } else { FillMode::Independent };
        let request = InfillRequest {
            limits: InfillLimits { max_tokens: 5, ..InfillLimits::default() },
            mode,
            ..InfillRequest::new("any", segments)
        };
        let result = joint_engine().infill(&request, &CancelToken::new(), &mut |_| ());
        if texts.len() == 1 {
            prop_assert!(matches!(result, Err(InfillError::BadRequest(_))));
        } else {
            prop_assert_eq!(result.unwrap().holes.len(), texts.len() - 1);
        }
    }
}
