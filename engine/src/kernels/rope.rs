//! Rotary position embedding in the half-split convention, element `i` of a head turning with element `i + Dh/2`, after
//! an optional norm of each head.

use rayon::prelude::*;

use super::matmul::Beta;
use super::norm::{Rows, norm_rows, norm_rows_backward};
use super::scratch::Scratch;
use super::simd::{multiply_add, multiversion};

/// Rows of one piece of work.
const CHUNK_ROWS: usize = 64;

/// Cosines and sines for every position and frequency, computed in f64 and kept in f32.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// (positions, Dh/2)
    cos: Vec<f32>,
    /// (positions, Dh/2)
    sin: Vec<f32>,
    half: usize,
}

impl RopeTable {
    /// The table of positions `0..positions` for heads of `head_size` (even) elements.
    pub fn new(theta: f64, head_size: usize, positions: usize) -> Self {
        assert!(
            head_size > 0 && head_size.is_multiple_of(2),
            "the head size must be even, it is {head_size}"
        );
        let half = head_size / 2;
        let frequencies: Vec<f64> =
            (0..half).map(|i| theta.powf(-((2 * i) as f64) / head_size as f64)).collect();
        let mut cos = Vec::with_capacity(positions * half);
        let mut sin = Vec::with_capacity(positions * half);
        for position in 0..positions {
            for frequency in &frequencies {
                let (s, c) = (position as f64 * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        Self { cos, sin, half }
    }

    /// Cosines of a position, (Dh/2).
    pub fn cos(&self, position: u32) -> &[f32] {
        &self.cos[position as usize * self.half..][..self.half]
    }

    /// Sines of a position, (Dh/2).
    pub fn sin(&self, position: u32) -> &[f32] {
        &self.sin[position as usize * self.half..][..self.half]
    }

    /// Elements of a head.
    pub fn head_size(&self) -> usize {
        self.half * 2
    }

    /// How many positions the table knows.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Forward,
    Backward,
}

/// Norms each head of `x` where `norm` gives the weight (Dh) and epsilon, then turns it by the position of its row.
///
/// x, y: (R, heads, Dh), positions: R.
pub fn rope(
    x: &[f32],
    norm: Option<(&[f32], f32)>,
    table: &RopeTable,
    positions: &[u32],
    y: &mut [f32],
) {
    let Some(row) = row_length(x.len(), table, positions) else { return };
    assert_eq!(x.len(), y.len(), "y must have the shape of x");
    let chunk = row * CHUNK_ROWS;
    let work = |((y, x), positions): ((&mut [f32], &[f32]), &[u32])| {
        match norm {
            Some((weight, eps)) => norm_rows(x, weight, eps, y),
            None => y.copy_from_slice(x),
        }
        turn_rows(table, Direction::Forward, positions, y);
    };
    if x.len() <= chunk {
        return work(((y, x), positions));
    }
    y.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .zip(positions.par_chunks(CHUNK_ROWS))
        .for_each(work);
}

/// The gradient of [`rope`]; `dx` is overwritten, the gradient of the norm's weight (third of `norm`) is added to.
///
/// x, dy, dx: (R, heads, Dh), positions: R.
#[expect(clippy::too_many_arguments, reason = "one slice per operand of the formula")]
pub fn rope_backward(
    x: &[f32],
    norm: Option<(&[f32], f32, &mut [f32])>,
    table: &RopeTable,
    positions: &[u32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let Some(row) = row_length(dy.len(), table, positions) else { return };
    assert_eq!(x.len(), dy.len(), "x must have the shape of dy");
    assert_eq!(dy.len(), dx.len(), "dx must have the shape of dy");
    let chunk = row * CHUNK_ROWS;
    let Some((weight, eps, dweight)) = norm else {
        dx.par_chunks_mut(chunk)
            .zip(dy.par_chunks(chunk))
            .zip(positions.par_chunks(CHUNK_ROWS))
            .for_each(|((dx, dy), positions)| {
                dx.copy_from_slice(dy);
                turn_rows(table, Direction::Backward, positions, dx);
            });
        return;
    };
    assert_eq!(weight.len(), dweight.len(), "dweight must have the shape of the weight");
    let width = weight.len();
    let mut partial = Scratch::<f32>::zeroed(x.len().div_ceil(chunk) * width);
    partial
        .par_chunks_mut(width)
        .zip(dx.par_chunks_mut(chunk).zip(positions.par_chunks(CHUNK_ROWS)))
        .zip(x.par_chunks(chunk).zip(dy.par_chunks(chunk)))
        .for_each(|((partial, (dx, positions)), (x, dy))| {
            let mut turned = Scratch::<f32>::new(dy.len());
            turned.copy_from_slice(dy);
            turn_rows(table, Direction::Backward, positions, &mut turned);
            norm_rows_backward(Rows { x, dy: &turned, weight, eps }, dx, Beta::Overwrite, partial);
        });
    for partial in partial.chunks_exact(width) {
        dweight.iter_mut().zip(partial).for_each(|(total, part)| *total += part);
    }
}

/// Numbers of a row; none without rows.
fn row_length(len: usize, table: &RopeTable, positions: &[u32]) -> Option<usize> {
    let known = table.positions();
    assert!(
        positions.iter().all(|&p| (p as usize) < known),
        "a position lies outside the table of {known}"
    );
    if positions.is_empty() {
        assert_eq!(len, 0, "x must hold one row of heads per position");
        return None;
    }
    let row = len / positions.len();
    assert!(
        len.is_multiple_of(positions.len()) && row.is_multiple_of(table.head_size()),
        "x must hold one row of heads per position"
    );
    (row > 0).then_some(row)
}

multiversion! {
    fn turn_rows(table: &RopeTable, direction: Direction, positions: &[u32], x: &mut [f32]) {
        let half = table.half;
        let sign = match direction {
            Direction::Forward => 1.0,
            Direction::Backward => -1.0,
        };
        let row = x.len() / positions.len().max(1);
        for (x, &position) in x.chunks_exact_mut(row).zip(positions) {
            let at = position as usize * half;
            let (cos, sin) = (&table.cos[at..at + half], &table.sin[at..at + half]);
            for x in x.chunks_exact_mut(half * 2) {
                let (low, high) = x.split_at_mut(half);
                for i in 0..half {
                    let (a, b, s) = (low[i], high[i], sin[i] * sign);
                    low[i] = multiply_add::<FMA>(a, cos[i], -(b * s));
                    high[i] = multiply_add::<FMA>(b, cos[i], a * s);
                }
            }
        }
    }
}
