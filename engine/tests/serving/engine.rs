//! The engine from request to fill: prefix reuse, cancel, deadline, frames, bad requests.

use std::time::{Duration, Instant};

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::decode::PREFILL_ROWS;
use diffcoder_engine::engine::Engine;
use diffcoder_engine::infiller::{
    DecodeOrder, Finish, Frame, FrameCell, Infill, InfillError, InfillLimits, InfillRequest,
    Infiller, Segment, Unmasking,
};
use diffcoder_engine::related::Related;
use serde_json::json;

use crate::support::{
    SOURCE, TOKENIZER_JSON, config_json, engine_of, parrot_weights, random_engine,
    random_engine_of, random_weights, tokenizer,
};

fn request(document: &str, left: &str, right: &str) -> InfillRequest {
    InfillRequest {
        limits: InfillLimits { max_tokens: 12, ..InfillLimits::default() },
        ..InfillRequest::new(
            document.to_owned(),
            vec![
                Segment::Text(left.into()),
                Segment::Hole { draft: "".into() },
                Segment::Text(right.into()),
            ],
        )
    }
}

fn fill(engine: &mut Engine, request: &InfillRequest) -> Infill {
    engine.infill(request, &CancelToken::new(), &mut |_| ()).unwrap()
}

/// A document of about `tokens` tokens, cut at the end of the line in its middle.
fn document(tokens: usize) -> (String, String) {
    let all = tokenizer();
    let lines: Vec<&str> = SOURCE.split_inclusive('\n').collect();
    let mut text = String::new();
    for line in &lines {
        if all.encode(&text).unwrap().len() >= tokens {
            break;
        }
        text.push_str(line);
    }
    let middle = text[text.len() / 2..].find('\n').unwrap() + text.len() / 2;
    (text[..middle].to_owned(), text[middle..].to_owned())
}

/// Types into the middle of a document and returns how many tokens each key made the model read again, beyond R.
fn read_again_while_typing(engine: &mut Engine, related: &[Related]) -> Vec<usize> {
    let request = |document: &str, left: &str, right: &str| InfillRequest {
        related: related.to_vec(),
        ..request(document, left, right)
    };
    let (before, after) = document(1500);
    let mut left = format!("{before}\n    let total = ");
    fill(engine, &request("a", &left, &format!("; // sum{after}")));
    let mut again = Vec::new();
    for key in "sum_of(a, ".chars() {
        left.push(key);
        // The editor closes the bracket by itself.
        let rest = if left.ends_with("(") || left.contains("sum_of(") { ");" } else { ";" };
        let rest = format!("{rest} // sum");
        let result = fill(engine, &request("a", &left, &format!("{rest}{after}")));
        let rest_tokens = tokenizer().encode(&rest).unwrap().len();
        let read = result.stats.prompt_tokens - result.stats.cached_tokens;
        again.push(read.saturating_sub(rest_tokens));
    }
    again
}

#[test]
fn typing_reads_at_most_eight_tokens_again_and_the_rest_of_the_line() {
    // The whole file, and windows of it.
    for context in [4096, 1024] {
        let mut engine = random_engine(context);
        let again = read_again_while_typing(&mut engine, &[]);
        assert_eq!(again.len(), 10);
        assert!(again.iter().all(|&tokens| tokens <= 8), "context {context}: {again:?}");
    }
}

#[test]
fn typing_with_related_text_reads_as_little_again() {
    let related = [Related { path: "src/a.rs".into(), text: "pub fn sum_of(a: u8) -> u8;".into() }];
    for context in [4096, 1024] {
        let tokens = |related: &[Related]| {
            let mut engine = random_engine(context).with_related_tokens(100);
            let (left, right) = document(100);
            let request =
                InfillRequest { related: related.to_vec(), ..request("b", &left, &right) };
            fill(&mut engine, &request).stats.prompt_tokens
        };
        assert!(tokens(&related) > tokens(&[]) + 8, "the text is in the prompt");
        let mut engine = random_engine(context).with_related_tokens(100);
        let again = read_again_while_typing(&mut engine, &related);
        assert!(again.iter().all(|&tokens| tokens <= 8), "context {context}: {again:?}");
    }
}

