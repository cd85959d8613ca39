//! Times the CPU kernels at the sizes of a small model: `cargo bench -p diffcoder-engine --bench kernels`.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::hint::black_box;
use std::time::Instant;

use diffcoder_engine::kernels::adamw::{AdamwStep, adamw_update};
use diffcoder_engine::kernels::attention::{
    AttentionForward, AttentionShape, attention, attention_backward,
};
use diffcoder_engine::kernels::cached_attention::{CachedShape, Seen, cached_attention};
use diffcoder_engine::kernels::cross_entropy::{head_nll, head_nll_backward};
use diffcoder_engine::kernels::doubled::{
    DoubledOutGrad, DoubledOutMut, DoubledQkv, DoubledQkvMut, OutGrad, OutMut, Qkv, QkvMut,
    doubled_attention, doubled_attention_backward,
};
use diffcoder_engine::kernels::matmul::{
    Beta, MatMut, MatRef, Packed, Precision, bf16_available, matmul, matmul_serial,
};
use diffcoder_engine::kernels::norm::{rms_norm, rms_norm_backward};
use diffcoder_engine::kernels::quantized::Quantized;
use diffcoder_engine::kernels::rope::{RopeTable, rope};
use diffcoder_engine::kernels::swiglu::{swiglu, swiglu_backward};
use diffcoder_engine::model::mask::SequenceMask;

const RUNS: usize = 9;
const ROWS: usize = 4096;
const WIDTH: usize = 256;

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) % 2001) as f32 * 1e-3 - 1.0).collect()
}

/// Median seconds of each piece of work; the pieces take turns, so that a busy machine slows all of them alike.
fn medians<const N: usize>(mut work: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    for run in 0..=RUNS {
        for (work, times) in std::iter::zip(&mut work, &mut times) {
            let start = Instant::now();
            work();
            if run > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[RUNS / 2]
    })
}

fn products() {
    println!("{:<34} {:>10} {:>10} {:>7}", "matmul (m x n x k)", "F32 GF/s", "Bf16 GF/s", "ratio");
    for (name, out, inner) in [
        ("256x256", 256, 256),
        ("768x256", 768, 256),
        ("256x768", 256, 768),
        ("head 4096x256", 4096, 256),
    ] {
        let (x, w, dy) = (numbers(ROWS * inner), numbers(out * inner), numbers(ROWS * out));
        let x = MatRef::new(&x, ROWS, inner);
        let w = MatRef::new(&w, out, inner);
        let dy = MatRef::new(&dy, ROWS, out);
        for (what, a, b, beta) in [
            ("forward", x, w.t(), Beta::Overwrite),
            ("dx", dy, w, Beta::Overwrite),
            ("dW", dy.t(), x, Beta::Accumulate),
        ] {
            let (mut plain, mut rounded) = (numbers(a.rows * b.cols), numbers(a.rows * b.cols));
            let [f32_time, bf16_time] = medians([
                &mut || matmul(a, b, black_box(&mut plain), beta, Precision::F32),
                &mut || matmul(a, b, black_box(&mut rounded), beta, Precision::Bf16),
            ]);
            let work = 2e-9 * (ROWS * out * inner) as f64;
            let (slow, fast) = (work / f32_time, work / bf16_time);
            println!(
                "{:<34} {slow:>10.0} {fast:>10.0} {:>7.2}",
                format!("{name} {what}"),
                fast / slow
            );
        }
    }
}

/// Products of a layer, (outputs, inputs).
const LAYER: [(usize, usize); 7] =
    [(256, 256), (128, 256), (128, 256), (256, 256), (768, 256), (768, 256), (256, 768)];

