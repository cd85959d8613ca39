//! Muon on a device: the update of a matrix whose momentum is made orthogonal first. Formulas and sources stand with the
//! trainer's CPU version, which this one is held against. Nothing here waits for the device.

use candle_core::{DType, Device, Result, Tensor};

use super::launch::{Address, Argument, Element, Launch, Module, arguments};
use super::operations::{FlatParameters, address};
use super::runtime::{Factor, Product, Runtime, runtime_of};

/// Threads of a block.
const THREADS: u32 = 256;
/// Blocks that sum the squares of a matrix.
const NORM_BLOCKS: u32 = 64;

/// Settings that stay the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonUpdate {
    /// Decay of the momentum.
    pub momentum: f64,
    /// Decoupled decay of the weights.
    pub weight_decay: f64,
    /// Root mean square of an update's numbers, in learning rates.
    pub rms: f64,
    /// Coefficients of the odd polynomial that drives singular values towards 1.
    pub polynomial: [f32; 3],
    /// How often it is applied.
    pub iterations: usize,
    /// Type of the products' factors.
    pub factors: Element,
}

/// Where a matrix lies in the flat arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its first element.
    pub offset: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

impl Place {
    fn count(self) -> usize {
        self.rows * self.cols
    }

    fn side(self) -> usize {
        self.rows.min(self.cols)
    }
}

/// Memory for the work on one matrix after the other, and where they lie.
#[derive(Clone, Debug)]
pub struct Matrices {
    places: Vec<Place>,
    x: Operand,
    gram: Operand,
    square: Operand,
    product: Tensor, // f32
    parts: Tensor,   // (NORM_BLOCKS) f64
}

/// f32 numbers, and the same as products read them.
#[derive(Clone, Debug)]
struct Operand {
    numbers: Tensor,
    /// bf16, where products read that.
    low: Option<Tensor>,
}

impl Operand {
    fn new(count: usize, factors: Element, device: &Device) -> Result<Self> {
        let low = match factors {
            Element::Bf16 => Some(Tensor::zeros(count, DType::BF16, device)?),
            Element::F32 => None,
        };
        Ok(Self { numbers: Tensor::zeros(count, DType::F32, device)?, low })
    }

    fn at(&self) -> Result<Address> {
        address(&self.numbers)
    }

    fn low(&self) -> Result<Address> {
        self.low.as_ref().map_or(Ok(0), address)
    }

    /// What a product reads, as it lies.
    fn factor(&self) -> Result<Factor> {
        let at = if self.low.is_some() { self.low()? } else { self.at()? };
        Ok(Factor { at, transposed: false })
    }
}

impl Matrices {
    /// Memory for these matrices.
    pub fn new(places: Vec<Place>, factors: Element, device: &Device) -> Result<Self> {
        let most = |size: fn(Place) -> usize| places.iter().copied().map(size).max().unwrap_or(0);
        let (count, square) = (most(Place::count), most(|place| place.side() * place.side()));
        Ok(Self {
            x: Operand::new(count, factors, device)?,
            gram: Operand::new(square, factors, device)?,
            square: Operand::new(square, factors, device)?,
            product: Tensor::zeros(count, DType::F32, device)?,
            parts: Tensor::zeros(NORM_BLOCKS as usize, DType::F64, device)?,
            places,
        })
    }
}

/// Updates the matrices, after [`adamw`](super::operations::adamw) has updated the other parameters and has left norm and verdict:
/// `W <- (1 - lr decay) W - lr rms sqrt(max(rows, cols)) O`.
pub fn muon(
    update: &MuonUpdate,
    lr: f64,
    parameters: &FlatParameters,
    matrices: &Matrices,
) -> Result<()> {
    let runtime = runtime_of(parameters.masters.device())?;
    let state = address(&parameters.state)?;
    let Matrices { x, parts, .. } = matrices;
    let (x_at, parts_at) = (x.at()?, address(parts)?);
    for &place in &matrices.places {
        let count = place.count() as i64;
        let float = |flat: &Tensor| {
            Ok::<_, candle_core::Error>(address(flat)? + 4 * place.offset as Address)
        };
        let (gradient, momentum) = (float(&parameters.gradients)?, float(&parameters.first)?);
        let weight = float(&parameters.masters)?;
        let copy = address(&parameters.copies)? + 2 * place.offset as Address;
        let mu = update.momentum as f32;
        runtime.launch(&over(
            "muon_look_ahead",
            place.count(),
            arguments![gradient, momentum, x_at, count, mu, state],
        ))?;
        runtime.launch(&Launch {
            module: Module::Adamw,
            grid: [NORM_BLOCKS, 1, 1],
            ..over("sum_of_squares", place.count(), arguments![x_at, count, parts_at])
        })?;
        let normalised = arguments![x_at, x.low()?, count, parts_at, NORM_BLOCKS as i32];
        runtime.launch(&over("muon_normalise", place.count(), normalised))?;
        for _ in 0..update.iterations {
            iterate(&*runtime, update, matrices, place)?;
        }
        let size = (lr * update.rms * (place.rows.max(place.cols) as f64).sqrt()) as f32;
        let keep = (1.0 - lr * update.weight_decay) as f32;
        runtime.launch(&over(
            "muon_update",
            place.count(),
            arguments![weight, x_at, copy, count, keep, size, state],
        ))?;
    }
    Ok(())
}

/// One step of Newton and Schulz: `x <- a x + (b G + c G^2) x` for a wide matrix, where `G = x x'`; a tall one is taken
/// from the other side.
fn iterate(
    runtime: &dyn Runtime,
    update: &MuonUpdate,
    matrices: &Matrices,
    place: Place,
) -> Result<()> {
    let Matrices { x, gram, square, product, .. } = matrices;
    let Place { rows, cols, .. } = place;
    let (wide, side) = (rows <= cols, place.side());
    let [a, b, c] = update.polynomial;
    let multiply = |a: Factor, b: Factor, c: Address, (m, n, k): (usize, usize, usize)| {
        let (factors, result) = (update.factors, Element::F32);
        runtime.multiply(&Product { a, b, c, m, n, k, factors, result, accumulate: false })
    };
    let squared = (side * side) as i64;
    let x_as_is = x.factor()?;
    let [left, right] = [!wide, wide].map(|transposed| Factor { transposed, ..x_as_is });
    multiply(left, right, gram.at()?, (side, side, rows.max(cols)))?;
    if let Some(low) = &gram.low {
        let round = arguments![gram.at()?, address(low)?, squared];
        runtime.launch(&Launch {
            module: Module::Elementwise,
            ..over("round_to_bf16", side * side, round)
        })?;
    }
    multiply(gram.factor()?, gram.factor()?, square.at()?, (side, side, side))?;
    let polynomial = arguments![gram.at()?, square.at()?, square.low()?, squared, b, c];
    runtime.launch(&over("muon_polynomial", side * side, polynomial))?;
    let product = address(product)?;
    match wide {
        true => multiply(square.factor()?, x_as_is, product, (rows, cols, rows))?,
        false => multiply(x_as_is, square.factor()?, product, (rows, cols, cols))?,
    }
    let combined = arguments![x.at()?, product, x.low()?, place.count() as i64, a];
    runtime.launch(&over("muon_combine", place.count(), combined))
}

/// A kernel with one thread for each of `count` numbers.
fn over(kernel: &str, count: usize, arguments: Vec<Argument>) -> Launch {
    Launch {
        module: Module::Muon,
        kernel: kernel.to_owned(),
        grid: [u32::try_from(count.div_ceil(THREADS as usize)).unwrap_or(u32::MAX), 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
        arguments,
    }
}
