//! Norms, rotation, activation, lookup and cross-entropy.

use diffcoder_engine::kernels::cuda::launch::Element::{Bf16, F32};
use diffcoder_engine::kernels::cuda::plan::{self, Heads};
use diffcoder_engine::kernels::{cross_entropy, embedding, matmul, norm, rope, swiglu};

use crate::emulator::{Buffer, assert_close, emulator, numbers};

const EPS: f32 = 1e-5;

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

#[test]
fn rms_norm_with_and_without_a_sum() {
    let Some(emulator) = emulator() else { return };
    // One warp a row, several warps a row, odd widths without packs.
    for (element, rows, width) in
        [(F32, 5, 64), (Bf16, 7, 512), (Bf16, 3, 4096), (F32, 4, 37), (Bf16, 6, 70)]
    {
        let (x, other) = (numbers(rows * width, 1), numbers(rows * width, 2));
        let (weight, dy) = (numbers(width, 3), numbers(rows * width, 4));
        let dsum = numbers(rows * width, 5);
        for add in [false, true] {
            let total = if add { sum(&x, &other) } else { x.clone() };
            let rounded = Buffer::of(element, &total).read(element, rows * width);
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let mut dweight = vec![0.5; width];
            norm::rms_norm(&rounded, &weight, EPS, &mut y);
            let gradient = (&mut dx[..], matmul::Beta::Overwrite);
            norm::rms_norm_backward(&rounded, &weight, EPS, &dy, gradient, &mut dweight);

            let on_device = [&x, &other, &weight, &dy, &dsum].map(|v| Buffer::of(element, v));
            let [x_at, other_at, weight_at, dy_at, dsum_at] =
                on_device.each_ref().map(Buffer::address);
            let results: [Buffer; 3] = std::array::from_fn(|_| Buffer::unwritten(element, x.len()));
            let [sum_at, y_at, dx_at] = results.each_ref().map(Buffer::address);
            let size = (rows, width);
            let given = if add { other_at } else { 0 };
            emulator.run(&[plan::rms_norm(
                element,
                size,
                EPS,
                [x_at, given, weight_at],
                [sum_at, y_at],
            )]);
            assert_close(element, &results[1].read(element, x.len()), &y, "rms_norm");
            let summed = if add { sum_at } else { x_at };
            if add {
                assert_eq!(results[0].read(element, x.len()), rounded);
                dx = sum(&dx, &dsum);
            }
            let count = plan::rms_norm_parts(element, rows, width);
            let parts = Buffer::unwritten(F32, count as usize * width);
            let dweight_found = Buffer::of(F32, &vec![0.5; width]);
            let pull = if add { dsum_at } else { 0 };
            emulator.run(&[
                plan::rms_norm_backward(
                    element,
                    size,
                    EPS,
                    [summed, weight_at, dy_at, pull],
                    [dx_at, parts.address()],
                ),
                plan::sum_parts(count, width, parts.address(), dweight_found.address()),
            ]);
            assert_close(element, &results[2].read(element, x.len()), &dx, "dx of rms_norm");
            assert_close(F32, &dweight_found.read(F32, width), &dweight, "dweight of rms_norm");
        }
    }
}

