//! Matrix products of all layouts, shapes and precisions.

use diffcoder_engine::kernels::element::Element;
use diffcoder_engine::kernels::matmul::{
    Beta, MatMut, MatRef, Packed, Precision, bf16_available, matmul, matmul_serial,
};

use crate::reference::{assert_close, assert_same_on_any_pool, numbers};

const F32_TOLERANCE: f64 = 2e-6;
const BF16_TOLERANCE: f64 = 1e-5; // against operands rounded first; sums are f32
const BF16_AGAINST_F32: f64 = 1e-2;

/// Odd, tiny and ragged shapes, and some large enough to be cut into pieces each way: (m, n, k).
const SHAPES: [(usize, usize, usize); 17] = [
    (1, 1, 1),
    (1, 17, 3),
    (16, 16, 32),
    (32, 32, 64),
    (33, 31, 65),
    (5, 100, 33),
    (100, 5, 1),
    (64, 48, 7),
    (31, 1, 40),
    (45, 70, 1100),
    (700, 90, 400),
    (257, 256, 256),
    (40, 36, 13_001),
    (100, 1100, 200),
    // Few rows: in place where the weights allow it.
    (3, 37, 45),
    (8, 301, 256),
    (13, 701, 270),
];

fn round_to_bf16(x: &[f32]) -> Vec<f32> {
    x.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect()
}

fn plain(a: MatRef<'_>, b: MatRef<'_>, c: &[f32], beta: Beta) -> Vec<f64> {
    let mut result: Vec<f64> = match beta {
        Beta::Overwrite => vec![0.0; c.len()],
        Beta::Accumulate => c.iter().map(|&x| f64::from(x)).collect(),
    };
    for i in 0..a.rows {
        for l in 0..a.cols {
            let left = f64::from(a.data[i * a.row_stride + l * a.col_stride]);
            for j in 0..b.cols {
                result[i * b.cols + j] +=
                    left * f64::from(b.data[l * b.row_stride + j * b.col_stride]);
            }
        }
    }
    result
}

/// The operand stored as it is, transposed, and with gaps between rows.
fn layouts(data: &[f32], rows: usize, cols: usize) -> [(Vec<f32>, usize, bool); 3] {
    let mut transposed = vec![0.0; rows * cols];
    let gap = cols + 5;
    let mut gaps = vec![f32::NAN; rows * gap];
    for i in 0..rows {
        for j in 0..cols {
            transposed[j * rows + i] = data[i * cols + j];
            gaps[i * gap + j] = data[i * cols + j];
        }
    }
    [(data.to_vec(), cols, false), (transposed, rows, true), (gaps, gap, false)]
}

fn view(data: &[f32], rows: usize, cols: usize, (stride, transposed): (usize, bool)) -> MatRef<'_> {
    if transposed {
        MatRef::new(data, cols, rows).t()
    } else {
        MatRef::strided(data, rows, cols, stride)
    }
}

#[test]
fn products_of_all_layouts_match_plain_loops() {
    for (seed, &(m, n, k)) in SHAPES.iter().enumerate() {
        let seed = seed as u64 * 10;
        let (a, b, old) =
            (numbers(seed, m * k), numbers(seed + 1, k * n), numbers(seed + 2, m * n));
        let (a_rounded, b_rounded) = (round_to_bf16(&a), round_to_bf16(&b));
        for beta in [Beta::Overwrite, Beta::Accumulate] {
            let exact = plain(MatRef::new(&a, m, k), MatRef::new(&b, k, n), &old, beta);
            let rounded =
                plain(MatRef::new(&a_rounded, m, k), MatRef::new(&b_rounded, k, n), &old, beta);
            for (a, a_stride, a_transposed) in layouts(&a, m, k) {
                for (b, b_stride, b_transposed) in layouts(&b, k, n) {
                    let a = view(&a, m, k, (a_stride, a_transposed));
                    let b = view(&b, k, n, (b_stride, b_transposed));
                    let what = format!("{m}x{n}x{k} {beta:?} {a_transposed} {b_transposed}");
                    let mut c = old.clone();
                    matmul(a, b, &mut c, beta, Precision::F32);
                    assert_close(&c, &exact, F32_TOLERANCE, &format!("f32 {what}"));
                    let mut c = old.clone();
                    matmul(a, b, &mut c, beta, Precision::Bf16);
                    assert_close(&c, &exact, BF16_AGAINST_F32, &format!("bf16 against f32 {what}"));
                    if bf16_available() {
                        assert_close(&c, &rounded, BF16_TOLERANCE, &format!("bf16 {what}"));
                    }
                    let packed = Packed::new(b);
                    assert_eq!(packed.is_some(), bf16_available());
                    let Some(packed) = packed else { continue };
                    let mut products = [old.clone(), old.clone()];
                    products.iter_mut().for_each(|c| packed.matmul(a, c, beta));
                    assert_eq!(products[0], products[1], "a second product with it: {what}");
                    assert_close(&products[0], &rounded, BF16_TOLERANCE, &format!("kept {what}"));
                }
            }
        }
    }
}

