//! Builds the emulator once per test run and starts launches on it.
#![allow(unsafe_code, reason = "calls into the shared library that the test itself has built")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use diffcoder_engine::kernels::cuda::launch::{Address, Element, Launch};
use diffcoder_engine::kernels::cuda::runtime::{Factor, Product, Runtime};
use diffcoder_engine::kernels::matmul::{Beta, MatRef, Precision, matmul};
use half::bf16;

type Emulate =
    unsafe extern "C" fn(*const c_char, *const u32, *const u32, u32, *const *mut c_void) -> c_int;

/// The built library; it keeps its state in globals, so one launch runs at a time.
#[derive(Clone)]
pub(crate) struct Emulator(Arc<Mutex<Emulate>>);

/// The emulator, or none on a machine without a C++ compiler.
pub(crate) fn emulator() -> Option<&'static Emulator> {
    static BUILT: OnceLock<Option<Emulator>> = OnceLock::new();
    let built = BUILT.get_or_init(build);
    if built.is_none() {
        eprintln!("no C++ compiler (c++): the CUDA kernels are not tested here");
    }
    built.as_ref()
}

fn build() -> Option<Emulator> {
    Command::new("c++").arg("--version").output().ok()?;
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../engine"));
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("emulator.so");
    let output = Command::new("c++")
        .args(["-std=c++17", "-O2", "-DEMULATE", "-fPIC", "-shared", "-Wall", "-Werror"])
        .args(["-Wno-unknown-pragmas", "-fno-strict-aliasing", "-I"])
        .arg(root.join("src/kernels/cuda/source"))
        .arg("-I")
        .arg(root.join("tests/cuda_kernels"))
        .arg(root.join("tests/cuda_kernels/emulator.cpp"))
        .arg("-o")
        .arg(&library)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: the library was built above from this repository and has no constructors; its one entry point has the
    // type that emulator.cpp gives it, and it stays loaded for good.
    let entry = unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null(), "the emulator does not load");
        let entry = libc::dlsym(handle, c"emulate".as_ptr());
        assert!(!entry.is_null(), "the emulator has no entry point");
        std::mem::transmute::<*mut c_void, Emulate>(entry)
    };
    Some(Emulator(Arc::new(Mutex::new(entry))))
}

impl Emulator {
    /// Runs launches one after the other. The addresses in them must be those of live buffers of the right sizes.
    pub(crate) fn run(&self, launches: &[Launch]) {
        let entry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for launch in launches {
            assert!(
                launch.grid.iter().all(|&n| n > 0),
                "an empty grid is an error to the driver: {launch:?}"
            );
            assert!(launch.grid[1] <= 65_535 && launch.grid[2] <= 65_535, "{launch:?}");
            assert!(
                launch.block.iter().product::<u32>() <= 1024 && launch.shared_bytes <= 48 * 1024,
                "{launch:?}"
            );
            let name = CString::new(launch.kernel.as_str()).unwrap();
            let places: Vec<*mut c_void> = launch.arguments.iter().map(|a| a.place()).collect();
            // SAFETY: the kernel reads as many arguments as its launch has and touches the buffers of the test alone.
            let code = unsafe {
                entry(
                    name.as_ptr(),
                    launch.grid.as_ptr(),
                    launch.block.as_ptr(),
                    launch.shared_bytes,
                    places.as_ptr(),
                )
            };
            assert_eq!(
                code, 0,
                "{} (1: unknown, 2: its threads wait for each other)",
                launch.kernel
            );
        }
    }
}

const GUARD: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// Memory of the emulated device, aligned to 16 bytes, with guards behind it.
pub(crate) struct Buffer {
    words: Vec<u64>,
    skip: usize, // words before the first, for alignment
    bytes: usize,
}

impl Buffer {
    fn filled(bytes: usize, word: u64) -> Self {
        let n = bytes.div_ceil(8);
        let mut words = vec![word; n + 4];
        let skip = usize::from(!(words.as_ptr() as usize).is_multiple_of(16));
        words[skip + n..].fill(GUARD);
        Self { words, skip, bytes: n * 8 }
    }

    /// Not written yet: NaN everywhere.
    pub(crate) fn unwritten(element: Element, count: usize) -> Self {
        Self::filled(count * element.bytes(), u64::MAX)
    }

    /// `count` zeros of eight bytes.
    pub(crate) fn zeros(count: usize) -> Self {
        Self::filled(count * 8, 0)
    }

    /// Values in storage type.
    pub(crate) fn of(element: Element, values: &[f32]) -> Self {
        let mut buffer = Self::unwritten(element, values.len());
        match element {
            Element::F32 => buffer.view_mut::<f32>()[..values.len()].copy_from_slice(values),
            Element::Bf16 => {
                let rounded: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
                buffer.view_mut::<bf16>()[..values.len()].copy_from_slice(&rounded);
            }
        }
        buffer
    }

