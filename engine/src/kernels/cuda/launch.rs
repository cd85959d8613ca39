//! What a kernel is started with: name, grid, shared memory and arguments, free of any driver.
//!
//! The functions of [`super::plan`] make these from sizes and addresses; the device runs them, and so does the emulator of
//! the tests, which has the same entry point.

use std::ffi::c_void;

/// Storage type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floats.
    F32,
    /// bfloat16; arithmetic is f32 all the same.
    Bf16,
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// As kernels name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// An address in the device's memory; 0 where a kernel takes none.
pub type Address = u64;

/// Sizes of an attention as the kernels take them.
///
/// q, out: (sequences, queries, heads, Dh), k, v: (sequences, keys, `kv_heads`, Dh), lse: (sequences, queries, heads). Query
/// `i` stands at key `query_start + i` and sees the keys up to the end of its block. Doubled: the first half of the
/// sequences is noisy, the second half their clean copies.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceAttentionShape {
    /// Sequences, of both halves together.
    pub sequences: i32,
    /// Queries of a sequence.
    pub queries: i32,
    /// Keys of a sequence.
    pub keys: i32,
    /// Position of the first query.
    pub query_start: i32,
    /// H
    pub heads: i32,
    /// Hkv
    pub kv_heads: i32,
    /// N: 1 is the causal mask, `keys` the full one.
    pub block: i32,
    /// 1 for the training attention over `[x_t ; x_0]`, else 0.
    pub doubled: i32,
    /// Of the scores.
    pub scale: f32,
}

impl DeviceAttentionShape {
    /// Rows of heads of the queries.
    pub fn query_heads(&self) -> i64 {
        i64::from(self.sequences) * i64::from(self.queries) * i64::from(self.heads)
    }
}

/// One argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// Device memory.
    Address(Address),
    /// `int`
    Int(i32),
    /// `int64_t`
    Long(i64),
    /// `float`
    Float(f32),
    /// `double`
    Double(f64),
    /// By value.
    Attention(DeviceAttentionShape),
}

impl Argument {
    /// Where the value itself lies, as drivers want it.
    pub fn place(&self) -> *mut c_void {
        match self {
            Self::Address(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Int(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Long(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Float(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Double(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Attention(value) => std::ptr::from_ref(value).cast_mut().cast(),
        }
    }
}

macro_rules! into_argument {
    ($($from:ty => $variant:ident),*) => {
        $(impl From<$from> for Argument {
            fn from(value: $from) -> Self {
                Self::$variant(value)
            }
        })*
    };
}

/// The arguments of a kernel, in its order.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => { vec![$($crate::kernels::cuda::launch::Argument::from($value)),*] };
}
pub(super) use arguments;

into_argument!(Address => Address, i32 => Int, i64 => Long, f32 => Float, f64 => Double, DeviceAttentionShape => Attention);

/// The file of a kernel; each is loaded as one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Module {
    /// `adamw.cu`
    Adamw,
    /// `attention_plain.cu`
    AttentionPlain,
    /// `attention_tiled.cu`
    AttentionTiled,
    /// `cross_entropy.cu`
    CrossEntropy,
    /// `elementwise.cu`
    Elementwise,
    /// `muon.cu`
    Muon,
    /// `norm.cu`
    Norm,
    /// `rope.cu`
    Rope,
}

impl Module {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Adamw,
        Self::AttentionPlain,
        Self::AttentionTiled,
        Self::CrossEntropy,
        Self::Elementwise,
        Self::Muon,
        Self::Norm,
        Self::Rope,
    ];

    /// Name of the source without its ending.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adamw => "adamw",
            Self::AttentionPlain => "attention_plain",
            Self::AttentionTiled => "attention_tiled",
            Self::CrossEntropy => "cross_entropy",
            Self::Elementwise => "elementwise",
            Self::Muon => "muon",
            Self::Norm => "norm",
            Self::Rope => "rope",
        }
    }
}

/// A kernel with everything it is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Its file.
    pub module: Module,
    /// Its name.
    pub kernel: String,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block in bytes, at most 48 KiB.
    pub shared_bytes: u32,
    /// In the kernel's order.
    pub arguments: Vec<Argument>,
}