#[test]
fn rotation_with_and_without_head_norms() {
    let Some(emulator) = emulator() else { return };
    for (element, rows, heads, size) in
        [(F32, 5, 3, 16), (Bf16, 9, 4, 64), (Bf16, 2, 2, 128), (F32, 3, 1, 96)]
    {
        let count = rows * heads * size;
        let table = rope::RopeTable::new(10_000.0, size, 40);
        let positions: Vec<u32> = (0..rows as u32).map(|r| r * 7 % 40).collect();
        let (x, weight, dy) = (numbers(count, 1), numbers(size, 2), numbers(count, 3));
        let angles = |part: fn(&rope::RopeTable, u32) -> &[f32]| -> Vec<f32> {
            (0..40).flat_map(|p| part(&table, p).to_vec()).collect()
        };
        let (cos, sin) = (angles(rope::RopeTable::cos), angles(rope::RopeTable::sin));
        let (cos, sin) = (Buffer::of(F32, &cos), Buffer::of(F32, &sin));
        let on_device = [&x, &weight, &dy].map(|v| Buffer::of(element, v));
        let [x_at, weight_at, dy_at] = on_device.each_ref().map(Buffer::address);
        let places = Buffer::of_ids(&positions);
        for normed in [false, true] {
            let (mut y, mut dx) = (vec![0.0; count], vec![0.0; count]);
            let mut dweight = vec![0.25; size];
            let norm = normed.then_some((&weight[..], EPS));
            rope::rope(&x, norm, &table, &positions, &mut y);
            let norm = normed.then_some((&weight[..], EPS, &mut dweight[..]));
            rope::rope_backward(&x, norm, &table, &positions, &dy, &mut dx);
            let (y_found, dx_found) =
                (Buffer::unwritten(element, count), Buffer::unwritten(element, count));
            let shape = Heads { rows, heads, size };
            let weight_given = if normed { weight_at } else { 0 };
            let [cos, sin] = [cos.address(), sin.address()];
            let n_parts = plan::head_rope_parts(shape);
            let parts = Buffer::unwritten(F32, n_parts as usize * size);
            let dweight_found = Buffer::of(F32, &vec![0.25; size]);
            let given = [x_at, weight_given, cos, sin, places.address()];
            emulator.run(&[plan::head_rope(element, shape, EPS, given, y_found.address())]);
            let given = [x_at, weight_given, cos, sin, places.address(), dy_at];
            emulator.run(&[plan::head_rope_backward(
                element,
                shape,
                EPS,
                given,
                [dx_found.address(), parts.address()],
            )]);
            assert_close(element, &y_found.read(element, count), &y, "head_rope");
            assert_close(element, &dx_found.read(element, count), &dx, "dx of head_rope");
            if normed {
                emulator.run(&[plan::sum_parts(
                    n_parts,
                    size,
                    parts.address(),
                    dweight_found.address(),
                )]);
                assert_close(F32, &dweight_found.read(F32, size), &dweight, "dweight of head_rope");
            }
        }
    }
}

#[test]
fn activation_sum_lookup_and_casts() {
    let Some(emulator) = emulator() else { return };
    for (element, count) in [(F32, 999), (F32, 2048), (Bf16, 1001), (Bf16, 4096)] {
        let (gate, up, dy) = (numbers(count, 1), numbers(count, 2), numbers(count, 3));
        let (mut y, mut dgate, mut dup) = (vec![0.0; count], vec![0.0; count], vec![0.0; count]);
        swiglu::swiglu(&gate, &up, &mut y);
        swiglu::swiglu_backward(&gate, &up, &dy, &mut dgate, &mut dup);
        let on_device = [&gate, &up, &dy].map(|v| Buffer::of(element, v));
        let [gate_at, up_at, dy_at] = on_device.each_ref().map(Buffer::address);
        let found: [Buffer; 4] = std::array::from_fn(|_| Buffer::unwritten(element, count));
        let [y_at, dgate_at, dup_at, sum_at] = found.each_ref().map(Buffer::address);
        emulator.run(&[
            plan::swiglu(element, count, [gate_at, up_at, y_at]),
            plan::swiglu_backward(element, count, [gate_at, up_at, dy_at, dgate_at, dup_at]),
            plan::add(element, count, [gate_at, up_at, sum_at]),
        ]);
        let expected = [&y, &dgate, &dup, &sum(&gate, &up)];
        for (found, expected) in found.iter().zip(expected) {
            assert_close(element, &found.read(element, count), expected, "element by element");
        }
    }
    for (element, rows, width) in [(F32, 7, 12), (Bf16, 9, 64), (Bf16, 5, 30)] {
        let vocabulary = 11;
        let table = numbers(vocabulary * width, 4);
        let ids: Vec<u32> = (0..rows as u32).map(|r| r * 5 % 7).collect(); // some twice
        let mut out = vec![0.0; rows * width];
        embedding::gather_rows(&table, &ids, &mut out);
        let mut dtable = vec![1.0; table.len()];
        embedding::scatter_add_rows(&out, &ids, &mut dtable);
        let (table, ids) = (Buffer::of(element, &table), Buffer::of_ids(&ids));
        let found = Buffer::unwritten(element, rows * width);
        let dtable_found = Buffer::of(F32, &vec![1.0; vocabulary * width]);
        let distinct: Vec<u32> = (0..rows as u32).rev().collect();
        let (back, back_ids) =
            (Buffer::unwritten(element, rows * width), Buffer::of_ids(&distinct));
        let size = (rows, width);
        emulator.run(&[
            plan::gather_rows(element, size, [table.address(), ids.address(), found.address()]),
            plan::scatter_add_rows(
                element,
                size,
                [found.address(), ids.address(), dtable_found.address()],
            ),
            plan::put_rows(element, size, [found.address(), back_ids.address(), back.address()]),
        ]);
        assert_eq!(found.read(element, rows * width), out);
        assert_close(F32, &dtable_found.read(F32, dtable.len()), &dtable, "scatter_add_rows");
        let mut turned: Vec<f32> = Vec::new();
        out.chunks(width).rev().for_each(|row| turned.extend(row));
        assert_eq!(back.read(element, rows * width), turned);
    }
    let values = [1.0f32, -0.1, 2.718_3e5, 1e-30];
    let (from, to) = (Buffer::of(F32, &values), Buffer::unwritten(Bf16, 4));
    emulator.run(&[plan::round_to_bf16(4, from.address(), to.address())]);
    assert_eq!(to.read(Bf16, 4), values.map(|v| half::bf16::from_f32(v).to_f32()));
}

