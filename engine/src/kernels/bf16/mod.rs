//! bf16 matrix products with f32 sums on x86-64 Linux machines: on AMX tiles where the CPU has them, else with AVX-512.
//!
//! Both operands are rounded to bf16 and packed into tiles of 16 lines of 64 bytes. A line of a left tile is 32
//! consecutive numbers of one row; a line of a right tile is 16 columns of two consecutive rows, interleaved. The inner
//! loop multiplies two left tiles by two right tiles.
#![expect(unsafe_code, reason = "the inner loops take pointers")]

mod amx;
mod avx512;
mod pack;

use rayon::prelude::*;

use self::amx::Tiles;
use self::pack::{Lines, PANEL, Source, TILE, pack, packed_len};
use super::element::Element;
use super::matmul::{Beta, MatMut, MatRef};
use super::scratch::Scratch;

/// The inner dimension is walked in pieces of this length, so that packed rows stay in the first cache levels.
const PIECE_DEPTH: usize = 1024;
/// Packed bytes of the right-hand side that are passed over per packed left panel; half of a usual second-level cache.
const RIGHT_BYTES: usize = 1 << 20;
/// Packed bytes of the left-hand side that are made at once where its columns lie next to each other in memory.
const LEFT_BYTES: usize = 512 << 10;
/// Panels of a right-hand side that one thread packs at a time.
const SPREAD_PANELS: usize = 8;

/// Whether the CPU has AVX-512 with bf16, which packing needs whatever multiplies.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
}

/// What multiplies packed panels.
enum Unit {
    /// AMX.
    Tiles(Tiles),
    /// AVX-512.
    Vectors,
}

impl Unit {
    /// The fastest one of this machine, made ready for the calling thread.
    fn best() -> Self {
        debug_assert!(available());
        if amx::available() { Self::Tiles(Tiles::on()) } else { Self::Vectors }
    }

    /// Adds `depth` pairs of left tiles times `depth` pairs of right tiles to 32 x 32 numbers at `c`.
    ///
    /// # Safety
    /// The unit must be one that this machine has. `left` and `right` must point to `depth * 2 * TILE` bf16 numbers, `c`
    /// to 32 rows of 32 numbers, `stride` numbers apart, that nothing else accesses.
    unsafe fn multiply(&self, depth: usize, left: *const u16, right: *const u16, c: Block) {
        match self {
            // SAFETY: as the caller vouches.
            Self::Tiles(tiles) => unsafe { tiles.multiply(depth, left, right, c) },
            // SAFETY: as the caller vouches.
            Self::Vectors => unsafe { avx512::multiply(depth, left, right, c) },
        }
    }
}

/// 32 x 32 numbers of a result.
#[derive(Clone, Copy)]
struct Block {
    start: *mut f32,
    stride: usize,
    beta: Beta,
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
        Self::pack_into(Scratch::new(packed_len(b.cols, b.rows)), b, spread)
    }

    /// The same for as long as a weight lives.
    pub(super) fn pack_to_keep<T: Element>(b: MatRef<'_, T>, spread: Spread) -> Self {
        Self::pack_into(Scratch::to_keep(packed_len(b.cols, b.rows)), b, spread)
    }

    fn pack_into<T: Element>(mut tiles: Scratch<u16>, b: MatRef<'_, T>, spread: Spread) -> Self {
        let (inner, cols) = (b.rows, b.cols);
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
        let unit = Unit::best();
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
                            multiply_panels(&unit, (left, right), &mut c, at, beta);
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
    unit: &Unit,
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
        // SAFETY: the unit is this machine's; the panels hold `depth` pairs of tiles; `result` spans 32 rows of 32 numbers, borrowed exclusively.
        unsafe { unit.multiply(depth, left.as_ptr(), right.as_ptr(), block) };
        return;
    }
    let mut result = [0f32; PANEL * PANEL];
    let block = Block { start: result.as_mut_ptr(), stride: PANEL, beta: Beta::Overwrite };
    // SAFETY: as above, into a buffer of 32 rows of 32 numbers.
    unsafe { unit.multiply(depth, left.as_ptr(), right.as_ptr(), block) };
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
