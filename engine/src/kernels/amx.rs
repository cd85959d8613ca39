//! bf16 matrix products with f32 sums on the AMX tiles of x86-64 Linux machines.
//!
//! Both operands are rounded to bf16 and packed into tiles of 16 lines of 64 bytes. A line of a left tile is 32
//! consecutive numbers of one row; a line of a right tile is 16 columns of two consecutive rows, interleaved. The inner
//! loop multiplies two left tiles by two right tiles, so every loaded tile is used twice.
#![expect(
    unsafe_code,
    reason = "tile instructions, vector loads and the kernel's permission need it"
)]

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::element::Element;
use super::matmul::{Beta, MatMut, MatRef};
use super::scratch::Scratch;
use super::transpose::x86::transpose_vectors;

/// Rows of a left tile, columns of a right tile, and both of a result tile.
const SIDE: usize = 16;
/// Numbers of the inner dimension in one tile.
const DEPTH: usize = 32;
/// bf16 numbers of a tile.
const TILE: usize = SIDE * DEPTH;
/// Rows and columns that one inner loop computes: two tiles each way.
const PANEL: usize = 2 * SIDE;
/// The inner dimension is walked in pieces of this length, so that packed rows stay in the first cache levels.
const PIECE_DEPTH: usize = 1024;
/// Packed bytes of the right-hand side that are passed over per packed left panel; half of a usual second-level cache.
const RIGHT_BYTES: usize = 1 << 20;

/// Packed bytes of the left-hand side that are made at once where its columns lie next to each other in memory.
const LEFT_BYTES: usize = 512 << 10;
/// Panels of a right-hand side that one thread packs at a time.
const SPREAD_PANELS: usize = 8;

/// Whether the CPU has AMX with bf16 and AVX-512 with bf16, and Linux lets this process use the tiles.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| cpu_has_tiles() && request_permission())
}

fn cpu_has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
        && __cpuid(0).eax >= 7
        && __cpuid_count(7, 0).edx & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
}

/// Tile registers are switched off for a process until it asks.
fn request_permission() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: this call takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    line_bytes: [u16; 16],
    lines: [u8; 16],
}

/// Turns the tile registers on for the calling thread for as long as it lives.
struct Tiles;

impl Tiles {
    fn on() -> Self {
        debug_assert!(available());
        let mut config = TileConfig {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            line_bytes: [0; 16],
            lines: [0; 16],
        };
        config.line_bytes[..8].fill(64);
        config.lines[..8].fill(SIDE as u8);
        // SAFETY: callers have checked `available`; the configuration is valid: 8 tiles of 16 lines of 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
        Self
    }

