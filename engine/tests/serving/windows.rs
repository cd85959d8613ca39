//! Prompt windows: within budget, next to the hole, and at rest while someone types.

use diffcoder_engine::prompt::budget::WindowState;
use diffcoder_engine::prompt::format::PromptFormat;
use diffcoder_engine::prompt::layout::{Layout, Prompt};
use diffcoder_engine::prompt::related::related_tokens;
use diffcoder_engine::related::Related;
use diffcoder_engine::tokenizer::Tokenizer;
use proptest::prelude::*;

use crate::support::{SOURCE, tokenizer};

/// A prompt taken apart at its markers.
struct Parts {
    suffix: Vec<u32>,
    prefix: Vec<u32>,
    rest: Vec<u32>,
}

fn parts(tokenizer: &Tokenizer, prompt: &Prompt) -> Parts {
    let fim = tokenizer.special().fim.unwrap();
    let at = |marker: u32| prompt.tokens.iter().position(|&token| token == marker);
    let (suffix, prefix) = (at(fim.suffix).unwrap(), at(fim.prefix).unwrap());
    let end = prompt.tokens.len() - 1;
    assert_eq!(prompt.tokens[end], fim.middle);
    let rest = at(tokenizer.special().fim_rest.unwrap()).unwrap_or(end);
    Parts {
        suffix: prompt.tokens[suffix + 1..prefix].to_vec(),
        prefix: prompt.tokens[prefix + 1..rest].to_vec(),
        rest: prompt.tokens[(rest + 1).min(end)..end].to_vec(),
    }
}

/// Text of tokens that may end inside a character.
fn text(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
    tokenizer.decode(tokens).unwrap().trim_end_matches('\u{FFFD}').to_owned()
}

fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        6 => (0..400usize).prop_map(|at| {
            let lines = SOURCE.lines().count();
            format!("{}\n", SOURCE.lines().nth(at % lines).unwrap_or_default())
        }),
        1 => "[a-zé… \\t(){}0-9]{0,60}(\n|\r\n)",
        1 => Just(format!("{}\n", "x9".repeat(200))),
        1 => Just(" ".repeat(90)),
    ];
    prop::collection::vec(line, 0..60).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_fit_touch_the_hole_and_rest_while_typing(
        left in lines(),
        right in lines(),
        prompt_tokens in 32..700usize,
        holes_layout in any::<bool>(),
        typed in "[a-z(){} .é]{12}",
    ) {
        let tokenizer = tokenizer();
        let format = if holes_layout { PromptFormat::Holes } else { PromptFormat::SeedFim };
        let layout = Layout { tokenizer: &tokenizer, format, prompt_tokens, related: &[] };
        let mut windows = WindowState::default();
        let (rest, below) = format.split_right(&right);
        let mut left = left;
        let mut before: Option<Parts> = None;
        let mut moves = 0;
        for key in typed.chars() {
            left.push(key);
            let prompt = layout.prompt(&left, &right, &mut windows).unwrap();
            prop_assert!(prompt.tokens.len() <= prompt_tokens);
            let now = parts(&tokenizer, &prompt);
            prop_assert_eq!(prompt.rest_tokens, now.rest.len());
            prop_assert!(left.ends_with(&text(&tokenizer, &now.prefix)), "P ends at the hole");
            prop_assert!(below.starts_with(&text(&tokenizer, &now.suffix)));
            prop_assert!(rest.starts_with(&text(&tokenizer, &now.rest)));
            prop_assert!(!now.prefix.is_empty());
            if let Some(before) = before {
                let same = before.prefix.iter().zip(&now.prefix).take_while(|(a, b)| a == b).count();
                let moved = before.suffix != now.suffix || (same == 0 && now.prefix.len() > 8);
                moves += usize::from(moved);
            }
            before = Some(now);
        }
        // A move makes room for an eighth of the budget.
        let step = prompt_tokens / 10;
        prop_assert!(moves <= 1 + typed.len() / step, "{moves} moves in 12 keys");
    }
}

#[test]
fn what_fits_is_there_as_a_whole() {
    let tokenizer = tokenizer();
    let layout = Layout {
        tokenizer: &tokenizer,
        format: PromptFormat::Holes,
        prompt_tokens: 2000,
        related: &[],
    };
    let (left, right) = ("use a;\nfn f() {\n    g(", ");\n}\n// <[fim-middle]>\n");
    let prompt = layout.prompt(left, right, &mut WindowState::default()).unwrap();
    let parts = parts(&tokenizer, &prompt);
    assert_eq!(text(&tokenizer, &parts.prefix), left);
    assert_eq!(text(&tokenizer, &parts.rest), ");");
    // A marker typed into the file is text: the prompt has one marker of its kind, at its end.
    assert_eq!(text(&tokenizer, &parts.suffix), "}\n// <[fim-middle]>\n");
    let middle = tokenizer.special().fim.unwrap().middle;
    assert_eq!(prompt.tokens.iter().filter(|&&token| token == middle).count(), 1);
}

