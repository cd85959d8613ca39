//! Starts a deeper model from a shallower one without a change of what it computes.

use std::collections::BTreeMap;

use candle_core::Tensor;

use diffcoder_engine::error::Result;

const LAYERS: &str = "model.layers.";

/// The weights of a model of `to` layers that computes what the one of `from` layers does.
///
/// Some layers get a copy behind them whose two projections into the residual stream are zero, so that it passes on what
/// it is given (block expansion, LLaMA Pro, arXiv 2401.02415); the copies stand as evenly as they can. `to` may be at
/// most twice `from`.
pub(crate) fn deepened(
    weights: &BTreeMap<String, Tensor>,
    from: usize,
    to: usize,
) -> Result<BTreeMap<String, Tensor>> {
    let mut grown: BTreeMap<String, Tensor> = weights
        .iter()
        .filter(|(name, _)| !name.starts_with(LAYERS))
        .map(|(name, tensor)| (name.clone(), tensor.clone()))
        .collect();
    let sources = sources(from, to);
    for (place, &source) in sources.iter().enumerate() {
        let is_copy = place > 0 && sources[place - 1] == source;
        let prefix = format!("{LAYERS}{source}.");
        for (name, tensor) in weights {
            let Some(rest) = name.strip_prefix(&prefix) else { continue };
            let writes_residual = rest.contains("o_proj.") || rest.contains("down_proj.");
            let tensor =
                if is_copy && writes_residual { tensor.zeros_like()? } else { tensor.clone() };
            grown.insert(format!("{LAYERS}{place}.{rest}"), tensor);
        }
    }
    Ok(grown)
}

/// For each layer of the deeper model the one it comes from; a copy follows its original.
fn sources(from: usize, to: usize) -> Vec<usize> {
    let copies = to - from;
    (0..from)
        .flat_map(|layer| {
            let is_copied = (layer + 1) * copies / from > layer * copies / from;
            std::iter::repeat_n(layer, 1 + usize::from(is_copied))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stand_evenly_behind_their_originals() {
        assert_eq!(sources(4, 4), [0, 1, 2, 3]);
        assert_eq!(sources(4, 5), [0, 1, 2, 3, 3]);
        assert_eq!(sources(4, 6), [0, 1, 1, 2, 3, 3]);
        assert_eq!(sources(2, 4), [0, 0, 1, 1]);
    }
}
