//! Matrix products of strided views: f32 through the `gemm` crate, bf16 with f32 sums on AMX or AVX-512 where the CPU has them.
#![expect(
    unsafe_code,
    reason = "the gemm crate takes pointers; views over one buffer are checked on the way"
)]

use rayon::prelude::*;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::bf16;
use super::element::Element;
use super::few_rows;
use super::scratch::Scratch;

/// How the operands of a product are rounded; sums are always f32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// Operands as they are.
    F32,
    /// Operands rounded to bf16, nearest even. The same as [`Precision::F32`] where [`bf16_available`] says no.
    Bf16,
}

/// What happens to the old content of the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beta {
    /// It is replaced (and never read).
    Overwrite,
    /// The product is added to it.
    Accumulate,
}

/// Whether [`Precision::Bf16`] has its own path on this machine.
pub fn bf16_available() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    return bf16::available();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    false
}

/// A matrix to be read: element (i, j) lies at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T = f32> {
    /// Starts at element (0, 0).
    pub data: &'a [T],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Distance between rows, in numbers.
    pub row_stride: usize,
    /// Distance between columns, in numbers.
    pub col_stride: usize,
}

impl<'a, T: Element> MatRef<'a, T> {
    /// A row-major matrix without gaps.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// A row-major matrix whose rows lie `row_stride` numbers apart.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transposed view.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// `count` rows from row `first` on.
    pub fn row_range(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.rows, "the rows lie outside the matrix");
        let start = if count == 0 { 0 } else { first * self.row_stride };
        Self { data: &self.data[start..], rows: count, ..self }
    }

    /// `count` columns from column `first` on.
    pub fn col_range(self, first: usize, count: usize) -> Self {
        self.t().row_range(first, count).t()
    }

    /// The same view of other numbers.
    fn of<U>(self, data: &'a [U]) -> MatRef<'a, U> {
        let Self { rows, cols, row_stride, col_stride, .. } = self;
        MatRef { data, rows, cols, row_stride, col_stride }
    }

    pub(super) fn check(&self) {
        if self.rows > 0 && self.cols > 0 {
            let last = (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride;
            assert!(last < self.data.len(), "the matrix reaches beyond its data");
        }
    }

    /// Hands the matrix over in f32: itself, or else a copy, row by row.
    pub(super) fn with_f32<R>(self, work: impl FnOnce(MatRef<'_>) -> R) -> R {
        let Self { rows, cols, row_stride, col_stride, .. } = self;
        if let Some(data) = T::as_f32(self.data) {
            return work(self.of(data));
        }
        let mut copy = Scratch::<f32>::new(rows * cols);
        for (i, row) in copy.chunks_exact_mut(cols.max(1)).enumerate() {
            for (j, number) in row.iter_mut().enumerate() {
                *number = self.data[i * row_stride + j * col_stride].into();
            }
        }
        work(MatRef::new(&copy, rows, cols))
    }
}

/// A row-major matrix to be written, rows `row_stride` numbers apart.
#[derive(Debug)]
pub struct MatMut<'a> {
    /// Starts at element (0, 0).
    pub data: &'a mut [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Distance between rows, in numbers; at least `cols`.
    pub row_stride: usize,
}

impl<'a> MatMut<'a> {
    /// A row-major matrix without gaps.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, row_stride: cols }
    }

    fn check(&self) {
        if self.rows > 0 && self.cols > 0 {
            assert!(self.row_stride >= self.cols, "the rows of the result overlap");
            let last = (self.rows - 1) * self.row_stride + self.cols;
            assert!(last <= self.data.len(), "the result reaches beyond its data");
        }
    }
}

/// A right-hand side made ready once, for several products with it.
pub(super) enum Rhs<'a, T = f32> {
    Plain(MatRef<'a, T>),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Packed(bf16::PackedRhs),
}

/// How a right-hand side of this size is packed.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn spread_of<T>(b: &MatRef<'_, T>) -> bf16::Spread {
    match b.rows * b.cols > PIECE_PACKED {
        true => bf16::Spread::Threads,
        false => bf16::Spread::Serial,
    }
}