    /// Adds `depth` pairs of left tiles times `depth` pairs of right tiles to 32 x 32 numbers at `c`.
    ///
    /// # Safety
    /// `left` and `right` must point to `depth * 2 * TILE` bf16 numbers, `c` to 32 rows of 32 numbers, `stride`
    /// numbers apart, that nothing else accesses.
    unsafe fn multiply(&self, depth: usize, left: *const u16, right: *const u16, c: Block) {
        debug_assert!(depth > 0);
        let line = c.stride * size_of::<f32>();
        // SAFETY: the registers are configured as long as `self` lives; memory as the caller vouches.
        unsafe {
            let lower = c.start.add(SIDE * c.stride);
            macro_rules! inner_loop {
                ($($prepare:literal),*) => {
                    asm!(
                        $($prepare,)*
                        "2:",
                        "tileloadd tmm4, [{left} + {tile_line}]",
                        "tileloadd tmm6, [{right} + {tile_line}]",
                        "tileloadd tmm7, [{right} + {tile_line} + 1024]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloadd tmm5, [{left} + {tile_line} + 1024]",
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                        "add {left}, 2048",
                        "add {right}, 2048",
                        "dec {depth}",
                        "jnz 2b",
                        "tilestored [{upper} + {line}], tmm0",
                        "tilestored [{upper} + {line} + 64], tmm1",
                        "tilestored [{lower} + {line}], tmm2",
                        "tilestored [{lower} + {line} + 64], tmm3",
                        left = inout(reg) left => _,
                        right = inout(reg) right => _,
                        depth = inout(reg) depth => _,
                        tile_line = in(reg) 64usize,
                        upper = in(reg) c.start,
                        lower = in(reg) lower,
                        line = in(reg) line,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    )
                };
            }
            match c.beta {
                Beta::Accumulate => inner_loop!(
                    "tileloadd tmm0, [{upper} + {line}]",
                    "tileloadd tmm1, [{upper} + {line} + 64]",
                    "tileloadd tmm2, [{lower} + {line}]",
                    "tileloadd tmm3, [{lower} + {line} + 64]"
                ),
                Beta::Overwrite => {
                    inner_loop!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3")
                }
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: puts the registers into their initial state, so that the kernel need not save them.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// 32 x 32 numbers of a result.
#[derive(Clone, Copy)]
struct Block {
    start: *mut f32,
    stride: usize,
    beta: Beta,
}

/// The two orders in which a tile's numbers can be found in a matrix.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// A line is 32 consecutive inner numbers of one row of the result (left tiles).
    Inner,
    /// A line is 16 outer numbers of two consecutive inner positions, interleaved (right tiles).
    Interleaved,
}

/// Packs a matrix into pairs of tiles: for each panel of 32 outer numbers, for each 32 inner ones, two tiles. Padding is
/// zero. The walk follows the memory of the matrix, not that of the result.
fn pack<T: Element>(from: Source<'_, T>, lines: Lines, to: &mut [u16]) {
    assert_eq!(to.len(), packed_len(from.outer, from.inner));
    let (panels, steps) = (from.outer.div_ceil(PANEL), from.inner.div_ceil(DEPTH));
    let mut pack_pair = |panel: usize, step: usize| {
        let pair = &mut to[(panel * steps + step) * 2 * TILE..][..2 * TILE];
        for (side, tile) in pair.chunks_exact_mut(TILE).enumerate() {
            let at = (panel * PANEL + side * SIDE, step * DEPTH);
            // SAFETY: only reached if `available`; `tile` holds a tile.
            unsafe { pack_tile(from, at, lines, tile.as_mut_ptr()) };
        }
    };
    if from.inner_stride == 1 {
        (0..panels).for_each(|panel| (0..steps).for_each(|step| pack_pair(panel, step)));
    } else {
        (0..steps).for_each(|step| (0..panels).for_each(|panel| pack_pair(panel, step)));
    }
}

fn packed_len(outer: usize, inner: usize) -> usize {
    outer.div_ceil(PANEL) * inner.div_ceil(DEPTH) * 2 * TILE
}

#[derive(Clone, Copy)]
struct Source<'a, T = f32> {
    data: &'a [T],
    outer: usize,
    inner: usize,
    outer_stride: usize,
    inner_stride: usize,
}

impl<'a, T: Element> Source<'a, T> {
    /// The left-hand side: its rows are outer.
    fn left(a: MatRef<'a, T>) -> Self {
        let MatRef { data, rows, cols, row_stride, col_stride } = a;
        Self { data, outer: rows, inner: cols, outer_stride: row_stride, inner_stride: col_stride }
    }

    /// The right-hand side: its columns are outer.
    fn right(b: MatRef<'a, T>) -> Self {
        Self::left(b.t())
    }
}

/// Packs one tile from element (outer, inner) on.
///
/// # Safety
/// The CPU must have AVX-512 with bf16; `to` must be writable for a tile.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn pack_tile<T: Element>(
    from: Source<'_, T>,
    (outer, inner): (usize, usize),
    lines: Lines,
    to: *mut u16,
) {
    let outers = SIDE.min(from.outer.saturating_sub(outer));
    let inners = DEPTH.min(from.inner.saturating_sub(inner));
    // Numbers of a tile in one of its two orders: 16 vectors of 32 bf16.
    let (vectors, order) = if outers == 0 || inners == 0 {
        ([_mm512_setzero_si512(); SIDE], lines)
    } else if from.inner_stride == 1 {
        (inner_lines(from, (outer, outers), (inner, inners)), Lines::Inner)
    } else if from.outer_stride == 1 {
        (interleaved_lines(from, (outer, outers), (inner, inners)), Lines::Interleaved)
    } else {
        // No stride is 1: copy the numbers next to each other first. Rare, so not fast.
        let mut copy = [0f32; TILE];
        for o in 0..outers {
            for i in 0..inners {
                copy[o * DEPTH + i] = from.data
                    [(outer + o) * from.outer_stride + (inner + i) * from.inner_stride]
                    .into();
            }
        }
        let copied =
            Source { data: &copy, outer: SIDE, inner: DEPTH, outer_stride: DEPTH, inner_stride: 1 };
        (inner_lines(copied, (0, SIDE), (0, DEPTH)), Lines::Inner)
    };
    // The two orders are each other's transpose, in units of two bf16.
    let vectors = if order == lines { vectors } else { transpose_vectors(vectors) };
    for (i, vector) in vectors.into_iter().enumerate() {
        // SAFETY: 16 lines of 32 numbers fill the tile at `to`.
        unsafe { _mm512_storeu_epi16(to.add(i * DEPTH).cast(), vector) };
    }
}

/// 16 lines of 32 consecutive inner numbers, zero outside the given (start, count) ranges.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn inner_lines<T: Element>(
    from: Source<'_, T>,
    (outer, outers): (usize, usize),
    (inner, inners): (usize, usize),
) -> [__m512i; SIDE] {
    let mut lines = [_mm512_setzero_si512(); SIDE];
    for (o, line) in lines.iter_mut().enumerate().take(outers) {
        let numbers = &from.data[(outer + o) * from.outer_stride + inner..][..inners];
        *line = rounded(numbers, numbers.get(SIDE..).unwrap_or(&[]));
    }
    lines
}

