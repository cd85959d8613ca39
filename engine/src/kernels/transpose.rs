//! Transposition of small tiles of 32-bit numbers in vector registers.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vector loads and stores take pointers")
)]

/// Writes the transpose of the first `rows` x `cols` numbers of `from` (rows `stride` apart) to `to`, whose rows lie
/// `to.1` apart. Columns of `to` from `rows` up to its row distance are set to zero.
///
/// The row distance of `to` must be at least `rows`, and `to` must hold `cols` such rows.
pub(super) fn transpose_tile(
    from: &[f32],
    (rows, cols): (usize, usize),
    stride: usize,
    (to, to_stride): (&mut [f32], usize),
) {
    assert!(rows <= to_stride && to.len() >= cols * to_stride, "the transposed tile does not fit");
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(from.len() >= (rows - 1) * stride + cols, "the tile reaches beyond its data");
    let mut whole = (0, 0);
    #[cfg(target_arch = "x86_64")]
    {
        use super::simd::Level;
        let level = super::simd::level();
        let side = match level {
            Level::Avx512 => 16,
            Level::Avx2 => 8,
            Level::Baseline => 1,
        };
        if side > 1 {
            whole = (rows / side * side, cols / side * side);
        }
        for row in (0..whole.0).step_by(side) {
            for col in (0..whole.1).step_by(side) {
                // SAFETY: the CPU has the vectors; both squares lie inside their slices, as asserted above.
                unsafe {
                    let from = from.as_ptr().add(row * stride + col);
                    let to = to.as_mut_ptr().add(col * to_stride + row);
                    match level {
                        Level::Avx512 => {
                            x86::transpose_square(from.cast(), stride, to.cast(), to_stride);
                        }
                        _ => x86::transpose_small_square(from, stride, to, to_stride),
                    }
                }
            }
        }
    }
    for row in 0..rows {
        let done = if row < whole.0 { whole.1 } else { 0 };
        for col in done..cols {
            to[col * to_stride + row] = from[row * stride + col];
        }
    }
    if rows < to_stride {
        to.chunks_exact_mut(to_stride).take(cols).for_each(|row| row[rows..].fill(0.0));
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    /// Transposes 16 vectors of 16 numbers.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(in crate::kernels) fn transpose_vectors(r: [__m512i; 16]) -> [__m512i; 16] {
        let zero = _mm512_setzero_si512();
        let mut t = [zero; 16];
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
        }
        // Now q[4 g + c] holds, in its four 128-bit lanes L, column 4 L + c of rows 4 g to 4 g + 3.
        let mut q = [zero; 16];
        for g in 0..4 {
            q[4 * g] = _mm512_unpacklo_epi64(t[4 * g], t[4 * g + 2]);
            q[4 * g + 1] = _mm512_unpackhi_epi64(t[4 * g], t[4 * g + 2]);
            q[4 * g + 2] = _mm512_unpacklo_epi64(t[4 * g + 1], t[4 * g + 3]);
            q[4 * g + 3] = _mm512_unpackhi_epi64(t[4 * g + 1], t[4 * g + 3]);
        }
        let mut out = [zero; 16];
        for c in 0..4 {
            let even_low = _mm512_shuffle_i32x4::<0x88>(q[c], q[4 + c]);
            let odd_low = _mm512_shuffle_i32x4::<0xdd>(q[c], q[4 + c]);
            let even_high = _mm512_shuffle_i32x4::<0x88>(q[8 + c], q[12 + c]);
            let odd_high = _mm512_shuffle_i32x4::<0xdd>(q[8 + c], q[12 + c]);
            out[c] = _mm512_shuffle_i32x4::<0x88>(even_low, even_high);
            out[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even_low, even_high);
            out[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high);
            out[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high);
        }
        out
    }

    /// Transposes the 8 x 8 numbers at `from` (rows `stride` apart) into those at `to` (rows `to_stride` apart).
    ///
    /// # Safety
    /// All 8 rows must be readable at `from` and writable at `to`.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn transpose_small_square(
        from: *const f32,
        stride: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        // SAFETY: the caller vouches for 8 numbers in each of the 8 rows.
        let load = |row: usize| unsafe { _mm256_loadu_ps(from.add(row * stride)) };
        // Of rows 2 i and 2 i + 1, in each 128-bit lane L: columns 4 L, 4 L + 1 and 4 L + 2, 4 L + 3.
        let pair = |i: usize| {
            let (a, b) = (load(2 * i), load(2 * i + 1));
            (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b))
        };
        // Of rows 4 i to 4 i + 3, in each lane L: columns 4 L to 4 L + 3, one vector each.
        let four = |i: usize| {
            let ((a, c), (b, d)) = (pair(2 * i), pair(2 * i + 1));
            [
                _mm256_shuffle_ps::<0x44>(a, b),
                _mm256_shuffle_ps::<0xee>(a, b),
                _mm256_shuffle_ps::<0x44>(c, d),
                _mm256_shuffle_ps::<0xee>(c, d),
            ]
        };
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (four(0), four(1));
        let columns = [
            _mm256_permute2f128_ps::<0x20>(a0, b0),
            _mm256_permute2f128_ps::<0x20>(a1, b1),
            _mm256_permute2f128_ps::<0x20>(a2, b2),
            _mm256_permute2f128_ps::<0x20>(a3, b3),
            _mm256_permute2f128_ps::<0x31>(a0, b0),
            _mm256_permute2f128_ps::<0x31>(a1, b1),
            _mm256_permute2f128_ps::<0x31>(a2, b2),
            _mm256_permute2f128_ps::<0x31>(a3, b3),
        ];
        for (i, column) in columns.into_iter().enumerate() {
            // SAFETY: as above, for writing.
            unsafe { _mm256_storeu_ps(to.add(i * to_stride), column) };
        }
    }

    /// Transposes the 16 x 16 numbers at `from` (rows `stride` apart) into those at `to` (rows `to_stride` apart).
    ///
    /// # Safety
    /// All 16 rows must be readable at `from` and writable at `to`.
    #[target_feature(enable = "avx512f")]
    pub(in crate::kernels) unsafe fn transpose_square(
        from: *const i32,
        stride: usize,
        to: *mut i32,
        to_stride: usize,
    ) {
        let mut rows = [_mm512_setzero_si512(); 16];
        for (i, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller vouches for 16 numbers in each of the 16 rows.
            *row = unsafe { _mm512_loadu_epi32(from.add(i * stride)) };
        }
        for (i, row) in transpose_vectors(rows).into_iter().enumerate() {
            // SAFETY: as above, for writing.
            unsafe { _mm512_storeu_epi32(to.add(i * to_stride), row) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_any_size_are_transposed_and_padded() {
        for (rows, cols, stride, to_stride) in
            [(16, 16, 16, 16), (32, 64, 70, 32), (17, 33, 40, 20), (5, 3, 3, 16), (31, 48, 48, 32)]
        {
            let from: Vec<f32> = (0..rows * stride).map(|i| i as f32).collect();
            let mut to = vec![-1.0; cols * to_stride];
            transpose_tile(&from, (rows, cols), stride, (&mut to, to_stride));
            for col in 0..cols {
                for row in 0..to_stride {
                    let wanted = if row < rows { from[row * stride + col] } else { 0.0 };
                    assert_eq!(
                        to[col * to_stride + row],
                        wanted,
                        "{rows} x {cols}, row {row}, column {col}"
                    );
                }
            }
        }
    }
}