#[test]
fn reused_keys_give_the_fill_of_a_fresh_engine() {
    let (left, right) = document(300);
    let mut engine = random_engine(1024);
    let mut text = left;
    for key in " = f(x".chars() {
        text.push(key);
        let reused = fill(&mut engine, &request("a", &text, &right));
        let fresh = fill(&mut random_engine(1024), &request("a", &text, &right));
        assert_eq!(fresh.stats.cached_tokens, 0);
        // The last chunk of the prompt rides in the first denoising step.
        let chunks = fresh.stats.prompt_tokens / PREFILL_ROWS;
        assert!(chunks > 0 && fresh.stats.prefill_forwards == chunks, "{:?}", fresh.stats);
        assert_eq!(reused.holes[0].text, fresh.holes[0].text);
        assert!((reused.holes[0].confidence - fresh.holes[0].confidence).abs() < 1e-4);
    }
    let stats = fill(&mut engine, &request("a", &text, &right)).stats;
    assert!(stats.cached_tokens + 4 > stats.prompt_tokens, "{stats:?}");
    assert_eq!(stats.prefill_forwards, 0);
}

#[test]
fn two_documents_stay_warm_beside_each_other() {
    let (left, right) = document(300);
    let other = left.replace("fn ", "pub fn ");
    let mut engine = random_engine(1024);
    for round in 0..3 {
        for (key, left) in [("a", &left), ("b", &other)] {
            let stats = fill(&mut engine, &request(key, left, &right)).stats;
            if round > 0 {
                assert!(stats.cached_tokens + 4 > stats.prompt_tokens, "{key}: {stats:?}");
            }
        }
    }
}

#[test]
fn a_cancelled_request_runs_no_further_forward_and_keeps_its_keys() {
    let (left, right) = document(600);
    let mut engine = random_engine(2048);
    let request = request("a", &left, &right);
    let cancel = CancelToken::new();
    let mut frames = 0;
    let result = engine.infill(&request, &cancel, &mut |_| {
        frames += 1;
        cancel.cancel();
    });
    assert!(matches!(result, Err(InfillError::Cancelled)));
    assert_eq!(frames, 1);
    let stats = fill(&mut engine, &request).stats;
    assert!(stats.cached_tokens + 4 > stats.prompt_tokens, "{stats:?}");
    let early = CancelToken::new();
    early.cancel();
    let result = engine.infill(&request, &early, &mut |_| panic!("a frame after a cancel"));
    assert!(matches!(result, Err(InfillError::Cancelled)));
}

#[test]
fn every_denoising_step_sends_a_frame_and_the_last_one_shows_the_fill() {
    let (left, right) = document(200);
    let mut engine = random_engine(1024).without_healing();
    let mut request = request("a", &left, &right);
    request.sampling.unmasking = Unmasking::Static { steps_per_block: 2 };
    let mut frames: Vec<Frame> = Vec::new();
    let result =
        engine.infill(&request, &CancelToken::new(), &mut |frame| frames.push(frame.clone()));
    let result = result.unwrap();
    // The prompt is short: it rides in the first denoising step, so every forward is one.
    let forwards: Vec<usize> = frames.iter().map(|frame| frame.forwards).collect();
    assert_eq!(forwards, (1..=result.stats.forwards).collect::<Vec<_>>());
    let committed =
        |frame: &Frame| frame.cells.iter().filter(|&cell| *cell != FrameCell::Masked).count();
    // The canvas ends at a block edge, the fill at the limit.
    let canvas = (result.stats.prompt_tokens + 12).next_multiple_of(4) - result.stats.prompt_tokens;
    assert!(frames.iter().all(|frame| frame.cells.len() == canvas));
    assert!(frames.is_sorted_by(|a, b| committed(a) < committed(b)));
    assert!(committed(frames.last().unwrap()) >= result.stats.tokens && result.stats.tokens >= 12);
    let texts = frames.last().unwrap().cells.iter().map_while(|cell| match cell {
        FrameCell::Committed { text, .. } => Some(text.as_str()),
        FrameCell::Masked => None,
    });
    assert_eq!(texts.take(result.stats.tokens).collect::<String>(), result.holes[0].text);
    assert!(result.stats.tokens_per_forward() > 1.0);
}

#[test]
fn tokens_come_in_the_order_of_the_model_unless_a_request_says_otherwise() {
    let mut config = config_json("holes", 1024);
    let mut engines = vec![random_engine_of(&config)];
    config["diffcoder"]["order"] = json!("left-to-right");
    engines.push(random_engine_of(&config));
    let orders = DecodeOrder::ALL;
    assert_eq!(engines.iter().map(Engine::order).collect::<Vec<_>>(), orders);
    for engine in &mut engines {
        for order in [None, Some(orders[0]), Some(orders[1])] {
            let mut request = request("a", "let total = ", ";\n");
            (request.sampling.temperature, request.sampling.order) = (1.0, order);
            let mut gaps = 0;
            for seed in 0..8 {
                request.sampling.seed = seed;
                let mut look = |frame: &Frame| {
                    let masks = frame.cells.iter().map(|cell| matches!(cell, FrameCell::Masked));
                    gaps += usize::from(!masks.is_sorted());
                };
                engine.infill(&request, &CancelToken::new(), &mut look).unwrap();
            }
            let expected = order.unwrap_or(engine.order());
            assert_eq!(gaps > 0, expected == DecodeOrder::SurestFirst, "{order:?}: {gaps}");
        }
    }
}

