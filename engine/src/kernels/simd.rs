//! Runtime choice of vector width for plain loops, and the reductions that compilers do not vectorise by themselves.

/// What the running CPU offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg(target_arch = "x86_64")]
pub(super) enum Level {
    /// 128-bit vectors without fused multiply-add.
    Baseline,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
}

/// The level of the running CPU (the standard library keeps the answer).
#[cfg(target_arch = "x86_64")]
pub(super) fn level() -> Level {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
    {
        Level::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Level::Avx2
    } else {
        Level::Baseline
    }
}

/// Compiles one function body for several vector widths and picks one at run time.
///
/// The body may use the constant `FMA`: whether a fused multiply-add is one instruction in this version.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::extra_unused_type_parameters, reason = "not every body has a multiply-add")]
            fn body<const FMA: bool>($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    body::<true>($($arg),*)
                }
                #[expect(unsafe_code, reason = "calls a function compiled for a CPU feature")]
                match $crate::kernels::simd::level() {
                    // SAFETY: the features were detected on the running CPU.
                    $crate::kernels::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: the features were detected on the running CPU.
                    $crate::kernels::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::kernels::simd::Level::Baseline => (),
                }
            }
            #[cfg(target_arch = "aarch64")]
            return body::<true>($($arg),*);
            #[cfg(not(target_arch = "aarch64"))]
            body::<false>($($arg),*)
        }
    };
}
pub(super) use multiversion;

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub(super) fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Partial sums kept apart, so that the compiler may use one vector register for them.
pub(super) const LANES: usize = 16;

/// The sum of the lanes by halves.
#[inline(always)]
pub(super) fn reduce_sum<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The dot product of two slices of one length.
#[inline(always)]
pub(super) fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_parts, a_rest) = a.as_chunks::<LANES>();
    let (b_parts, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_parts.iter().zip(b_parts) {
        for i in 0..LANES {
            lanes[i] = multiply_add::<FMA>(x[i], y[i], lanes[i]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    reduce_sum(lanes) + rest
}

/// The largest element; negative infinity for an empty slice.
#[inline(always)]
pub(super) fn maximum(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (parts, rest) = x.as_chunks::<LANES>();
    for part in parts {
        for i in 0..LANES {
            lanes[i] = if part[i] > lanes[i] { part[i] } else { lanes[i] };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}
