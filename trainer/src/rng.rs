//! Random streams that are functions of (run, step, stream), so that a resumed run draws what it would have drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What randomness is drawn for. Streams of one step never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Choice of documents, holes and windows.
    Data,
    /// Masks and corruption levels.
    Noise,
    /// Initial weights.
    Init,
    /// The order of visits in an epoch; its number stands for the step.
    Epoch,
}

/// The generator of one stream of one step of a run.
pub fn stream(run_seed: u64, step: u64, stream: Stream) -> ChaCha8Rng {
    let tag = match stream {
        Stream::Data => 1,
        Stream::Noise => 2,
        Stream::Init => 3,
        Stream::Epoch => 4,
    };
    keyed([run_seed, step, tag, 0])
}

/// A generator whose seed is exactly `key`: distinct keys give independent sequences.
pub(crate) fn keyed(key: [u64; 4]) -> ChaCha8Rng {
    let mut seed = [0; 32];
    for (bytes, word) in seed.chunks_exact_mut(8).zip(key) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(seed)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn a_stream_is_a_function_of_run_step_and_stream() {
        let draw = |run, step, which| stream(run, step, which).next_u64();
        let first = draw(7, 3, Stream::Data);
        assert_eq!(first, draw(7, 3, Stream::Data));
        let others = [
            draw(8, 3, Stream::Data),
            draw(7, 4, Stream::Data),
            draw(7, 3, Stream::Noise),
            draw(7, 3, Stream::Init),
            draw(7, 3, Stream::Epoch),
            draw(3, 7, Stream::Data),
        ];
        assert!(others.iter().all(|other| *other != first));
    }
}
