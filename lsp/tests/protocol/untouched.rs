//! What no fill touches: every byte outside the holes, and every byte inside them that is pinned.

use std::ops::Range as Span;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::encodings::offers;
use crate::harness::{Client, INVALID_PARAMS, REQUEST_FAILED, URI, code};
use crate::script::{Act, Script};
use crate::text::{offset, places, position};

const N_CASES: u32 = 300;
const ENCODINGS: [&str; 3] = ["utf-8", "utf-16", "utf-32"];
const LANGUAGES: [&str; 3] = ["plaintext", "rust", "python"];

/// Every kind of line end, characters of every length in every encoding, and code with something to finish or to fill.
const PIECES: [&str; 26] = [
    "\n",
    "\r\n",
    "\r",
    "    ",
    "\t",
    "é",
    "e\u{301}",
    "漢字",
    "𝄞",
    "👩\u{200d}💻",
    "\u{2028}",
    "\u{85}",
    "a",
    "b;",
    "c, ",
    "(",
    ")",
    "{",
    "}",
    "\"",
    "fn f() {\n    todo!()\n}\n",
    "def f():\n    pass\n",
    "// TODO: add 漢\n",
    "# TODO: sort\r\n",
    "unimplemented!()",
    "let x = g(1);",
];

/// A document, what is to be filled in it, and what the model fills it with.
#[derive(Clone, Debug)]
struct Case {
    encoding: &'static str,
    language: &'static str,
    text: String,
    /// Bytes of the text: apart, in any order.
    holes: Vec<Span<usize>>,
    /// Bytes within holes.
    keep: Vec<Span<usize>>,
    fills: Vec<String>,
    /// How many places of what stands right of its hole each fill repeats, as models do.
    repeats: Vec<usize>,
}

fn pieces(n: Span<usize>) -> impl Strategy<Value = String> {
    vec(select(&PIECES[..]), n).prop_map(|pieces| pieces.concat())
}

fn cases() -> impl Strategy<Value = Case> {
    let holes = vec((any::<Index>(), 0..9_usize), 1..6);
    let keep = vec((any::<Index>(), any::<Index>(), 0..4_usize), 0..5);
    let fills = (vec(pieces(0..5), 1..6), vec(0..6_usize, 1..6));
    let document = (select(&ENCODINGS[..]), select(&LANGUAGES[..]), pieces(0..30));
    (document, holes, keep, fills).prop_map(
        |((encoding, language, text), holes, keep, (fills, repeats))| {
            let places = places(&text);
            let span = |places: &[usize], at: Index, len: usize| {
                let start = at.index(places.len());
                places[start]..places[(start + len).min(places.len() - 1)]
            };
            let mut apart: Vec<Span<usize>> = Vec::new();
            for (at, len) in holes {
                let hole = span(&places, at, len);
                if apart.iter().all(|other| are_apart(other, &hole)) {
                    apart.push(hole);
                }
            }
            let keep = keep.into_iter().map(|(hole, at, len)| {
                let hole = &apart[hole.index(apart.len())];
                let within = |place: &usize| (hole.start..=hole.end).contains(place);
                let inside: Vec<usize> = places.iter().copied().filter(within).collect();
                span(&inside, at, len)
            });
            let keep = keep.collect();
            Case { encoding, language, text, holes: apart, keep, fills, repeats }
        },
    )
}

/// Holes may touch, but two that begin at one place have no order.
fn are_apart(one: &Span<usize>, other: &Span<usize>) -> bool {
    (one.end <= other.start || other.end <= one.start) && one.start != other.start
}

impl Case {
    /// What the pins leave of the holes, in the order of the holes: runs of bytes, and holes without pins as they are.
    fn open(&self) -> Vec<Span<usize>> {
        let is_pinned = |at: &usize| self.keep.iter().any(|kept| kept.contains(at));
        let mut open = Vec::new();
        for hole in &self.holes {
            if !hole.clone().any(|at| is_pinned(&at)) {
                open.push(hole.clone());
                continue;
            }
            let mut runs: Vec<Span<usize>> = Vec::new();
            for at in hole.clone().filter(|at| !is_pinned(at)) {
                match runs.last_mut() {
                    Some(run) if run.end == at => run.end += 1,
                    _ => runs.push(at..at + 1),
                }
            }
            open.append(&mut runs);
        }
        open
    }

    /// A fill for each of `open`, in reading order.
    fn fills(&self, open: &[Span<usize>]) -> Vec<String> {
        let mut open = open.to_vec();
        open.sort_by_key(|span| (span.start, span.end));
        let fills = open.iter().zip(self.fills.iter().cycle()).zip(self.repeats.iter().cycle());
        fills
            .map(|((span, fill), repeats)| {
                let right = &self.text[span.end..];
                let places = places(right);
                let repeated = &right[..places[(*repeats).min(places.len() - 1)]];
                format!("{fill}{repeated}")
            })
            .collect()
    }