/// 16 lines of 16 outer numbers of two inner positions, interleaved, zero outside the given (start, count) ranges.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn interleaved_lines<T: Element>(
    from: Source<'_, T>,
    (outer, outers): (usize, usize),
    (inner, inners): (usize, usize),
) -> [__m512i; SIDE] {
    let zip = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0,
    );
    let mut lines = [_mm512_setzero_si512(); SIDE];
    for (pair, line) in lines.iter_mut().enumerate().take(inners.div_ceil(2)) {
        let at = |i: usize| &from.data[(inner + i) * from.inner_stride + outer..][..outers];
        let even = at(2 * pair);
        let odd = if 2 * pair + 1 < inners { at(2 * pair + 1) } else { &[] };
        for i in [2 * pair, 2 * pair + 1] {
            // The walk goes on along these rows; they are too many for the CPU to foresee it.
            let ahead = (inner + i) * from.inner_stride + outer + 2 * PANEL;
            _mm_prefetch::<_MM_HINT_T0>(from.data.as_ptr().wrapping_add(ahead).cast());
        }
        *line = _mm512_permutexvar_epi16(zip, rounded(even, odd));
    }
    lines
}

/// Up to 16 numbers and up to 16 more as bf16, zero where there are none.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn rounded<T: Element>(low: &[T], high: &[T]) -> __m512i {
    let mask = |count: usize| if count >= SIDE { u16::MAX } else { (1 << count) - 1 };
    let (low_mask, high_mask) = (mask(low.len()), mask(high.len()));
    // SAFETY: only the numbers under the masks are read, and the slices have that many; they are bf16 or else f32 as
    // `T` says, and the vector types are plain numbers of the same size.
    unsafe {
        if T::IS_BF16 {
            let low = _mm256_maskz_loadu_epi16(low_mask, low.as_ptr().cast());
            let high = _mm256_maskz_loadu_epi16(high_mask, high.as_ptr().cast());
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        } else {
            let low = _mm512_maskz_loadu_ps(low_mask, low.as_ptr().cast());
            let high = _mm512_maskz_loadu_ps(high_mask, high.as_ptr().cast());
            // To the nearest, ties to even.
            std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
        }
    }
}

/// A right-hand side (k, n), packed once for several products.
pub(super) struct PackedRhs {
    /// For each piece of the inner dimension all panels of columns.
    tiles: Scratch<u16>,
    inner: usize,
    cols: usize,
}

impl PackedRhs {
    /// Packs `b`, over the threads that `spread` says.
    pub(super) fn pack<T: Element>(b: MatRef<'_, T>, spread: Spread) -> Self {
        let (inner, cols) = (b.rows, b.cols);
        let mut tiles = Scratch::<u16>::new(packed_len(cols, inner));
        let whole_piece = packed_len(cols, PIECE_DEPTH);
        for (piece, tiles) in tiles.chunks_mut(whole_piece.max(1)).enumerate() {
            let first = piece * PIECE_DEPTH;
            let depth = PIECE_DEPTH.min(inner - first);
            let panel = packed_len(PANEL, depth);
            let b = b.row_range(first, depth);
            match spread {
                Spread::Serial => pack(Source::right(b), Lines::Interleaved, tiles),
                Spread::Threads => {
                    tiles.par_chunks_mut(SPREAD_PANELS * panel).enumerate().for_each(
                        |(index, to)| {
                            let at = index * SPREAD_PANELS * PANEL;
                            let part = b.col_range(at, (SPREAD_PANELS * PANEL).min(cols - at));
                            pack(Source::right(part), Lines::Interleaved, to);
                        },
                    );
                }
            }
        }
        Self { tiles, inner, cols }
    }