impl<'a, T: Element> Rhs<'a, T> {
    /// Packs `b` for `precision`, on the threads of the pool if it is big.
    pub(super) fn new(b: MatRef<'a, T>, precision: Precision) -> Self {
        b.check();
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if precision == Precision::Bf16 && bf16::available() {
            return Self::Packed(bf16::PackedRhs::pack(b, spread_of(&b)));
        }
        let _ = precision;
        Self::Plain(b)
    }

    /// The product with `a`, on the calling thread.
    pub(super) fn multiply<A: Element>(&self, a: MatRef<'_, A>, c: MatMut<'_>, beta: Beta) {
        a.check();
        c.check();
        match self {
            Self::Plain(b) => gemm_serial(a, *b, c, beta),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Packed(b) => b.multiply(a, c, beta),
        }
    }
}

/// A right-hand side that was rounded to bf16 and packed once, for all products with it that follow.
pub struct Packed {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    rhs: bf16::PackedRhs,
    rows: usize,
    cols: usize,
}

impl Packed {
    /// Packs `b`; `None` where products in bf16 have no path of their own ([`bf16_available`]).
    pub fn new(b: MatRef<'_>) -> Option<Self> {
        b.check();
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if bf16::available() {
            let rhs = bf16::PackedRhs::pack_to_keep(b, spread_of(&b));
            return Some(Self { rhs, rows: b.rows, cols: b.cols });
        }
        None
    }

    /// C = A B, or C += A B, over the threads of the pool: [`matmul`] in bf16 without what it does to B first.
    ///
    /// a: (m, k), B: (k, n), c: (m, n) row-major.
    pub fn matmul<A: Element>(&self, a: MatRef<'_, A>, c: &mut [f32], beta: Beta) {
        let (m, n, k) = (a.rows, self.cols, a.cols);
        assert_eq!(k, self.rows, "the inner dimensions must agree");
        assert_eq!(c.len(), m * n, "the result must hold m x n numbers");
        a.check();
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        over_rows(m, (n, k), c, |first, c| {
            self.rhs.multiply(a.row_range(first, c.rows), c, beta);
        });
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        let _ = beta;
    }
}

/// Hands pieces of the rows of a result (m, n) with an inner dimension of k to `work`, over the threads of the pool; `work`
/// gets a piece's first row and the piece.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn over_rows(
    m: usize,
    (n, k): (usize, usize),
    c: &mut [f32],
    work: impl Fn(usize, MatMut<'_>) + Sync,
) {
    let pieces = (m * n * k / PIECE_WORK).clamp(1, MAX_PIECES);
    if pieces == 1 || m * n == 0 {
        return work(0, MatMut::new(c, m, n));
    }
    let rows = m.div_ceil(pieces).next_multiple_of(PIECE_ROWS);
    c.par_chunks_mut(rows * n).enumerate().for_each(|(piece, c)| {
        let count = c.len() / n;
        work(piece * rows, MatMut::new(c, count, n));
    });
}

/// Multiply-adds of one piece of work: about 0.1 ms in f32.
const PIECE_WORK: usize = 8 << 20;
/// At most this many pieces: more threads than this find no work, and each piece prepares its operands anew.
const MAX_PIECES: usize = 32;
/// Rows of the result in one piece are a multiple of this, so that only the last piece has ragged tiles.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const PIECE_ROWS: usize = 32;

/// Above this many numbers a right-hand side is packed by all threads.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const PIECE_PACKED: usize = 256 * 1024;

/// C = A B, or C += A B, over the threads of the pool.
///
/// a: (m, k), b: (k, n), c: (m, n) row-major.
pub fn matmul<A: Element, B: Element>(
    a: MatRef<'_, A>,
    b: MatRef<'_, B>,
    c: &mut [f32],
    beta: Beta,
    precision: Precision,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "the inner dimensions must agree");
    assert_eq!(c.len(), m * n, "the result must hold m x n numbers");
    if precision == Precision::F32
        && few_rows::suits(&a, &b)
        && let (Some(a_data), Some(b_data)) = (A::as_f32(a.data), B::as_f32(b.data))
    {
        a.check();
        b.check();
        let weights = few_rows::Weights::of(b.of(b_data));
        return few_rows::few_rows(a.of(a_data), (weights, n), c, beta);
    }
    let pieces = (m * n * k / PIECE_WORK).clamp(1, MAX_PIECES);
    if pieces == 1 || m * n == 0 {
        return matmul_serial(a, b, MatMut::new(c, m, n), beta, precision);
    }
    // A gradient of weights sums over very many rows into a small result: cut the sum, not the result, so that
    // each operand is read once.
    if k >= 4 * m.max(n) {
        return split_sum(a, b, c, beta, precision);
    }
    match Rhs::new(b, precision) {
        // Every piece of rows would copy all of B into panels; gemm's own threads share them, with the same sums.
        Rhs::Plain(b) => {
            a.check();
            gemm_over(a, b, MatMut::new(c, m, n), beta, gemm::Parallelism::Rayon(0));
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Rhs::Packed(rhs) => over_rows(m, (n, k), c, |first, c| {
            rhs.multiply(a.row_range(first, c.rows), c, beta);
        }),
    }
}

