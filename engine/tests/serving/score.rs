//! Likelihood of text that stands there.

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::infiller::{InfillError, Infiller, ScoreRequest};

use crate::support::{random_engine, tokenizer};

fn request(left: &str, text: &str, right: &str) -> ScoreRequest {
    ScoreRequest {
        document_key: "score.rs".to_owned(),
        left: left.into(),
        text: text.into(),
        right: right.into(),
        alternatives: 3,
    }
}

#[test]
fn tokens_cover_the_text_and_alternatives_are_the_likeliest() {
    let mut engine = random_engine(256);
    let text = "let café = area(w, h) + 1;\n    let b = …;";
    let score = engine.score(&request("fn f() {\n    ", text, "\n}\n"), &CancelToken::new());
    let tokens = score.unwrap().tokens;
    assert_eq!(tokens.len(), tokenizer().encode(text).unwrap().len());
    let mut end = 0;
    for token in &tokens {
        assert_eq!(token.bytes.start, end);
        assert!(text.get(token.bytes.clone()).is_some());
        end = token.bytes.end;
        assert!(token.log_probability <= 0.0 && token.log_probability.is_finite());
        assert_eq!(token.alternatives.len(), 3);
        let best: Vec<f64> = token.alternatives.iter().map(|likely| likely.probability).collect();
        assert!(best.is_sorted_by(|a, b| a >= b) && best[0] < 1.0);
        assert!(token.log_probability.exp() <= best[0] + 1e-9);
    }
    assert_eq!(end, text.len());
}

#[test]
fn a_token_depends_on_what_stands_left_of_it_and_right_of_the_text_alone() {
    let score = |text: &str, right: &str| {
        let tokens =
            random_engine(256).score(&request("fn f() {\n", text, right), &CancelToken::new());
        tokens.unwrap().tokens.iter().map(|token| token.log_probability).collect::<Vec<_>>()
    };
    let (short, long) = (score("a = b ;", "\n}"), score("a = b ; c = d ;", "\n}"));
    for (short, long) in short.iter().zip(&long) {
        assert!((short - long).abs() < 1e-4, "{short} {long}");
    }
    assert_ne!(short, score("a = b ;", "\n// another text"));
}

#[test]
fn a_text_longer_than_the_context_is_scored_in_parts() {
    let text = "let a = 1;\n".repeat(60);
    let mut engine = random_engine(256);
    let tokens = engine.score(&request("", &text, ""), &CancelToken::new()).unwrap().tokens;
    assert!(tokens.len() > 256);
    assert_eq!(tokens.last().unwrap().bytes.end, text.len());
    let cancel = CancelToken::new();
    cancel.cancel();
    let cancelled = engine.score(&request("", &text, ""), &cancel);
    assert!(matches!(cancelled, Err(InfillError::Cancelled)));
    assert!(engine.score(&request("a", "", "b"), &CancelToken::new()).unwrap().tokens.is_empty());
}
