//! The gated activation `silu(gate) * up` and its gradient.

use rayon::prelude::*;

use super::element::Element;
use super::exp::exp;
use super::simd::multiversion;

/// Elements of one piece of work.
const CHUNK: usize = 8 * 1024;

/// `y = gate * sigmoid(gate) * up`, element by element; all slices have one length.
pub fn swiglu<T: Element>(gate: &[f32], up: &[f32], y: &mut [T]) {
    assert_eq!(gate.len(), up.len(), "gate and up must have one shape");
    assert_eq!(gate.len(), y.len(), "y must have the shape of gate");
    if y.len() <= CHUNK {
        return T::write(y, |y| activate(gate, up, y));
    }
    y.par_chunks_mut(CHUNK)
        .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)))
        .for_each(|(y, (gate, up))| T::write(y, |y| activate(gate, up, y)));
}

/// The gradient of [`swiglu`]; `dgate` and `dup` are overwritten.
pub fn swiglu_backward<T: Element>(
    gate: &[f32],
    up: &[f32],
    dy: &[f32],
    dgate: &mut [T],
    dup: &mut [T],
) {
    assert_eq!(gate.len(), up.len(), "gate and up must have one shape");
    assert_eq!(gate.len(), dy.len(), "dy must have the shape of gate");
    assert_eq!(gate.len(), dgate.len(), "dgate must have the shape of gate");
    assert_eq!(gate.len(), dup.len(), "dup must have the shape of up");
    let work = |gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [T], dup: &mut [T]| {
        T::write(dgate, |dgate| T::write(dup, |dup| activate_backward(gate, up, dy, dgate, dup)));
    };
    if gate.len() <= CHUNK {
        return work(gate, up, dy, dgate, dup);
    }
    dgate
        .par_chunks_mut(CHUNK)
        .zip(dup.par_chunks_mut(CHUNK))
        .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK)))
        .for_each(|((dgate, dup), ((gate, up), dy))| work(gate, up, dy, dgate, dup));
}

multiversion! {
    fn activate(gate: &[f32], up: &[f32], y: &mut [f32]) {
        for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
            *y = g / (1.0 + exp::<FMA>(-g)) * u;
        }
    }
}

multiversion! {
    fn activate_backward(gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        let n = gate.len();
        let (up, dy, dgate, dup) = (&up[..n], &dy[..n], &mut dgate[..n], &mut dup[..n]);
        for i in 0..n {
            let (g, u, d) = (gate[i], up[i], dy[i]);
            let sigmoid = 1.0 / (1.0 + exp::<FMA>(-g));
            let silu = g * sigmoid;
            dup[i] = d * silu;
            dgate[i] = d * u * (sigmoid + silu * (1.0 - sigmoid));
        }
    }
}