#[test]
fn long_typing_moves_the_window_seldom_and_keeps_most_of_the_budget() {
    let tokenizer = tokenizer();
    let layout = Layout {
        tokenizer: &tokenizer,
        format: PromptFormat::Holes,
        prompt_tokens: 700,
        related: &[],
    };
    let (above, right) = SOURCE.split_at(SOURCE.find("impl Infiller").unwrap());
    let typed = &right[..right.floor_char_boundary(4000)];
    let mut windows = WindowState::default();
    let mut starts = Vec::new();
    for (at, _) in typed.char_indices().step_by(7) {
        let left = format!("{above}{}", &typed[..at]);
        let prompt = layout.prompt(&left, right, &mut windows).unwrap();
        assert!(prompt.tokens.len() > 350, "{} tokens at {at}", prompt.tokens.len());
        starts.push(parts(&tokenizer, &prompt).prefix[..4].to_vec());
    }
    let keys = starts.len();
    starts.dedup();
    // 4,000 characters are about 1,400 tokens, a step is 78.
    assert!(keys > 500 && (3..=25).contains(&starts.len()), "{} starts", starts.len());
}

#[test]
fn nearby_holes_choose_the_same_window_start() {
    let tokenizer = tokenizer();
    let layout = Layout {
        tokenizer: &tokenizer,
        format: PromptFormat::Holes,
        prompt_tokens: 700,
        related: &[],
    };
    // A text of its own: where its tokens end must not change with this repository.
    let text: String = (0..400)
        .map(|i| format!("    let value_{i} = area(width_{i}, height) + self.total({i});\n"))
        .collect();
    let from = text.len() / 2;
    let mut starts: Vec<Vec<u32>> = (0..40)
        .map(|at| {
            let (left, right) = text.split_at(from + at);
            let prompt = layout.prompt(left, right, &mut WindowState::default()).unwrap();
            parts(&tokenizer, &prompt).prefix[..4].to_vec()
        })
        .collect();
    starts.dedup();
    assert!(starts.len() <= 2, "{} starts for 40 places", starts.len());
}

#[test]
fn an_edit_above_the_window_leaves_the_prompt_as_it_was() {
    let tokenizer = tokenizer();
    let layout = Layout {
        tokenizer: &tokenizer,
        format: PromptFormat::Holes,
        prompt_tokens: 500,
        related: &[],
    };
    let (left, right) = SOURCE.split_at(SOURCE.find("impl Infiller").unwrap());
    let mut windows = WindowState::default();
    let before = layout.prompt(left, right, &mut windows).unwrap();
    let after = layout.prompt(&format!("use std::fmt;\n{left}"), right, &mut windows).unwrap();
    assert_eq!(after, before);
}

#[test]
fn a_very_long_line_or_file_is_cut_before_it_is_tokenised() {
    let tokenizer = tokenizer();
    let layout = Layout {
        tokenizer: &tokenizer,
        format: PromptFormat::Holes,
        prompt_tokens: 600,
        related: &[],
    };
    let line = "ab1,".repeat(500_000);
    let mut windows = WindowState::default();
    let first = layout.prompt(&line, &line, &mut windows).unwrap();
    assert!(first.tokens.len() <= 600 && first.rest_tokens == 64);
    let second = layout.prompt(&format!("{line}x"), &line, &mut windows).unwrap();
    let same = first.tokens.iter().zip(&second.tokens).take_while(|(a, b)| a == b).count();
    assert!(same + 70 > first.tokens.len(), "{same}");
}

#[test]
fn related_text_stands_in_front_of_the_prefix_and_leaves_out_what_is_far() {
    let tokenizer = tokenizer();
    let related = |path: &str, text: &str| Related { path: path.into(), text: text.into() };
    let pieces = [
        related("far.rs", &"fn far() {}\n".repeat(40)),
        related("b.py", "def b():\n"),
        related("src/a.rs", "<[fim-middle]> fn a();"),
    ];
    let near = "# b.py\ndef b():\n\n// src/a.rs\n<[fim-middle]> fn a();\n\n";
    for format in [PromptFormat::Holes, PromptFormat::SeedFim] {
        let tokens = related_tokens(&tokenizer, format, &pieces, 60).unwrap();
        assert!(tokens.len() <= 60);
        let filename = tokenizer.special().filename.unwrap();
        let names = tokens.iter().filter(|token| **token == filename).count();
        match format {
            PromptFormat::Holes => assert_eq!(text(&tokenizer, &tokens), near),
            PromptFormat::SeedFim => assert_eq!((tokens[0], names), (filename, 2)),
        }
        let layout = Layout { tokenizer: &tokenizer, format, prompt_tokens: 400, related: &tokens };
        let prompt = layout.prompt("let x = ", ";\n", &mut WindowState::default()).unwrap();
        let parts = parts(&tokenizer, &prompt);
        assert!(parts.prefix.starts_with(&tokens));
        assert_eq!(text(&tokenizer, &parts.prefix[tokens.len()..]), "let x = ");
        // Text of the document itself comes first.
        let layout = Layout { prompt_tokens: 64, ..layout };
        let prompt = layout.prompt("let x = ", ";\n", &mut WindowState::default()).unwrap();
        assert!(!self::parts(&tokenizer, &prompt).prefix.starts_with(&tokens));
    }
}