#[test]
fn operands_that_are_bf16_already_give_the_same_products() {
    let stored = |x: &[f32]| x.iter().map(|&x| half::bf16::from_f32(x)).collect::<Vec<_>>();
    for (seed, &(m, n, k)) in SHAPES.iter().enumerate() {
        let seed = seed as u64 * 10;
        let (a, b) = (numbers(seed, m * k), numbers(seed + 1, k * n));
        let (a_rounded, b_rounded) = (round_to_bf16(&a), round_to_bf16(&b));
        let (a_stored, b_stored) = (stored(&a), stored(&b));
        for precision in [Precision::F32, Precision::Bf16] {
            for (a_transposed, b_transposed) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                fn seen<T: Element>(
                    x: &[T],
                    ((rows, cols), transposed): ((usize, usize), bool),
                ) -> MatRef<'_, T> {
                    if transposed {
                        MatRef::new(x, cols, rows).t()
                    } else {
                        MatRef::new(x, rows, cols)
                    }
                }
                let (of_a, of_b) = (((m, k), a_transposed), ((k, n), b_transposed));
                let (a32, b32) = (seen(&a_rounded, of_a), seen(&b_rounded, of_b));
                let (a16, b16) = (seen(&a_stored, of_a), seen(&b_stored, of_b));
                let mut results = [(); 4].map(|()| vec![0.5; m * n]);
                let [plain, left, right, both] = &mut results;
                matmul(a32, b32, plain, Beta::Accumulate, precision);
                matmul(a16, b32, left, Beta::Accumulate, precision);
                matmul(a32, b16, right, Beta::Accumulate, precision);
                matmul(a16, b16, both, Beta::Accumulate, precision);
                let what = format!("{m}x{n}x{k} {precision:?} {a_transposed} {b_transposed}");
                let wanted: Vec<f64> = results[0].iter().map(|&x| f64::from(x)).collect();
                for result in &results[1..] {
                    assert_close(result, &wanted, F32_TOLERANCE, &what);
                }
                if precision == Precision::Bf16 && bf16_available() {
                    assert!(results.iter().all(|result| *result == results[0]), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_serial_product_writes_only_its_own_columns() {
    let (m, n, k, stride) = (37, 41, 50, 60);
    let (a, b) = (numbers(1, m * k), numbers(2, k * n));
    for precision in [Precision::F32, Precision::Bf16] {
        let mut c = vec![7.0f32; m * stride];
        let result = MatMut { data: &mut c, rows: m, cols: n, row_stride: stride };
        matmul_serial(
            MatRef::new(&a, m, k),
            MatRef::new(&b, k, n),
            result,
            Beta::Overwrite,
            precision,
        );
        let wanted =
            plain(MatRef::new(&a, m, k), MatRef::new(&b, k, n), &vec![0.0; m * n], Beta::Overwrite);
        let inside: Vec<f32> = c.chunks(stride).flat_map(|row| row[..n].to_vec()).collect();
        assert_close(&inside, &wanted, BF16_AGAINST_F32, "inside");
        assert!(
            c.chunks(stride).all(|row| row[n..].iter().all(|&x| x == 7.0)),
            "{precision:?} wrote outside"
        );
    }
}

#[test]
fn operands_without_a_unit_stride_work() {
    let (m, n, k) = (19, 23, 37);
    let (a, b) = (numbers(3, m * k * 2), numbers(4, k * n * 3));
    let a = MatRef { data: &a, rows: m, cols: k, row_stride: 2 * k, col_stride: 2 };
    let b = MatRef { data: &b, rows: k, cols: n, row_stride: 3, col_stride: 3 * k };
    let wanted = plain(a, b, &vec![0.0; m * n], Beta::Overwrite);
    for precision in [Precision::F32, Precision::Bf16] {
        let mut c = vec![0.0; m * n];
        matmul(a, b, &mut c, Beta::Overwrite, precision);
        assert_close(&c, &wanted, BF16_AGAINST_F32, "no unit stride");
    }
}

#[test]
fn empty_products_are_zero_or_nothing() {
    for precision in [Precision::F32, Precision::Bf16] {
        let mut c = [3.0f32; 6];
        matmul(
            MatRef::<f32>::new(&[], 2, 0),
            MatRef::<f32>::new(&[], 0, 3),
            &mut c,
            Beta::Accumulate,
            precision,
        );
        assert_eq!(c, [3.0; 6]);
        matmul(
            MatRef::<f32>::new(&[], 2, 0),
            MatRef::<f32>::new(&[], 0, 3),
            &mut c,
            Beta::Overwrite,
            precision,
        );
        assert_eq!(c, [0.0; 6]);
        matmul(
            MatRef::<f32>::new(&[], 0, 4),
            MatRef::new(&[1.0; 12], 4, 3),
            &mut [],
            Beta::Overwrite,
            precision,
        );
    }
}

#[test]
fn threads_do_not_change_a_product() {
    assert_same_on_any_pool(|| {
        let mut results = vec![];
        for (m, n, k) in [(1000, 256, 256), (256, 200, 5000), (300, 1200, 128)] {
            let (a, b) = (numbers(5, m * k), numbers(6, k * n));
            for precision in [Precision::F32, Precision::Bf16] {
                let mut c = numbers(7, m * n);
                let (a, b) = (MatRef::new(&a, m, k), MatRef::new(&b, k, n));
                matmul(a, b, &mut c, Beta::Accumulate, precision);
                results.push(c);
            }
        }
        results
    });
}