/// The same product with the inner dimension cut into pieces, whose results are added in order.
fn split_sum<A: Element, B: Element>(
    a: MatRef<'_, A>,
    b: MatRef<'_, B>,
    c: &mut [f32],
    beta: Beta,
    precision: Precision,
) {
    const MAX_PARTIALS: usize = 8;
    let (m, n, k) = (a.rows, b.cols, a.cols);
    let partials = (m * n * k / PIECE_WORK).clamp(1, MAX_PARTIALS);
    let depth = k.div_ceil(partials).next_multiple_of(64);
    let partials = k.div_ceil(depth);
    let mut partial = Scratch::<f32>::new(partials * m * n);
    partial.par_chunks_mut(m * n).enumerate().for_each(|(piece, partial)| {
        let first = piece * depth;
        let count = depth.min(k - first);
        let (a, b) = (a.col_range(first, count), b.row_range(first, count));
        matmul_serial(a, b, MatMut::new(partial, m, n), Beta::Overwrite, precision);
    });
    const SUM_CHUNK: usize = 16 * 1024;
    c.par_chunks_mut(SUM_CHUNK).enumerate().for_each(|(chunk, c)| {
        let at = chunk * SUM_CHUNK;
        for (piece, partial) in partial.chunks_exact(m * n).enumerate() {
            let partial = &partial[at..at + c.len()];
            if piece == 0 && beta == Beta::Overwrite {
                c.copy_from_slice(partial);
            } else {
                c.iter_mut().zip(partial).for_each(|(c, p)| *c += p);
            }
        }
    });
}

/// C = A B, or C += A B, on the calling thread; for use inside parallel loops.
///
/// a: (m, k), b: (k, n), c: (m, n).
pub fn matmul_serial<A: Element, B: Element>(
    a: MatRef<'_, A>,
    b: MatRef<'_, B>,
    c: MatMut<'_>,
    beta: Beta,
    precision: Precision,
) {
    assert_eq!(a.cols, b.rows, "the inner dimensions must agree");
    assert_eq!((a.rows, b.cols), (c.rows, c.cols), "the result must be m x n");
    a.check();
    b.check();
    c.check();
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if precision == Precision::Bf16 && bf16::available() {
        return bf16::multiply(a, b, c, beta);
    }
    let _ = precision;
    gemm_serial(a, b, c, beta);
}

fn gemm_serial<A: Element, B: Element>(
    a: MatRef<'_, A>,
    b: MatRef<'_, B>,
    c: MatMut<'_>,
    beta: Beta,
) {
    gemm_over(a, b, c, beta, gemm::Parallelism::None);
}

fn gemm_over<A: Element, B: Element>(
    a: MatRef<'_, A>,
    b: MatRef<'_, B>,
    c: MatMut<'_>,
    beta: Beta,
    threads: gemm::Parallelism,
) {
    a.with_f32(|a| {
        b.with_f32(|b| gemm_f32(a, b, c, beta, threads));
    });
}

fn gemm_f32(a: MatRef<'_>, b: MatRef<'_>, c: MatMut<'_>, beta: Beta, threads: gemm::Parallelism) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "the inner dimensions must agree");
    assert_eq!((m, n), (c.rows, c.cols), "the result must be m x n");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if beta == Beta::Overwrite {
            c.data.chunks_mut(c.row_stride).take(m).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    // SAFETY: `check` has shown that every element of the three views lies inside its slice, the slice of `c` is
    // borrowed exclusively, and its rows do not overlap.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.data.as_mut_ptr(),
            1,
            c.row_stride as isize,
            beta == Beta::Accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}
