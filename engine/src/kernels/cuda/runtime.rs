//! Where launches run: the CUDA driver, or an emulator that a test has set up for tensors on the CPU.

use std::sync::{Arc, OnceLock};

use candle_core::{Device, Result, bail};

use super::launch::{Address, Element, Launch};

/// A matrix in row-major order, read as it lies or transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    /// Its first element.
    pub at: Address,
    /// Whether the product reads its transpose.
    pub transposed: bool,
}

/// `c = a b` or `c += a b` for row-major matrices. a: (m, k), b: (k, n) after transposition, c: (m, n).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Left factor.
    pub a: Factor,
    /// Right factor.
    pub b: Factor,
    /// Result.
    pub c: Address,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Terms of each sum, which is f32.
    pub k: usize,
    /// Type of both factors.
    pub factors: Element,
    /// Type of the result.
    pub result: Element,
    /// Whether the result is added to.
    pub accumulate: bool,
}

/// Runs work on a device's memory, in the order of the calls.
pub trait Runtime: Send + Sync {
    /// Starts a kernel.
    fn launch(&self, launch: &Launch) -> Result<()>;
    /// Starts a matrix product.
    fn multiply(&self, product: &Product) -> Result<()>;
    /// Copies bytes inside the device's memory.
    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<()>;
    /// Fills bytes with zeros.
    fn zero(&self, at: Address, bytes: usize) -> Result<()>;
}

static EMULATOR: OnceLock<Arc<dyn Runtime>> = OnceLock::new();

/// Lets tensors on the CPU stand for tensors on a CUDA device, for the whole process: tests only. The first call counts.
pub fn emulate_with(runtime: Arc<dyn Runtime>) {
    EMULATOR.get_or_init(|| runtime);
}

/// Sets a device up for work on one stream: to be called once, before tensors are made on it.
pub fn prepare(device: &Device) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::driver::prepare(device),
        _ => Ok(()),
    }
}

/// The runtime of a device's tensors.
pub fn runtime_of(device: &Device) -> Result<Arc<dyn Runtime>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::driver::runtime(device),
        Device::Cpu => match EMULATOR.get() {
            Some(runtime) => Ok(Arc::clone(runtime)),
            None => bail!("the device operations need tensors on a CUDA device"),
        },
        _ => bail!("the device operations need a CUDA device"),
    }
}