    /// Unsigned numbers.
    pub(crate) fn of_ids(values: &[u32]) -> Self {
        let mut buffer = Self::filled(values.len() * 4, u64::MAX);
        buffer.view_mut::<u32>()[..values.len()].copy_from_slice(values);
        buffer
    }

    pub(crate) fn view<T: Copy>(&self) -> &[T] {
        let behind = &self.words[self.skip + self.bytes / 8..];
        assert!(behind.iter().all(|&word| word == GUARD), "a kernel wrote behind its buffer");
        let start = self.words[self.skip..].as_ptr();
        // SAFETY: plain numbers of at most eight bytes inside the words.
        unsafe { std::slice::from_raw_parts(start.cast(), self.bytes / size_of::<T>()) }
    }

    fn view_mut<T: Copy>(&mut self) -> &mut [T] {
        let start = self.words[self.skip..].as_mut_ptr();
        // SAFETY: as in `view`.
        unsafe { std::slice::from_raw_parts_mut(start.cast(), self.bytes / size_of::<T>()) }
    }

    /// The first `count` values as f32.
    pub(crate) fn read(&self, element: Element, count: usize) -> Vec<f32> {
        match element {
            Element::F32 => self.view::<f32>()[..count].to_vec(),
            Element::Bf16 => self.view::<bf16>()[..count].iter().map(|v| v.to_f32()).collect(),
        }
    }

    pub(crate) fn address(&self) -> Address {
        self.words[self.skip..].as_ptr() as Address
    }
}

/// Numbers in [-1, 1) that both storage types hold exactly.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bf16::from_f32((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0).to_f32()
        })
        .collect()
}

/// `|found - expected| / |expected|` below what the storage type rounds: 2e-5 for f32 (sums in another order), 8e-3 for bf16.
#[track_caller]
pub(crate) fn assert_close(element: Element, found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let gap = norm(&mut found.iter().zip(expected).map(|(&f, &e)| f64::from(f) - f64::from(e)));
    let error = gap / norm(&mut expected.iter().map(|&e| f64::from(e))).max(1e-20);
    let tolerance = match element {
        Element::F32 => 2e-5,
        Element::Bf16 => 8e-3,
    };
    assert!(error < tolerance, "{what} ({}): relative error {error:e}", element.name());
}

/// Products in plain loops and everything else by the emulator, so that whole models run on it.
impl Runtime for Emulator {
    fn launch(&self, launch: &Launch) -> candle_core::Result<()> {
        self.run(std::slice::from_ref(launch));
        Ok(())
    }

    fn multiply(&self, product: &Product) -> candle_core::Result<()> {
        let Product { a, b, c, m, n, k, factors, result, accumulate } = *product;
        let _one_at_a_time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let load = |at: Address, index: usize, element| match element {
            // SAFETY: `operations` derives addresses and sizes from live tensors.
            Element::F32 => unsafe { *(at as *const f32).add(index) },
            // SAFETY: as above.
            Element::Bf16 => unsafe { (*(at as *const bf16).add(index)).to_f32() },
        };
        let factor = |factor: Factor, rows: usize, columns: usize| -> Vec<f32> {
            let place = |row: usize, column: usize| {
                if factor.transposed { column * rows + row } else { row * columns + column }
            };
            (0..rows * columns)
                .map(|i| load(factor.at, place(i / columns, i % columns), factors))
                .collect()
        };
        let (a, b) = (factor(a, m, k), factor(b, k, n));
        let mut sums = vec![0.0; m * n];
        matmul(
            MatRef::new(&a, m, k),
            MatRef::new(&b, k, n),
            &mut sums,
            Beta::Overwrite,
            Precision::F32,
        );
        for (index, sum) in sums.into_iter().enumerate() {
            let before = if accumulate { load(c, index, result) } else { 0.0 };
            match result {
                // SAFETY: as above; the result belongs to this call.
                Element::F32 => unsafe { *(c as *mut f32).add(index) = before + sum },
                // SAFETY: as above.
                Element::Bf16 => unsafe {
                    *(c as *mut bf16).add(index) = bf16::from_f32(before + sum);
                },
            }
        }
        Ok(())
    }

    fn copy(&self, to: Address, from: Address, bytes: usize) -> candle_core::Result<()> {
        // SAFETY: both ranges lie in live tensors and do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn zero(&self, at: Address, bytes: usize) -> candle_core::Result<()> {
        // SAFETY: the range lies in a live tensor.
        unsafe { std::ptr::write_bytes(at as *mut u8, 0, bytes) };
        Ok(())
    }
}
