//! Attention of a few rows over cached keys.

/// Sizes.
#[derive(Clone, Copy, Debug)]
pub struct CachedShape {
    /// H.
    pub heads: usize,
    /// Hkv.
    pub kv_heads: usize,
    /// Dh.
    pub head_size: usize,
}

/// q: (R, H, Dh); keys, values: (S, Hkv, Dh); row r sees keys 0..limits[r]; out: (R, H, Dh).
pub fn cached_attention(
    shape: CachedShape,
    q: &[f32],
    (keys, values): (&[f32], &[f32]),
    limits: &[usize],
    out: &mut [f32],
) {
    let CachedShape { heads, kv_heads, head_size: dh } = shape;
    let scale = 1.0 / (dh as f32).sqrt();
    for (row, &limit) in limits.iter().enumerate() {
        for head in 0..heads {
            let kv_head = head / (heads / kv_heads);
            let at = (row * heads + head) * dh;
            let query = &q[at..at + dh];
            let slot = |s: usize| (s * kv_heads + kv_head) * dh..(s * kv_heads + kv_head + 1) * dh;
            let scores: Vec<f32> = (0..limit)
                .map(|s| scale * query.iter().zip(&keys[slot(s)]).map(|(a, b)| a * b).sum::<f32>())
                .collect();
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f32> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f32 = weights.iter().sum();
            let out = &mut out[at..at + dh];
            out.fill(0.0);
            for (s, weight) in weights.iter().enumerate() {
                for (o, v) in out.iter_mut().zip(&values[slot(s)]) {
                    *o += weight / sum * v;
                }
            }
        }
    }
}