#[test]
fn copies_are_drafted_as_the_model_says_unless_a_request_says_otherwise() {
    let all = tokenizer();
    let (word, mask) = (all.encode(" let").unwrap(), all.special().mask);
    assert_eq!(word.len(), 1);
    let forwards = |served: Option<f64>, asked: Option<f64>| -> usize {
        let mut config = config_json("holes", 1024);
        if let Some(least) = served {
            config["diffcoder"]["copy_draft"] = json!(least);
        }
        // It says one word again and again, never sure of it.
        let weights = parrot_weights(&config, mask, &[(word[0], 0.2)]);
        let mut engine = engine_of(&config, &weights);
        let left = "a = let let let let let let let let let let let let let;\na = let let";
        let mut request = request("a", left, "\n");
        request.sampling.copy_draft = asked;
        fill(&mut engine, &request).stats.forwards
    };
    let (never, always) = (forwards(None, None), forwards(None, Some(0.001)));
    assert!(always < never, "{always} {never}");
    assert_eq!(forwards(Some(0.001), None), always);
    assert_eq!(forwards(Some(0.001), Some(1.0)), never);
}

#[test]
fn canvases_are_computed_ahead_as_the_model_says_unless_a_request_says_otherwise() {
    let all = tokenizer();
    let (word, mask) = (all.encode(" let").unwrap(), all.special().mask);
    let filled = |served: Option<f64>, asked: Option<f64>| {
        let mut config = config_json("holes", 1024);
        if let Some(least) = served {
            config["diffcoder"]["speculate"] = json!(least);
        }
        let weights = parrot_weights(&config, mask, &[(word[0], 0.2)]);
        let mut request = request("a", "a = let let\nb", "\n");
        request.sampling.speculate = asked;
        let infill = fill(&mut engine_of(&config, &weights), &request);
        (infill.holes[0].text.clone(), infill.stats.forwards, infill.stats.canvases_ahead > 0)
    };
    let (stepwise, ahead) = (filled(None, None), filled(None, Some(1e-9)));
    assert!(stepwise.0 == ahead.0 && !stepwise.0.is_empty());
    assert!(ahead.1 < stepwise.1 && ahead.2 && !stepwise.2, "{ahead:?} {stepwise:?}");
    assert_eq!(filled(Some(1e-9), None), ahead);
    assert_eq!(filled(Some(1e-9), Some(1.0)), stepwise);
}

#[test]
fn a_deadline_returns_what_stands_without_a_gap() {
    let (left, right) = document(200);
    let mut engine = random_engine(1024);
    let mut request = request("a", &left, &right);
    request.limits.deadline = Some(Instant::now());
    let result = fill(&mut engine, &request);
    assert_eq!((result.holes[0].text.as_str(), result.holes[0].finish), ("", Finish::Deadline));
    assert_eq!((result.stats.forwards, result.holes[0].confidence), (0, 0.0));
    request.limits.deadline = Some(Instant::now() + Duration::from_secs(3600));
    let whole = fill(&mut engine, &request);
    assert_ne!(whole.holes[0].finish, Finish::Deadline);
    // Let the clock run out at the second frame.
    let deadline = Instant::now() + Duration::from_millis(1500);
    request.limits.deadline = Some(deadline);
    let mut frames = 0;
    let result = engine.infill(&request, &CancelToken::new(), &mut |_| {
        frames += 1;
        if frames == 2 {
            std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        }
    });
    let result = result.unwrap();
    assert_eq!((result.holes[0].finish, result.stats.forwards), (Finish::Deadline, 2));
    assert!(whole.holes[0].text.starts_with(&result.holes[0].text));
}