    /// `c = a b` or `c += a b` on the calling thread.
    pub(super) fn multiply<T: Element>(&self, a: MatRef<'_, T>, mut c: MatMut<'_>, beta: Beta) {
        assert_eq!(a.cols, self.inner, "the inner dimensions must agree");
        assert_eq!((a.rows, self.cols), (c.rows, c.cols), "the result must be m x n");
        if self.inner == 0 {
            if beta == Beta::Overwrite {
                c.data
                    .chunks_mut(c.row_stride)
                    .take(c.rows)
                    .for_each(|row| row[..c.cols].fill(0.0));
            }
            return;
        }
        let tiles = Tiles::on();
        let deepest = packed_len(PANEL, PIECE_DEPTH.min(self.inner));
        // A transposed left-hand side is read across all its panels, or else every line of memory would be fetched
        // for a few numbers.
        let left_panels =
            if a.col_stride == 1 { 1 } else { (LEFT_BYTES / size_of::<u16>() / deepest).max(1) };
        let left_rows = left_panels * PANEL;
        let mut left = Scratch::<u16>::new(deepest * left_panels.min(a.rows.div_ceil(PANEL)));
        let whole_piece = packed_len(self.cols, PIECE_DEPTH);
        for (piece, right) in self.tiles.chunks(whole_piece.max(1)).enumerate() {
            let first = piece * PIECE_DEPTH;
            let depth = PIECE_DEPTH.min(self.inner - first);
            let beta = if piece == 0 { beta } else { Beta::Accumulate };
            let a = a.col_range(first, depth);
            let panel = packed_len(PANEL, depth);
            let group = (RIGHT_BYTES / (panel * size_of::<u16>())).max(1);
            for (group_index, right) in right.chunks(group * panel).enumerate() {
                for row in (0..a.rows).step_by(left_rows) {
                    let rows = a.row_range(row, left_rows.min(a.rows - row));
                    let left = &mut left[..packed_len(rows.rows, depth)];
                    pack(Source::left(rows), Lines::Inner, left);
                    for (left_index, left) in left.chunks_exact(panel).enumerate() {
                        for (index, right) in right.chunks_exact(panel).enumerate() {
                            let at =
                                (row + left_index * PANEL, (group_index * group + index) * PANEL);
                            multiply_panels(&tiles, (left, right), &mut c, at, beta);
                        }
                    }
                }
            }
        }
    }
}

/// Whether work is spread over the pool.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    Serial,
    Threads,
}

/// One left panel times one right panel into `c` at (row, col), cut at the edges of `c`.
fn multiply_panels(
    tiles: &Tiles,
    (left, right): (&[u16], &[u16]),
    c: &mut MatMut<'_>,
    (row, col): (usize, usize),
    beta: Beta,
) {
    let depth = left.len() / (2 * TILE);
    assert!(left.len() == right.len() && depth > 0);
    let (rows, cols) = (PANEL.min(c.rows - row), PANEL.min(c.cols - col));
    let start = row * c.row_stride + col;
    if rows == PANEL && cols == PANEL {
        let result = &mut c.data[start..][..(PANEL - 1) * c.row_stride + PANEL];
        let block = Block { start: result.as_mut_ptr(), stride: c.row_stride, beta };
        // SAFETY: the panels hold `depth` pairs of tiles; `result` spans 32 rows of 32 numbers, borrowed exclusively.
        unsafe { tiles.multiply(depth, left.as_ptr(), right.as_ptr(), block) };
        return;
    }
    let mut result = [0f32; PANEL * PANEL];
    let block = Block { start: result.as_mut_ptr(), stride: PANEL, beta: Beta::Overwrite };
    // SAFETY: as above, into a buffer of 32 rows of 32 numbers.
    unsafe { tiles.multiply(depth, left.as_ptr(), right.as_ptr(), block) };
    for (i, result) in result.chunks_exact(PANEL).enumerate().take(rows) {
        let to = &mut c.data[start + i * c.row_stride..][..cols];
        match beta {
            Beta::Overwrite => to.copy_from_slice(&result[..cols]),
            Beta::Accumulate => to.iter_mut().zip(result).for_each(|(to, x)| *to += x),
        }
    }
}

/// `c = a b` or `c += a b` on the calling thread.
pub(super) fn multiply<A: Element, B: Element>(
    a: MatRef<'_, A>,
    b: MatRef<'_, B>,
    c: MatMut<'_>,
    beta: Beta,
) {
    PackedRhs::pack(b, Spread::Serial).multiply(a, c, beta);
}
