//! Anything that a client may send: the server answers each request once and ends, and never panics or hangs.
//!
//! The first byte says how the client behaves. After `r` all bytes are sent as they are; otherwise each line is a
//! message, and a line `@` is a pause. There, `file:///w` is the folder `workspace/`.

#![no_main]

use std::time::Duration;

use diffcoder_fuzz::client::{Manners, Say, converse};
use diffcoder_fuzz::expected::Expected;
use diffcoder_fuzz::mutator::mutate;
use diffcoder_fuzz::workspace::placed;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

const INITIALIZE: &[u8] = b"\"initialize\"";
const PATIENCE: Duration = Duration::from_millis(20);

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let manners = match kind {
        b'r' => {
            converse(&[Say::Bytes(rest.to_vec())], 0, Manners::Agrees);
            return;
        }
        b's' => Manners::Silent,
        b'n' => Manners::Refuses,
        _ => Manners::Agrees,
    };
    let mut expected = Expected::default();
    let lines = rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut says = Vec::new();
    for line in lines {
        if line == b"@" {
            says.push(Say::Pause);
            continue;
        }
        let body = placed(line);
        expected.add(&body);
        says.push(Say::Body(body));
        if line.windows(INITIALIZE.len()).any(|part| part == INITIALIZE) {
            // The server may refuse what comes before it has answered.
            says.push(Say::Await(PATIENCE));
        }
    }
    let (received, _) = converse(&says, expected.n_certain(), manners);
    expected.check(&received);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match mutate(&data[..size], seed) {
        Some(mutated) if mutated.len() <= max_size => {
            data[..mutated.len()].copy_from_slice(&mutated);
            mutated.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
