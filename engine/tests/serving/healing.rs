//! Words that the cursor cuts are taken out of the prompt and spelled by the fill.

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::engine::{Engine, ModelParts};
use diffcoder_engine::infiller::{
    DecodeOrder, FillMode, FrameCell, Infill, InfillLimits, InfillRequest, Infiller, Segment,
    Unmasking,
};
use diffcoder_engine::prompt::heal::fill_start;

use crate::support::{
    TOKENIZER_JSON, config_json, parrot_weights, random_engine, random_engine_that, tokenizer,
};

const RULES: [(Unmasking, DecodeOrder); 3] = [
    (Unmasking::Threshold(0.95), DecodeOrder::SurestFirst),
    (Unmasking::Threshold(0.5), DecodeOrder::LeftToRight),
    (Unmasking::Static { steps_per_block: 2 }, DecodeOrder::SurestFirst),
];

fn request(left: &str, right: &str) -> InfillRequest {
    let hole = Segment::Hole { draft: "".into() };
    InfillRequest {
        limits: InfillLimits { max_tokens: 12, ..InfillLimits::default() },
        ..InfillRequest::new(
            "healing",
            vec![Segment::Text(left.into()), hole, Segment::Text(right.into())],
        )
    }
}

/// The fill, and the text of the last frame's cells.
fn run(engine: &mut dyn Infiller, request: &InfillRequest) -> (Infill, String) {
    let mut shown = String::new();
    let infill = engine.infill(request, &CancelToken::new(), &mut |frame| {
        let texts = frame.cells.iter().map_while(|cell| match cell {
            FrameCell::Committed { text, .. } => Some(text.as_str()),
            FrameCell::Masked => None,
        });
        shown = texts.collect();
    });
    (infill.unwrap(), shown)
}

#[test]
fn the_prompt_ends_where_the_tokenizer_would_not_join() {
    let all = tokenizer();
    for (left, lead) in [
        ("let x = self.to", "to"),
        ("return tot", " tot"),
        ("let x = ", " "),
        ("    let total", " total"),
        ("f(é", "é"),
        ("done\n    ", ""),
        ("", ""),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ""),
    ] {
        let start = fill_start(&all, left).unwrap();
        assert_eq!(&left[start..], lead, "{left:?}");
    }
}

#[test]
fn a_fill_goes_on_from_the_cut_word_and_frames_show_it_alone() {
    let (text, right) =
        ("fn total(items: &[Item]) -> u64 {\n    items.iter().map(|item| item", ")\n}\n");
    for rule in RULES {
        let mut engine = random_engine(1024);
        let mut spelled = 0;
        for cut in (10..text.len()).step_by(3) {
            let mut request = request(&text[..cut], right);
            (request.sampling.unmasking, request.sampling.order) = (rule.0, Some(rule.1));
            let (infill, shown) = run(&mut engine, &request);
            let fill = &infill.holes[0];
            // A random model spells the word, or the fill would be empty; frames show nothing of the word.
            assert!(shown.starts_with(&fill.text), "{rule:?} {cut}: {shown:?} {fill:?}");
            spelled += usize::from(!fill.text.is_empty());
        }
        assert!(spelled > 10, "{rule:?}: {spelled}");
    }
}

#[test]
fn the_prompt_stands_still_while_a_word_is_typed() {
    let mut engine = random_engine(1024);
    let mut prompt = |left: &str| run(&mut engine, &request(left, ";\n")).0.stats.prompt_tokens;
    let first = prompt("let total = items.c");
    assert_eq!(prompt("let total = items.cou"), first);
    assert_eq!(prompt("let total = items.count"), first);
    assert_ne!(prompt("let total = items.count() + 1"), first);
}

#[test]
fn a_lead_does_not_push_prompt_and_fill_out_of_the_context() {
    let context = 256;
    let mut engine = random_engine(context);
    for word in ["t", "total_of_all_items", "é_ü_ß_日本語"] {
        // Long enough that the prompt takes all that the fill leaves.
        let left = "let filler = one + two;\n".repeat(200) + "let x = " + word;
        let mut canvas = 0;
        let infill = engine
            .infill(&request(&left, ";\n"), &CancelToken::new(), &mut |frame| {
                canvas = canvas.max(frame.cells.len());
            })
            .unwrap();
        assert!(infill.stats.prompt_tokens + canvas <= context, "{word}: {canvas} cells");
        assert!(canvas >= 12, "{word}: {canvas} cells");
    }
}

#[test]
fn a_fill_says_more_than_the_cut_word() {
    let mut config = config_json("holes", 256);
    config["diffcoder"]["capabilities"] = serde_json::json!(["infill"]);
    let special = tokenizer().special().clone();
    let x = tokenizer().encode("x").unwrap()[0];
    let mut engine = Engine::from_parts(ModelParts {
        name: "ends",
        config: &config.to_string(),
        tokenizer: &TOKENIZER_JSON,
        special_tokens_map: None,
        tokenizer_config: None,
        weights: &parrot_weights(&config, special.mask, &[(special.eos, 9.0), (x, 5.0)]),
    })
    .unwrap();
    for left in ["let x = ", "let total = items.cou", "", "a\n"] {
        let (infill, _) = run(&mut engine, &request(left, ";\n"));
        assert!(!infill.holes[0].text.is_empty(), "{left:?}");
    }
}

#[test]
fn without_it_the_word_stays_in_the_prompt() {
    let left = "let total = items.cou";
    let (healed, plain) = (
        run(&mut random_engine(1024), &request(left, ";\n")).0,
        run(&mut random_engine(1024).without_healing(), &request(left, ";\n")).0,
    );
    let lead = tokenizer().encode("cou").unwrap().len();
    assert_eq!(healed.stats.prompt_tokens + lead, plain.stats.prompt_tokens);
}

#[test]
fn every_hole_of_a_joint_prompt_is_healed() {
    let mut engine = random_engine_that(&["infill", "multi-hole"], 1024);
    let hole = || Segment::Hole { draft: "".into() };
    let segments = vec![
        Segment::Text("let wid".into()),
        hole(),
        Segment::Text(";\nlet hei".into()),
        hole(),
        Segment::Text(";\n".into()),
    ];
    for mode in [FillMode::Joint, FillMode::InTurn, FillMode::Independent] {
        let request = InfillRequest { segments: segments.clone(), mode, ..request("", "") };
        let infill = run(&mut engine, &request).0;
        assert_eq!(infill.holes.len(), 2);
        assert!(infill.holes.iter().any(|fill| !fill.text.is_empty()), "{mode:?}: {infill:?}");
    }
}
