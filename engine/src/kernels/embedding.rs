//! Table lookup by row and the gradient's way back into the table.

use rayon::prelude::*;

/// Table rows of one piece of work when gradients are added.
const CHUNK_TABLE_ROWS: usize = 256;
/// Below this many numbers a copy is faster than waking threads.
const SERIAL_NUMBERS: usize = 64 * 1024;

/// `out[r] = table[ids[r]]`.
///
/// table: (V, D), ids: (R) below V, out: (R, D).
pub fn gather_rows(table: &[f32], ids: &[u32], out: &mut [f32]) {
    let Some(width) = row_width(ids, out.len()) else { return };
    let copy = |(row, &id): (&mut [f32], &u32)| {
        let at = id as usize * width;
        row.copy_from_slice(&table[at..at + width]);
    };
    if out.len() <= SERIAL_NUMBERS {
        out.chunks_exact_mut(width).zip(ids).for_each(copy);
    } else {
        out.par_chunks_exact_mut(width).zip(ids).with_min_len(64).for_each(copy);
    }
}

/// `dtable[ids[r]] += grad[r]`, in the order of the rows.
///
/// grad: (R, D), ids: (R) below V, dtable: (V, D).
pub fn scatter_add_rows(grad: &[f32], ids: &[u32], dtable: &mut [f32]) {
    let Some(width) = row_width(ids, grad.len()) else { return };
    assert!(dtable.len().is_multiple_of(width), "the table must hold whole rows");
    let rows = dtable.len() / width;
    assert!(
        ids.iter().all(|&id| (id as usize) < rows),
        "an id lies outside the table of {rows} rows"
    );
    // Each piece owns a range of the table and looks through all ids, so no two threads write to one row and every
    // row sums in the order of the ids.
    let add = |(piece, dtable): (usize, &mut [f32])| {
        let first = piece * CHUNK_TABLE_ROWS;
        for (&id, grad) in ids.iter().zip(grad.chunks_exact(width)) {
            let Some(at) = (id as usize).checked_sub(first).filter(|at| at * width < dtable.len())
            else {
                continue;
            };
            for (total, g) in dtable[at * width..][..width].iter_mut().zip(grad) {
                *total += g;
            }
        }
    };
    if grad.len() <= SERIAL_NUMBERS {
        dtable.chunks_mut(CHUNK_TABLE_ROWS * width).enumerate().for_each(add);
    } else {
        dtable.par_chunks_mut(CHUNK_TABLE_ROWS * width).enumerate().for_each(add);
    }
}

/// Numbers per row; none if there is nothing to do.
fn row_width(ids: &[u32], numbers: usize) -> Option<usize> {
    if ids.is_empty() {
        assert_eq!(numbers, 0, "there are no ids for the rows");
        return None;
    }
    assert!(numbers.is_multiple_of(ids.len()), "there must be one row per id");
    Some(numbers / ids.len()).filter(|&width| width > 0)
}