/// All products of six layers over a part of a prompt, in bf16.
fn kept_weights() {
    let weights: Vec<_> =
        (0..6).flat_map(|_| LAYER).map(|(out, inner)| (numbers(out * inner), out, inner)).collect();
    let weights: Vec<_> =
        weights.iter().map(|(weight, out, inner)| MatRef::new(weight, *out, *inner).t()).collect();
    let Some(kept) = weights.iter().map(|&weight| Packed::new(weight)).collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let (x, mut anew, mut at_once) =
        (numbers(1024 * 768), numbers(1024 * 768), numbers(1024 * 768));
    for rows in [128, 256, 1024] {
        let input = |inner: usize| MatRef::new(&x[..rows * inner], rows, inner);
        report(
            &format!("{rows} rows, packed anew and kept"),
            medians([
                &mut || {
                    for &weight in &weights {
                        let c = black_box(&mut anew[..rows * weight.cols]);
                        matmul(input(weight.rows), weight, c, Beta::Overwrite, Precision::Bf16);
                    }
                },
                &mut || {
                    for (weight, kept) in weights.iter().zip(&kept) {
                        let c = black_box(&mut at_once[..rows * weight.cols]);
                        kept.matmul(input(weight.rows), c, Beta::Overwrite);
                    }
                },
            ]),
        );
    }
}

/// All products of a denoising step of six layers with the head, on weights that no cache of a core holds: copied into
/// panels and as [`matmul`] reads them, then next to weights in Q8_0.
fn few_rows() {
    let layers: Vec<_> = (0..6).flat_map(|_| LAYER).chain([(4096, 256)]).collect();
    let stored = |count: usize| -> Vec<f32> {
        let number =
            |i: usize| if i.is_multiple_of(32) { 127 } else { (i * 89 % 255) as i32 - 127 };
        (0..count).map(|i| number(i) as f32 / 1024.0).collect()
    };
    let weights: Vec<_> = layers.iter().map(|&(out, inner)| stored(out * inner)).collect();
    let in_q8_0 =
        |(&(out, inner), weight): (&(usize, usize), &Vec<f32>)| Quantized::new(weight, out, inner);
    let quantized: Option<Vec<_>> = layers.iter().zip(&weights).map(in_q8_0).collect();
    let x = numbers(48 * 768);
    let outputs = || vec![0f32; 48 * 4096];
    let (mut plain, mut placed) = (outputs(), outputs());
    for rows in [4, 8, 16, 24, 32, 48] {
        let operands = || {
            layers.iter().zip(&weights).map(|(&(out, inner), weight)| {
                (MatRef::new(&x[..rows * inner], rows, inner), MatRef::new(weight, out, inner).t())
            })
        };
        let [copied, in_place] = medians([
            &mut || {
                for (a, b) in operands() {
                    let c = MatMut::new(black_box(&mut plain[..rows * b.cols]), rows, b.cols);
                    matmul_serial(a, b, c, Beta::Overwrite, Precision::F32);
                }
            },
            &mut || {
                for (a, b) in operands() {
                    let c = black_box(&mut placed[..rows * b.cols]);
                    matmul(a, b, c, Beta::Overwrite, Precision::F32);
                }
            },
        ]);
        report(&format!("{rows} rows, copied and as served"), [copied, in_place]);
        let Some(quantized) = &quantized else { continue };
        let [in_place, in_q8_0] = medians([
            &mut || {
                for (a, b) in operands() {
                    let c = black_box(&mut placed[..rows * b.cols]);
                    matmul(a, b, c, Beta::Overwrite, Precision::F32);
                }
            },
            &mut || {
                for ((a, b), quantized) in operands().zip(quantized) {
                    let c = black_box(&mut plain[..rows * b.cols]);
                    quantized.multiply(a, c, Beta::Overwrite);
                }
            },
        ]);
        report(&format!("{rows} rows, f32 and Q8_0"), [in_place, in_q8_0]);
    }
}

fn report(what: &str, [plain, rounded]: [f64; 2]) {
    println!("{what:<34} {:>10.2} {:>10.2} {:>7.2}", plain * 1e3, rounded * 1e3, plain / rounded);
}