/// The head's products are the library's; here the rows of logits are given.
#[test]
fn cross_entropy_and_its_gradient() {
    let Some(emulator) = emulator() else { return };
    for (rows, vocabulary, width) in [(3, 300, 8), (2, 2049, 4)] {
        let (hidden, weight) = (numbers(rows * width, 1), numbers(vocabulary * width, 2));
        let targets: Vec<u32> = (0..rows).map(|r| (r * 131 % vocabulary) as u32).collect();
        let weights: Vec<f32> = (0..rows).map(|r| 0.5 + r as f32).collect();
        let precision = matmul::Precision::F32;
        let mut nll = vec![0.0; rows];
        cross_entropy::head_nll(&hidden, &weight, &targets, precision, &mut nll);
        let (mut dhidden, mut dweight) = (vec![0.0; hidden.len()], vec![0.0; weight.len()]);
        cross_entropy::head_nll_backward(
            &hidden,
            &weight,
            &targets,
            &weights,
            precision,
            &mut dhidden,
            &mut dweight,
        );
        let mut logits = vec![0.0; rows * vocabulary];
        let head = matmul::MatRef::new(&weight, vocabulary, width);
        let x = matmul::MatRef::new(&hidden, rows, width);
        matmul::matmul(x, head.t(), &mut logits, matmul::Beta::Overwrite, precision);
        let logits = Buffer::of(F32, &logits);
        let (targets, scale) = (Buffer::of_ids(&targets), Buffer::of(F32, &weights));
        let found = Buffer::unwritten(F32, rows);
        let sums = Buffer::zeros(2);
        let size = (rows, vocabulary);
        emulator.run(&[
            plan::row_nll(size, [logits.address(), targets.address(), found.address()]),
            plan::weighted_sum(
                rows,
                [found.address(), scale.address(), sums.address(), sums.address() + 8],
            ),
        ]);
        assert_close(F32, &found.read(F32, rows), &nll, "nll");
        let expected =
            [nll.iter().zip(&weights).map(|(n, w)| n * w).sum::<f32>(), nll.iter().sum::<f32>()];
        let sums: Vec<f32> = sums.view::<f64>().iter().map(|&v| v as f32).collect();
        assert_close(F32, &sums, &expected, "weighted_sum");
        for element in [F32, Bf16] {
            let dlogits = Buffer::unwritten(element, rows * vocabulary);
            let at = [logits.address(), targets.address(), scale.address(), dlogits.address()];
            emulator.run(&[plan::softmax_gradient(element, size, at)]);
            let dlogits = dlogits.read(element, rows * vocabulary);
            let mut back = vec![0.0; hidden.len()];
            let gradient = matmul::MatRef::new(&dlogits, rows, vocabulary);
            matmul::matmul(gradient, head, &mut back, matmul::Beta::Overwrite, precision);
            assert_close(element, &back, &dhidden, "softmax_gradient");
        }
    }
}