    fn ranges(&self, spans: &[Span<usize>]) -> Vec<Value> {
        let place = |at| position(&self.text, at, self.encoding);
        let range =
            |span: &Span<usize>| json!({ "start": place(span.start), "end": place(span.end) });
        spans.iter().map(range).collect()
    }

    fn span(&self, range: &Value) -> Span<usize> {
        let place = |side| offset(&self.text, &range[side], self.encoding);
        place("start")..place("end")
    }

    /// Applies `edit` as an editor does, and looks for every byte that is not in `open`; the number of replacements.
    #[track_caller]
    fn check_edit(&self, edit: &Value, open: &[Span<usize>]) -> usize {
        let changes = edit["documentChanges"].as_array().unwrap();
        assert_eq!(changes.len(), 1, "{edit}");
        assert_eq!(changes[0]["textDocument"], json!({ "uri": URI, "version": 1 }));
        let mut edits: Vec<(Span<usize>, &str)> = changes[0]["edits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|edit| (self.span(&edit["range"]), edit["newText"].as_str().unwrap()))
            .collect();
        edits.sort_by_key(|(span, _)| (span.start, span.end));
        let mut after = self.text.clone();
        for (span, new) in edits.iter().rev() {
            after.replace_range(span.clone(), new);
        }
        let mut open = open.to_vec();
        open.sort_by_key(|span| (span.start, span.end));
        let (mut rest, mut from) = (&after[..], 0);
        for span in &open {
            let before = &self.text[from..span.start];
            let new = edits.iter().find(|(place, _)| place == span);
            let new = new.map_or(&self.text[span.clone()], |(_, new)| new);
            rest = rest
                .strip_prefix(before)
                .unwrap_or_else(|| panic!("{before:?} before byte {} has changed", span.start))
                .strip_prefix(new)
                .unwrap_or_else(|| panic!("{new:?} is not what stands at byte {}", span.start));
            from = span.end;
        }
        assert_eq!(rest, &self.text[from..], "what stands behind the last hole");
        edits.len()
    }

    async fn client(&self, open: &[Span<usize>]) -> Client {
        let script = Script::always(Act::FillEach(self.fills(open).into()));
        let mut client = Client::start_with(&script, offers(&[self.encoding])).await;
        client.open_as(self.language, URI, &self.text).await;
        client
    }

    /// `diffcoder/infill` with holes and pins.
    async fn check_infill(&self) {
        let open = self.open();
        let mut client = self.client(&open).await;
        let params = json!({
            "textDocument": { "uri": URI, "version": 1 },
            "ranges": self.ranges(&self.holes),
            "keep": self.ranges(&self.keep),
        });
        let answer = client.call("diffcoder/infill", params).await;
        if open.is_empty() {
            assert_eq!(code(&answer), INVALID_PARAMS);
        } else {
            let result = answer.unwrap();
            let found = result["holes"].as_array().unwrap().iter();
            let found: Vec<Value> = found.map(|hole| hole["range"].clone()).collect();
            assert_eq!(found, self.ranges(&open));
            assert_eq!(self.check_edit(&result["edit"], &open), open.len());
        }
        client.finish().await;
    }

    /// The commands, which know no pins: with holes, and with those that the server finds.
    async fn check_commands(&self) {
        let mut client = self.client(&self.holes).await;
        let params = json!({ "textDocument": { "uri": URI }, "kind": "fillAll" });
        let found = client.call("diffcoder/holes", params).await.unwrap();
        let stubs = found["holes"].as_array().unwrap().iter();
        let stubs: Vec<Span<usize>> = stubs.map(|hole| self.span(&hole["range"])).collect();
        let mut infill = json!({ "uri": URI, "version": 1 });
        infill["ranges"] = json!(self.ranges(&self.holes));
        for (command, argument, open) in
            [("infill", infill, &self.holes), ("fillAll", json!({ "uri": URI }), &stubs)]
        {
            let command = format!("diffcoder.server.{command}");
            let params = json!({ "command": command, "arguments": [argument] });
            match client.call("workspace/executeCommand", params).await {
                Ok(_) => {
                    let asked = client.said("workspace/applyEdit").await;
                    assert!((1..=open.len()).contains(&self.check_edit(&asked["edit"], open)));
                }
                // Nothing is left open, or the fills are what stands there.
                Err((code, reason)) => assert_eq!(code, REQUEST_FAILED, "{reason}"),
            }
        }
        client.finish().await;
    }
}

fn run(check: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(check);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(N_CASES))]

    #[test]
    fn infill_changes_what_is_open_alone(case in cases()) {
        run(case.check_infill());
    }

    #[test]
    fn commands_change_their_holes_alone(case in cases()) {
        run(case.check_commands());
    }
}