fn sequences(shape: AttentionShape) {
    let rows = shape.batch * shape.len;
    let (queries, keys) =
        (rows * shape.heads * shape.head_size, rows * shape.kv_heads * shape.head_size);
    let (q, k, v) = (&numbers(queries), &numbers(keys), &numbers(keys));
    let dout = &numbers(queries);
    let shapes =
        [Precision::F32, Precision::Bf16].map(|precision| AttentionShape { precision, ..shape });
    let mut results = [(); 2].map(|()| {
        [
            queries,
            rows * shape.heads,
            queries,
            keys,
            keys,
            queries,
            rows * shape.heads,
            queries,
            keys,
            keys,
        ]
        .map(|count| vec![0f32; count])
    });
    let size = format!("B {} T {}", shape.batch, shape.len);
    let forward = |shape, results: &mut [Vec<f32>; 10]| {
        let [out, lse, ..] = results;
        attention(shape, SequenceMask::Causal, q, k, v, out, lse);
    };
    let backward = |shape, results: &mut [Vec<f32>; 10]| {
        let [out, lse, dq, dk, dv, ..] = results;
        let forward = AttentionForward { q, k, v, out, lse };
        attention_backward(shape, SequenceMask::Causal, forward, dout, dq, dk, dv);
    };
    let half = Qkv { q, k, v };
    let input = DoubledQkv { noisy: half, clean: half };
    let doubled = |shape, results: &mut [Vec<f32>; 10]| {
        let [out, lse, _, _, _, clean_out, clean_lse, ..] = results;
        let (noisy, clean) = (OutMut { out, lse }, OutMut { out: clean_out, lse: clean_lse });
        doubled_attention(shape, 4, input, DoubledOutMut { noisy, clean });
    };
    let doubled_backward = |shape, results: &mut [Vec<f32>; 10]| {
        let [out, lse, dq, dk, dv, clean_out, clean_lse, clean_dq, clean_dk, clean_dv] = results;
        let noisy = OutGrad { out, lse, dout };
        let clean = OutGrad { out: clean_out, lse: clean_lse, dout };
        let gradients = DoubledQkvMut {
            noisy: QkvMut { dq, dk, dv },
            clean: QkvMut { dq: clean_dq, dk: clean_dk, dv: clean_dv },
        };
        doubled_attention_backward(shape, 4, input, DoubledOutGrad { noisy, clean }, gradients);
    };
    let [a, b] = &mut results;
    let times = medians([&mut || forward(shapes[0], a), &mut || forward(shapes[1], b)]);
    report(&format!("causal attention {size}"), times);
    let times = medians([&mut || backward(shapes[0], a), &mut || backward(shapes[1], b)]);
    report(&format!("causal attention backward {size}"), times);
    let times = medians([&mut || doubled(shapes[0], a), &mut || doubled(shapes[1], b)]);
    report(&format!("doubled attention {size}"), times);
    let times =
        medians([&mut || doubled_backward(shapes[0], a), &mut || doubled_backward(shapes[1], b)]);
    report(&format!("doubled attention backward {size}"), times);
}

fn head() {
    const VOCABULARY: usize = 4096;
    let (hidden, weight) = (numbers(ROWS * WIDTH), numbers(VOCABULARY * WIDTH));
    let targets: Vec<u32> = (0..ROWS as u32).collect();
    let (mut nll, dnll) = (vec![0.0; ROWS], vec![1.0; ROWS]);
    let mut other = nll.clone();
    let times = medians([
        &mut || head_nll(&hidden, &weight, &targets, Precision::F32, &mut nll),
        &mut || head_nll(&hidden, &weight, &targets, Precision::Bf16, &mut other),
    ]);
    report("head + cross-entropy, 4096 rows", times);
    let (mut dhidden, mut dweight) = (hidden.clone(), weight.clone());
    let (mut dhidden2, mut dweight2) = (hidden.clone(), weight.clone());
    let times = medians([
        &mut || {
            head_nll_backward(
                &hidden,
                &weight,
                &targets,
                &dnll,
                Precision::F32,
                &mut dhidden,
                &mut dweight,
            )
        },
        &mut || {
            head_nll_backward(
                &hidden,
                &weight,
                &targets,
                &dnll,
                Precision::Bf16,
                &mut dhidden2,
                &mut dweight2,
            )
        },
    ]);
    report("head + cross-entropy backward", times);
}

