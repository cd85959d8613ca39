//! After hundreds of random edits the server's text is the client's, in every encoding.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::client::Client;
use crate::text::{places, replace};

const URI: &str = "file:///random.rs";
const N_EDITS: usize = 500;
/// Edits between two looks at the server's text, so that a failure is found near its cause.
const CHECK_INTERVAL: usize = 50;
const SEED: u64 = 2601;

/// Every kind of line end, and characters of every length in every encoding.
const PIECES: [&str; 16] = [
    "let x = 1;",
    "\n",
    "\r\n",
    "\r",
    "    ",
    "é",
    "e\u{301}",
    "漢字",
    "𝄞",
    "👩\u{200d}💻",
    "\u{2028}",
    "\u{85}",
    "{",
    "}",
    "\t",
    "שלום",
];

fn piece(rng: &mut ChaCha8Rng) -> String {
    (0..rng.random_range(0..5)).map(|_| *PIECES.choose(rng).unwrap()).collect()
}

fn check(encoding: &str) {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut client = Client::start(None, encoding);
    let mut text: String = (0..40).map(|_| piece(&mut rng)).collect();
    client.open(URI, "rust", &text);
    let mut n_edits = 0;
    let mut version = 0;
    while n_edits < N_EDITS {
        version += 1;
        let changes = (0..rng.random_range(1..4))
            .map(|_| {
                n_edits += 1;
                // Now and then an editor sends everything anew.
                if rng.random_range(0..100) == 0 {
                    text = (0..40).map(|_| piece(&mut rng)).collect();
                    return json!({ "text": text });
                }
                let places = places(&text);
                let start = rng.random_range(0..places.len());
                let end = (start + rng.random_range(0..12_usize)).min(places.len() - 1);
                replace(&mut text, places[start]..places[end], &piece(&mut rng), encoding)
            })
            .collect();
        client.change(URI, version, changes);
        if version % CHECK_INTERVAL == 0 {
            assert_eq!(client.text(URI), text, "{encoding}, version {version}, seed {SEED}");
        }
    }
    assert_eq!(client.text(URI), text, "{encoding}, after all edits, seed {SEED}");
    client.finish();
}

#[test]
fn utf8() {
    check("utf-8");
}

#[test]
fn utf16() {
    check("utf-16");
}

#[test]
fn utf32() {
    check("utf-32");
}
