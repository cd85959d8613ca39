//! Launches and matrix products on the CUDA driver, through the device that candle opened.
#![expect(unsafe_code, reason = "calls into the CUDA driver and cuBLAS")]

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda::CudaDevice;
use candle_core::cuda::cudarc::cublas::{result as cublas, sys as blas};
use candle_core::cuda::cudarc::driver::{CudaFunction, result as driver, sys};
use candle_core::{Error, Result};

use super::launch::{Address, Element, Launch, Module};
use super::runtime::{Factor, Product, Runtime};

/// PTX as committed; the driver compiles it for its card when a module is first used.
fn ptx(module: Module) -> &'static str {
    match module {
        Module::Adamw => include_str!("ptx/adamw.ptx"),
        Module::AttentionPlain => include_str!("ptx/attention_plain.ptx"),
        Module::AttentionTiled => include_str!("ptx/attention_tiled.ptx"),
        Module::CrossEntropy => include_str!("ptx/cross_entropy.ptx"),
        Module::Elementwise => include_str!("ptx/elementwise.ptx"),
        Module::Muon => include_str!("ptx/muon.ptx"),
        Module::Norm => include_str!("ptx/norm.ptx"),
        Module::Rope => include_str!("ptx/rope.ptx"),
    }
}

struct Driver {
    device: CudaDevice,
    functions: Mutex<HashMap<String, Arc<CudaFunction>>>,
}

/// The runtime of a device; one is kept for each that candle has opened.
pub(super) fn runtime(device: &CudaDevice) -> Result<Arc<dyn Runtime>> {
    static KNOWN: Mutex<Vec<Arc<Driver>>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.iter().find(|known| known.device.id() == device.id()) {
        return Ok(Arc::clone(found) as Arc<dyn Runtime>);
    }
    let new = Arc::new(Driver { device: device.clone(), functions: Mutex::default() });
    known.push(Arc::clone(&new));
    Ok(new)
}

/// Drops what only several streams need, and keeps freed memory at hand: the pool would else go back to the system at
/// every wait and be mapped again.
pub(super) fn prepare(device: &CudaDevice) -> Result<()> {
    let stream = device.cuda_stream();
    let mut threshold = u64::MAX;
    // SAFETY: everything runs on the one stream of this device, in order; the attribute takes a 64-bit number.
    unsafe {
        device.disable_event_tracking();
        let pool = driver::device::get_default_mem_pool(stream.context().cu_device())
            .map_err(Error::wrap)?;
        driver::mem_pool::set_attribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            std::ptr::from_mut(&mut threshold).cast(),
        )
        .map_err(Error::wrap)
    }
}

impl Driver {
    fn function(&self, launch: &Launch) -> Result<Arc<CudaFunction>> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(&launch.kernel) {
            return Ok(Arc::clone(function));
        }
        let module = launch.module;
        let loaded = self.device.get_or_load_custom_func(
            &launch.kernel,
            &format!("diffcoder-{}", module.name()),
            ptx(module),
        )?;
        let function = Arc::new(loaded.into_cuda_function());
        functions.insert(launch.kernel.clone(), Arc::clone(&function));
        Ok(function)
    }
}

fn size(n: usize) -> Result<c_int> {
    c_int::try_from(n).map_err(Error::wrap)
}

fn data_type(element: Element) -> blas::cudaDataType {
    match element {
        Element::F32 => blas::cudaDataType::CUDA_R_32F,
        Element::Bf16 => blas::cudaDataType::CUDA_R_16BF,
    }
}

impl Runtime for Driver {
    fn launch(&self, launch: &Launch) -> Result<()> {
        let function = self.function(launch)?;
        let stream = self.device.cuda_stream();
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        let mut places: Vec<*mut c_void> = launch.arguments.iter().map(|a| a.place()).collect();
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
        // SAFETY: `plan` gives each kernel the arguments of its signature (the tests run the same launches on an
        // emulator); addresses come from live tensors, and memory that is freed later is freed on this stream.
        unsafe {
            driver::launch_kernel(
                function.cu_function(),
                (gx, gy, gz),
                (bx, by, bz),
                launch.shared_bytes,
                stream.cu_stream(),
                &mut places,
            )
        }
        .map_err(|error| Error::wrap(error).context(format!("cannot start {}", launch.kernel)))
    }

    fn multiply(&self, product: &Product) -> Result<()> {
        let Product { a, b, c, m, n, k, factors, result, accumulate } = *product;
        // cuBLAS counts in columns: it computes c^T = b^T a^T, and a row-major matrix is its own transpose there.
        let operation = |factor: Factor| {
            if factor.transposed {
                blas::cublasOperation_t::CUBLAS_OP_T
            } else {
                blas::cublasOperation_t::CUBLAS_OP_N
            }
        };
        let (b_width, a_width) =
            (if b.transposed { k } else { n }, if a.transposed { m } else { k });
        let (alpha, beta) = (1f32, if accumulate { 1f32 } else { 0f32 });
        let blas_handle = self.device.cublas_handle();
        // SAFETY: the factors and the result are tensors of these sizes (`operations` derives all from their shapes).
        unsafe {
            cublas::gemm_ex(
                *blas_handle.handle(),
                operation(b),
                operation(a),
                size(n)?,
                size(m)?,
                size(k)?,
                std::ptr::from_ref(&alpha).cast(),
                b.at as *const c_void,
                data_type(factors),
                size(b_width)?,
                a.at as *const c_void,
                data_type(factors),
                size(a_width)?,
                std::ptr::from_ref(&beta).cast(),
                c as *mut c_void,
                data_type(result),
                size(n)?,
                blas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
            )
        }
        .map_err(|error| Error::wrap(error).context(format!("cannot multiply {m} x {k} x {n}")))
    }

    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<()> {
        // SAFETY: both ranges lie inside live tensors.
        unsafe { driver::memcpy_dtod_async(to, from, bytes, self.device.cuda_stream().cu_stream()) }
            .map_err(Error::wrap)
    }

    fn zero(&self, at: Address, bytes: usize) -> Result<()> {
        // SAFETY: the range lies inside a live tensor.
        unsafe { driver::memset_d8_async(at, 0, bytes, self.device.cuda_stream().cu_stream()) }
            .map_err(Error::wrap)
    }
}