fn cache() {
    for (rows, keys) in [
        (1, 1024),
        (4, 256),
        (4, 1024),
        (8, 1024),
        (8, 2048),
        (16, 1024),
        (32, 1024),
        (64, 1024),
        (512, 1024),
    ] {
        let (q, k) = (numbers(rows * WIDTH), numbers(keys * 128));
        let seen = |row: usize| Seen::first(keys - (rows - 1 - row) / 4);
        let seen: Vec<Seen> = (0..rows).map(seen).collect();
        let shape = |precision| CachedShape { heads: 4, kv_heads: 2, head_size: 64, precision };
        let (mut out, mut other) = (q.clone(), q.clone());
        let times = medians([
            &mut || cached_attention(shape(Precision::F32), &q, &k, &k, &seen, &mut out),
            &mut || cached_attention(shape(Precision::Bf16), &q, &k, &k, &seen, &mut other),
        ]);
        let what = format!("cached attention R {rows} S {keys}");
        println!("{what:<34} {:>10.3} {:>10.3}", times[0] * 1e3, times[1] * 1e3);
    }
}

fn rowwise() {
    let (x, w) = (numbers(ROWS * WIDTH), numbers(WIDTH));
    let (mut y, mut dw) = (x.clone(), w.clone());
    let (gate, up, dy) = (numbers(ROWS * 768), numbers(ROWS * 768), numbers(ROWS * 768));
    let (mut dgate, mut dup) = (gate.clone(), up.clone());
    let table = RopeTable::new(1e6, 64, ROWS);
    let positions: Vec<u32> = (0..ROWS as u32).collect();
    let count = 4 << 20;
    let (mut p, g, mut m, mut v) =
        (numbers(count), numbers(count), vec![0.0; count], vec![0.0; count]);
    let step = AdamwStep {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        bias_correction1: 0.5,
        bias_correction2: 0.5,
        gradient_scale: 1.0,
    };
    let line = |what: &str, work: &mut dyn FnMut()| {
        let [time] = medians([work]);
        println!("{what:<34} {:>10.2}", time * 1e3);
    };
    line("rms_norm 4096 x 256", &mut || rms_norm(&x, &w, 1e-6, &mut y));
    let mut dx = x.clone();
    line("rms_norm backward", &mut || {
        rms_norm_backward(&x, &w, 1e-6, &y, (&mut dx, Beta::Overwrite), &mut dw)
    });
    line("rope 4096 x 4 x 64", &mut || rope(&x, None, &table, &positions, &mut dx));
    line("swiglu 4096 x 768", &mut || swiglu(&gate, &up, &mut dgate));
    line("swiglu backward", &mut || swiglu_backward(&gate, &up, &dy, &mut dgate, &mut dup));
    line("adamw, 4 Mi numbers", &mut || adamw_update(&mut p, &g, &mut m, &mut v, step));
}

fn main() {
    println!("bf16 path: {}, threads: {}", bf16_available(), rayon::current_num_threads());
    products();
    println!("{:<34} {:>10} {:>10} {:>7}", "denoising step", "ms first", "ms second", "ratio");
    few_rows();
    println!(
        "{:<34} {:>10} {:>10} {:>7}",
        "layers of a prefill, bf16", "ms anew", "ms kept", "ratio"
    );
    kept_weights();
    println!("{:<34} {:>10} {:>10} {:>7}", "ms", "F32", "Bf16", "ratio");
    let shape = AttentionShape {
        batch: 8,
        len: 512,
        heads: 4,
        kv_heads: 2,
        head_size: 64,
        precision: Precision::F32,
    };
    sequences(shape);
    sequences(AttentionShape { batch: 4, len: 1024, ..shape });
    head();
    cache();
    rowwise();
}