/// Either the same fill, or one that never had a chance: giving up early changes no fill that is sure enough.
#[test]
fn a_fill_is_given_up_only_where_it_cannot_be_sure_enough() {
    let (left, right) = document(200);
    let (mut sure, mut given_up, mut saved) = (0, 0, 0);
    for seed in 0..40 {
        // The random model knows nothing; sharper draws make some tokens likely.
        let mut request = request("a", &left, &right);
        request.sampling.temperature = 0.5;
        request.sampling.seed = seed;
        let whole = fill(&mut random_engine(1024), &request);
        let confidence = whole.holes[0].confidence;
        for least in [f64::from(confidence) * 0.5, f64::from(confidence) * 1.7] {
            request.limits.least_confidence = least;
            let found = fill(&mut random_engine(1024), &request);
            if found.holes[0].finish == Finish::Unsure {
                let given = &found.holes[0];
                assert!(
                    f64::from(given.confidence) < least * (1.0 + 1e-6),
                    "{given:?} {whole:?} {least}"
                );
                assert!(f64::from(confidence) < least, "{confidence} reaches {least}");
                assert!(found.stats.forwards <= whole.stats.forwards);
                given_up += 1;
                saved += whole.stats.forwards - found.stats.forwards;
            } else {
                assert_eq!(found.holes, whole.holes);
                sure += 1;
            }
        }
    }
    assert!(sure > 30 && given_up > 10 && saved > 10, "{sure} {given_up} {saved}");
}

#[test]
fn the_first_line_has_a_confidence_of_its_own() {
    let (left, right) = document(200);
    let mut lines = 0;
    for seed in 0..60 {
        let mut request = request("a", &left, &right);
        request.limits.max_tokens = 24;
        request.sampling.temperature = 3.0;
        request.sampling.seed = seed;
        let fill = fill(&mut random_engine(1024), &request).holes.remove(0);
        let Some(line) = fill.cut_to_first_line() else { continue };
        assert!(fill.text.starts_with(&line.text) && line.text.len() < fill.text.len());
        assert!(!line.text.trim().is_empty() && !line.text.trim().contains('\n'));
        // Every further character is less likely than those before it.
        assert!(line.confidence >= fill.confidence, "{line:?} {fill:?}");
        lines += 1;
    }
    assert!(lines > 0, "no fill of the random model had two lines");
}

#[test]
fn a_request_that_cannot_be_served_says_what_to_change() {
    let mut engine = random_engine(256);
    let good = request("a", "fn f() {", "}");
    let mut refused = |change: &dyn Fn(&mut InfillRequest), expected: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        match engine.infill(&bad, &CancelToken::new(), &mut |_| ()) {
            Err(InfillError::BadRequest(reason)) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("expected a refusal that names {expected}, got {other:?}"),
        }
    };
    refused(&|request| request.segments.truncate(1), "no hole");
    refused(&|request| request.alternatives = 0, "alternatives");
    refused(&|request| request.limits.max_lines = Some(0), "max_lines");
    refused(&|request| request.limits.max_tokens = 0, "max_tokens");
    refused(&|request| request.limits.max_tokens = 250, "6 tokens are left for the prompt");
    refused(&|request| request.limits.max_tokens = usize::MAX, "ask for fewer");
    refused(&|request| request.sampling.temperature = f64::NAN, "temperature");
    refused(&|request| request.sampling.top_p = 0.0, "top_p");
    refused(&|request| request.sampling.unmasking = Unmasking::Threshold(1.5), "threshold");
    let no_steps = Unmasking::Static { steps_per_block: 0 };
    refused(&|request| request.sampling.unmasking = no_steps, "steps");
}

#[test]
fn a_model_directory_is_served_in_its_layout_or_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    let refusal = || match Engine::from_dir(dir.path()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("an engine from a directory that cannot be served"),
    };
    assert!(refusal().contains("config.json is missing"));
    let mut config = config_json("seed-fim", 512);
    write("config.json", config.to_string().as_bytes());
    assert!(refusal().contains("tokenizer.json is missing"));
    write("tokenizer.json", TOKENIZER_JSON.replace("fim-middle", "fim-muddle").as_bytes());
    assert!(refusal().contains("model.safetensors is missing"));
    write("model.safetensors", &random_weights(&config));
    assert!(refusal().contains("fill-in-the-middle tokens"));
    write("tokenizer.json", TOKENIZER_JSON.as_bytes());
    let mut engine = Engine::from_dir(dir.path()).unwrap();
    assert_eq!(Some(engine.model_name()), dir.path().file_name().unwrap().to_str());
    let result = fill(&mut engine, &request("a", "fn f(", ") {\n}\n"));
    // Three markers, no begin token, and the rest of the line inside the suffix.
    let plain: usize =
        ["fn f(", ") {\n}\n"].map(|text| tokenizer().encode(text).unwrap().len()).iter().sum();
    assert_eq!(result.stats.prompt_tokens, plain + 3);
    config["vocab_size"] = 100.into();
    write("config.json", config.to_string().as_bytes());
    assert!(refusal().contains("900 ids but vocab_size in config.json is 100"));
    config["vocab_size"] = 912.into();
    config["diffcoder"] = serde_json::Value::Null;
    write("config.json", config.to_string().as_bytes());
    assert!(refusal().contains("choose another model directory"));
}
