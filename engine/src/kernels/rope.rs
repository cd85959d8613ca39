//! Rotary position embedding in the half-split convention: element `i` of a head turns with element `i + Dh/2`.

use rayon::prelude::*;

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

/// Turns every head of row `r` by the angles of `positions[r]`.
///
/// x, y: (R, heads, Dh), positions: (R), each below the table's count.
pub fn rope(x: &[f32], heads: usize, table: &RopeTable, positions: &[u32], y: &mut [f32]) {
    turn(Turn { heads, table, direction: Direction::Forward }, x, positions, y);
}

/// The gradient of [`rope`]: turns back by the same angles. `dx` is overwritten.
///
/// dy, dx: (R, heads, Dh), positions: (R).
pub fn rope_backward(
    dy: &[f32],
    heads: usize,
    table: &RopeTable,
    positions: &[u32],
    dx: &mut [f32],
) {
    turn(Turn { heads, table, direction: Direction::Backward }, dy, positions, dx);
}

#[derive(Clone, Copy)]
struct Turn<'a> {
    heads: usize,
    table: &'a RopeTable,
    direction: Direction,
}

fn turn(turn: Turn<'_>, x: &[f32], positions: &[u32], y: &mut [f32]) {
    let row = turn.heads * turn.table.head_size();
    assert_eq!(x.len(), positions.len() * row, "x must hold one row of heads per position");
    assert_eq!(x.len(), y.len(), "y must have the shape of x");
    let known = turn.table.positions();
    assert!(
        positions.iter().all(|&p| (p as usize) < known),
        "a position lies outside the table of {known}"
    );
    if positions.len() <= CHUNK_ROWS {
        return turn_rows(turn, x, positions, y);
    }
    let chunk = row * CHUNK_ROWS;
    y.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .zip(positions.par_chunks(CHUNK_ROWS))
        .for_each(|((y, x), positions)| turn_rows(turn, x, positions, y));
}

multiversion! {
    fn turn_rows(turn: Turn<'_>, x: &[f32], positions: &[u32], y: &mut [f32]) {
        let Turn { heads, table, direction } = turn;
        let half = table.half;
        let sign = match direction {
            Direction::Forward => 1.0,
            Direction::Backward => -1.0,
        };
        let row = heads * half * 2;
        for ((x, y), &position) in x.chunks_exact(row).zip(y.chunks_exact_mut(row)).zip(positions) {
            let at = position as usize * half;
            let (cos, sin) = (&table.cos[at..at + half], &table.sin[at..at + half]);
            for (x, y) in x.chunks_exact(half * 2).zip(y.chunks_exact_mut(half * 2)) {
                let (x_low, x_high) = x.split_at(half);
                let (y_low, y_high) = y.split_at_mut(half);
                for i in 0..half {
                    let s = sin[i] * sign;
                    y_low[i] = multiply_add::<FMA>(x_low[i], cos[i], -(x_high[i] * s));
                    y_high[i] = multiply_add::<FMA>(x_high[i], cos[i], x_low[i] * s);
                }
            }
        }
    }
}
