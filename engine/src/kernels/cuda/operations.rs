//! Operations on tensors of a CUDA device (bf16 or f32), forward and backward apart, without candle's autodiff.
//!
//! Sums into gradients of parameters are f32 and added to; everything else is written anew in the type of its operands.
//! Nothing here waits for the device.
#![cfg_attr(feature = "cuda", expect(unsafe_code, reason = "device memory is not cleared first"))]

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Device, Result, Shape, Storage, Tensor, bail};

use super::launch::{Address, DeviceAttentionShape, Element, Launch};
use super::plan::{self, Heads};
use super::runtime::{Factor, Product, runtime_of};
use crate::kernels::matmul::Beta;
use crate::kernels::rope::RopeTable;

/// Logits held at once by the head, as f32.
const HEAD_LOGITS: usize = 128 * 1024 * 1024;

/// Storage type of a tensor.
pub fn element(tensor: &Tensor) -> Result<Element> {
    match tensor.dtype() {
        DType::F32 => Ok(Element::F32),
        DType::BF16 => Ok(Element::Bf16),
        other => bail!("a tensor of the device operations is f32 or bf16, not {other:?}"),
    }
}

/// Where a contiguous tensor lies. The address is good while the tensor lives.
pub fn address(tensor: &Tensor) -> Result<Address> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, _end)) = layout.contiguous_offsets() else {
        bail!("a device operation needs contiguous arguments")
    };
    let base = match &*storage {
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => {
            use candle_core::cuda::CudaStorageSlice;
            use candle_core::cuda::cudarc::driver::DevicePtr as _;
            let stream = storage.device.cuda_stream();
            match &storage.slice {
                CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
                CudaStorageSlice::BF16(slice) => slice.device_ptr(&stream).0,
                CudaStorageSlice::U32(slice) => slice.device_ptr(&stream).0,
                CudaStorageSlice::F64(slice) => slice.device_ptr(&stream).0,
                _ => bail!("a device operation takes no tensor of this type"),
            }
        }
        Storage::Cpu(CpuStorage::F32(values)) => values.as_ptr() as Address,
        Storage::Cpu(CpuStorage::BF16(values)) => values.as_ptr() as Address,
        Storage::Cpu(CpuStorage::U32(values)) => values.as_ptr() as Address,
        Storage::Cpu(CpuStorage::F64(values)) => values.as_ptr() as Address,
        _ => bail!("a device operation takes no tensor of this type"),
    };
    Ok(base + (start * tensor.dtype().size_in_bytes()) as Address)
}

/// A tensor whose values are still to be written.
pub fn unfilled(shape: impl Into<Shape>, element: Element, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    let count = shape.elem_count();
    let storage = match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            use candle_core::cuda::CudaStorage;
            // SAFETY: the caller writes every element before anything reads it.
            let storage = unsafe {
                match element {
                    Element::F32 => {
                        CudaStorage::wrap_cuda_slice(device.alloc::<f32>(count)?, device.clone())
                    }
                    Element::Bf16 => CudaStorage::wrap_cuda_slice(
                        device.alloc::<half::bf16>(count)?,
                        device.clone(),
                    ),
                }
            };
            Storage::Cuda(storage)
        }
        _ => Storage::Cpu(match element {
            Element::F32 => CpuStorage::F32(vec![f32::NAN; count]),
            Element::Bf16 => CpuStorage::BF16(vec![half::bf16::NAN; count]),
        }),
    };
    Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
}

fn like(tensor: &Tensor) -> Result<Tensor> {
    unfilled(tensor.shape().clone(), element(tensor)?, tensor.device())
}

fn run(device: &Device, launches: &[Launch]) -> Result<()> {
    let runtime = runtime_of(device)?;
    launches.iter().try_for_each(|launch| runtime.launch(launch))
}

fn optional(tensor: Option<&Tensor>) -> Result<Address> {
    tensor.map_or(Ok(0), address)
}

/// Fills a tensor with zeros.
pub fn zero(tensor: &Tensor) -> Result<()> {
    let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
    runtime_of(tensor.device())?.zero(address(tensor)?, bytes)
}

/// A copy with storage of its own.
pub fn duplicate(tensor: &Tensor) -> Result<Tensor> {
    let copy = like(tensor)?;
    let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
    runtime_of(tensor.device())?.copy(address(&copy)?, address(tensor)?, bytes)?;
    Ok(copy)
}

/// Overwrites rows `first..` of `to` by `rows`. rows: (R, D), to: (S, D).
pub fn copy_rows(rows: &Tensor, to: &Tensor, first: usize) -> Result<()> {
    let ((n, width), (all, _)) = (rows.dims2()?, to.dims2()?);
    if first + n > all || rows.dtype() != to.dtype() {
        bail!("{n} rows do not fit behind row {first} of {all}")
    }
    let size = to.dtype().size_in_bytes();
    let at = address(to)? + (first * width * size) as Address;
    runtime_of(to.device())?.copy(at, address(rows)?, n * width * size)
}

/// Uploads ids, positions or targets.
pub fn upload(ids: &[u32], device: &Device) -> Result<Tensor> {
    Tensor::from_slice(ids, ids.len(), device)
}

/// `to += from`, same shape and type.
pub fn add_into(to: &Tensor, from: &Tensor) -> Result<()> {
    if to.elem_count() != from.elem_count() || to.dtype() != from.dtype() {
        bail!("a gradient of another shape or type is added")
    }
    let (at, other) = (address(to)?, address(from)?);
    run(to.device(), &[plan::add(element(to)?, to.elem_count(), [at, other, at])])
}

/// Rows of a matrix. table: (V, D), ids: (R) u32 below V -> (R, D).
pub fn gather_rows(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let ((_, width), rows) = (table.dims2()?, ids.elem_count());
    let out = unfilled((rows, width), element(table)?, table.device())?;
    let at = [address(table)?, address(ids)?, address(&out)?];
    run(table.device(), &[plan::gather_rows(element(table)?, (rows, width), at)])?;
    Ok(out)
}

/// `dtable[ids[r]] += grad[r]`. grad: (R, D), ids: (R) u32, dtable: (V, D) f32.
pub fn scatter_add_rows(grad: &Tensor, ids: &Tensor, dtable: &Tensor) -> Result<()> {
    let size = grad.dims2()?;
    let at = [address(grad)?, address(ids)?, address(dtable)?];
    run(grad.device(), &[plan::scatter_add_rows(element(grad)?, size, at)])
}

/// `out[ids[r]] = x[r]` for distinct ids. x: (R, D), out: (S, D).
pub fn put_rows(x: &Tensor, ids: &Tensor, out: &Tensor) -> Result<()> {
    let at = [address(x)?, address(ids)?, address(out)?];
    run(x.device(), &[plan::put_rows(element(x)?, x.dims2()?, at)])
}

/// The gradient of choosing distinct rows `ids` of (`rows`, D): zeros elsewhere. grad: (R, D) -> (`rows`, D).
pub fn spread_rows(grad: &Tensor, ids: &Tensor, rows: usize) -> Result<Tensor> {
    let (_, width) = grad.dims2()?;
    let out = unfilled((rows, width), element(grad)?, grad.device())?;
    zero(&out)?;
    put_rows(grad, ids, &out)?;
    Ok(out)
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub enum Onto<'a> {
    /// Nothing.
    Nothing,
    /// (Out), for every row.
    Bias(&'a Tensor),
    /// (R, Out)
    Rows(&'a Tensor),
}

/// `x w^T`. x: (R, In), w: (Out, In) -> (R, Out).
pub fn linear(x: &Tensor, w: &Tensor, onto: Onto<'_>) -> Result<Tensor> {
    let ((rows, inner), (outer, _)) = (x.dims2()?, w.dims2()?);
    let kind = element(x)?;
    let out = match onto {
        Onto::Nothing => unfilled((rows, outer), kind, x.device())?,
        Onto::Rows(residual) => duplicate(residual)?,
        Onto::Bias(bias) => {
            gather_rows(&bias.reshape((1, outer))?, &upload(&vec![0; rows], x.device())?)?
        }
    };
    let beta = match onto {
        Onto::Nothing => Beta::Overwrite,
        Onto::Bias(_) | Onto::Rows(_) => Beta::Accumulate,
    };
    product(x, w, &out, (rows, inner, outer), beta)?;
    Ok(out)
}

/// `x w^T` in f32, for logits. x: (R, In), w: (Out, In) -> (R, Out) f32.
pub fn logits(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let ((rows, inner), (outer, _)) = (x.dims2()?, w.dims2()?);
    let out = unfilled((rows, outer), Element::F32, x.device())?;
    product(x, w, &out, (rows, inner, outer), Beta::Overwrite)?;
    Ok(out)
}

fn product(
    x: &Tensor,
    w: &Tensor,
    out: &Tensor,
    (m, k, n): (usize, usize, usize),
    beta: Beta,
) -> Result<()> {
    runtime_of(x.device())?.multiply(&Product {
        a: Factor { at: address(x)?, transposed: false },
        b: Factor { at: address(w)?, transposed: true },
        c: address(out)?,
        m,
        n,
        k,
        factors: element(x)?,
        result: element(out)?,
        accumulate: beta == Beta::Accumulate,
    })
}

/// The gradient of [`linear`] by x, added to `dx` if there is one. dy: (R, Out), w: (Out, In) -> (R, In).
pub fn linear_dx(dy: &Tensor, w: &Tensor, dx: Option<Tensor>) -> Result<Tensor> {
    let ((rows, outer), (_, inner)) = (dy.dims2()?, w.dims2()?);
    let accumulate = dx.is_some();
    let dx = match dx {
        Some(dx) => dx,
        None => unfilled((rows, inner), element(dy)?, dy.device())?,
    };
    runtime_of(dy.device())?.multiply(&Product {
        a: Factor { at: address(dy)?, transposed: false },
        b: Factor { at: address(w)?, transposed: false },
        c: address(&dx)?,
        m: rows,
        n: inner,
        k: outer,
        factors: element(dy)?,
        result: element(&dx)?,
        accumulate,
    })?;
    Ok(dx)
}

/// The gradient of [`linear`] by w, added to `dw`. dy: (R, Out), x: (R, In), dw: (Out, In) f32.
pub fn linear_dw(dy: &Tensor, x: &Tensor, dw: &Tensor) -> Result<()> {
    let ((rows, outer), (_, inner)) = (dy.dims2()?, x.dims2()?);
    runtime_of(dy.device())?.multiply(&Product {
        a: Factor { at: address(dy)?, transposed: true },
        b: Factor { at: address(x)?, transposed: false },
        c: address(dw)?,
        m: outer,
        n: inner,
        k: rows,
        factors: element(dy)?,
        result: element(dw)?,
        accumulate: true,
    })
}

/// The gradient of [`linear`] by its bias, added to `dbias`. dy: (R, Out), dbias: (Out) f32.
pub fn linear_dbias(dy: &Tensor, dbias: &Tensor) -> Result<()> {
    let (rows, _) = dy.dims2()?;
    let ones = Tensor::ones((rows, 1), dy.dtype(), dy.device())?;
    linear_dw(&ones, dy, dbias)
}

fn last_rows(x: &Tensor, width: usize) -> (usize, usize) {
    (x.elem_count() / width, width)
}

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimension. x: (.., D), weight: (D).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let y = like(x)?;
    let size = last_rows(x, weight.elem_count());
    let given = [address(x)?, 0, address(weight)?];
    run(x.device(), &[plan::rms_norm(element(x)?, size, eps, given, [0, address(&y)?])])?;
    Ok(y)
}

/// [`rms_norm`] of `x + other`: (the sum, its norm).
pub fn add_rms_norm(x: &Tensor, other: &Tensor, weight: &Tensor, eps: f32) -> Result<[Tensor; 2]> {
    let (sum, y) = (like(x)?, like(x)?);
    let size = last_rows(x, weight.elem_count());
    let given = [address(x)?, address(other)?, address(weight)?];
    let results = [address(&sum)?, address(&y)?];
    run(x.device(), &[plan::rms_norm(element(x)?, size, eps, given, results)])?;
    Ok([sum, y])
}

/// The gradient of [`rms_norm`] by x, plus `dx`, what reaches x on other ways. dweight: (D) f32, added to.
pub fn rms_norm_backward(
    x: &Tensor,
    (weight, eps): (&Tensor, f32),
    dy: &Tensor,
    dx: Option<&Tensor>,
    dweight: &Tensor,
) -> Result<Tensor> {
    let out = like(x)?;
    let (kind, size) = (element(x)?, last_rows(x, weight.elem_count()));
    let count = plan::rms_norm_parts(kind, size.0, size.1);
    let parts = unfilled((count as usize, size.1), Element::F32, x.device())?;
    let given = [address(x)?, address(weight)?, address(dy)?, optional(dx)?];
    let results = [address(&out)?, address(&parts)?];
    let launches = [
        plan::rms_norm_backward(kind, size, eps, given, results),
        plan::sum_parts(count, size.1, results[1], address(dweight)?),
    ];
    run(x.device(), &launches)?;
    Ok(out)
}

/// The angles of a forward's rows on their device.
#[derive(Clone, Debug)]
pub struct Angles {
    cos: Tensor,
    sin: Tensor,
    positions: Tensor,
    head_size: usize,
}

impl Angles {
    /// Uploads a table and the position of each row.
    pub fn new(table: &RopeTable, positions: &[u32], device: &Device) -> Result<Self> {
        let known = table.positions();
        if positions.iter().any(|&position| position as usize >= known) {
            bail!("a position lies outside the table of {known}")
        }
        let half = table.head_size() / 2;
        let all = |part: fn(&RopeTable, u32) -> &[f32]| {
            let values: Vec<f32> =
                (0..known as u32).flat_map(|p| part(table, p)).copied().collect();
            Tensor::from_vec(values, (known, half), device)
        };
        Ok(Self {
            cos: all(RopeTable::cos)?,
            sin: all(RopeTable::sin)?,
            positions: upload(positions, device)?,
            head_size: table.head_size(),
        })
    }

    /// Position of each row: (R) u32.
    pub fn positions(&self) -> &Tensor {
        &self.positions
    }

    fn heads(&self, x: &Tensor) -> Heads {
        let rows = self.positions.elem_count();
        Heads { rows, heads: x.elem_count() / rows.max(1) / self.head_size, size: self.head_size }
    }
}

/// Each head normed where there is a norm (weight (Dh), eps), then turned. x: (R, heads * Dh).
pub fn head_rope(x: &Tensor, norm: Option<(&Tensor, f32)>, angles: &Angles) -> Result<Tensor> {
    let y = like(x)?;
    let (weight, eps) = norm.map_or((None, 0.0), |(weight, eps)| (Some(weight), eps));
    let Angles { cos, sin, positions, .. } = angles;
    let given = [address(x)?, optional(weight)?, address(cos)?, address(sin)?, address(positions)?];
    let launch = plan::head_rope(element(x)?, angles.heads(x), eps, given, address(&y)?);
    run(x.device(), &[launch])?;
    Ok(y)
}

/// The gradient of [`head_rope`] by x. norm: weight, eps and the weight's gradient, (Dh) f32, added to.
pub fn head_rope_backward(
    x: &Tensor,
    norm: Option<(&Tensor, f32, &Tensor)>,
    angles: &Angles,
    dy: &Tensor,
) -> Result<Tensor> {
    let dx = like(x)?;
    let heads = angles.heads(x);
    let Angles { cos, sin, positions, .. } = angles;
    let (weight, eps) = norm.map_or((None, 0.0), |(weight, eps, _)| (Some(weight), eps));
    let given = [
        address(x)?,
        optional(weight)?,
        address(cos)?,
        address(sin)?,
        address(positions)?,
        address(dy)?,
    ];
    let count = plan::head_rope_parts(heads);
    let parts = match norm {
        Some(_) => Some(unfilled((count as usize, heads.size), Element::F32, x.device())?),
        None => None,
    };
    let results = [address(&dx)?, optional(parts.as_ref())?];
    run(x.device(), &[plan::head_rope_backward(element(x)?, heads, eps, given, results)])?;
    if let Some((_, _, dweight)) = norm {
        let sum = plan::sum_parts(count, heads.size, results[1], address(dweight)?);
        run(x.device(), &[sum])?;
    }
    Ok(dx)
}

/// `silu(gate) * up`, same shapes.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let y = like(gate)?;
    let at = [address(gate)?, address(up)?, address(&y)?];
    run(gate.device(), &[plan::swiglu(element(gate)?, gate.elem_count(), at)])?;
    Ok(y)
}

/// The gradients of [`swiglu`] by gate and by up.
pub fn swiglu_backward(gate: &Tensor, up: &Tensor, dy: &Tensor) -> Result<[Tensor; 2]> {
    let (dgate, dup) = (like(gate)?, like(gate)?);
    let at = [address(gate)?, address(up)?, address(dy)?, address(&dgate)?, address(&dup)?];
    run(gate.device(), &[plan::swiglu_backward(element(gate)?, gate.elem_count(), at)])?;
    Ok([dgate, dup])
}

/// Attention: (out, like q; lse, f32). `shape` says how q, k and v are read; k and v may be longer than it says.
pub fn attention(
    shape: DeviceAttentionShape,
    head_size: usize,
    [q, k, v]: [&Tensor; 3],
) -> Result<[Tensor; 2]> {
    let (kind, device) = (element(q)?, q.device());
    if head_size > plan::MOST_HEAD_SIZE {
        bail!("heads of {head_size} elements are too wide for the CUDA attention")
    }
    let rows = shape.query_heads() as usize;
    let (out, lse) = (like(q)?, unfilled(rows, Element::F32, device)?);
    let given = [address(q)?, address(k)?, address(v)?];
    let is_tiled = plan::is_tiled(kind, head_size, &given);
    let splits = if is_tiled && shape.doubled == 0 { plan::attention_splits(&shape) } else { 1 };
    let parts = match splits {
        1 => None,
        _ => {
            let part_rows = splits as usize * rows;
            let part_out = unfilled((part_rows, head_size), Element::F32, device)?;
            Some((part_out, unfilled(part_rows, Element::F32, device)?))
        }
    };
    let part_addresses = match &parts {
        Some((part_out, part_lse)) => [address(part_out)?, address(part_lse)?],
        None => [0, 0],
    };
    let results = [address(&out)?, address(&lse)?];
    run(device, &plan::attention(kind, shape, head_size, splits, given, results, part_addresses))?;
    Ok([out, lse])
}

/// The gradients of [`attention`] by q, k and v.
pub fn attention_backward(
    shape: DeviceAttentionShape,
    head_size: usize,
    [q, k, v]: [&Tensor; 3],
    [out, lse]: [&Tensor; 2],
    dout: &Tensor,
) -> Result<[Tensor; 3]> {
    let gradients = [like(q)?, like(k)?, like(v)?];
    let delta = like(lse)?;
    let given =
        [address(q)?, address(k)?, address(v)?, address(out)?, address(dout)?, address(lse)?];
    let [dq, dk, dv] = &gradients;
    let results = [address(dq)?, address(dk)?, address(dv)?];
    let kind = element(q)?;
    let launches =
        plan::attention_backward(kind, shape, head_size, given, address(&delta)?, results);
    run(q.device(), &launches)?;
    Ok(gradients)
}

/// Rows of the head that are worked on at once, for a vocabulary.
fn head_rows(vocabulary: usize) -> usize {
    (HEAD_LOGITS / vocabulary / 128 * 128).max(128)
}

fn chunks(rows: usize, at_once: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).step_by(at_once).map(move |first| (first, at_once.min(rows - first)))
}

/// Cross-entropy of each row in chunks. hidden: (R, D), w: (V, D), targets: (R) u32 -> (R) f32.
pub fn head_nll(hidden: &Tensor, w: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let ((rows, _), (vocabulary, _)) = (hidden.dims2()?, w.dims2()?);
    let nll = unfilled(rows, Element::F32, hidden.device())?;
    for (first, n) in chunks(rows, head_rows(vocabulary)) {
        let scores = logits(&hidden.narrow(0, first, n)?, w)?;
        let part = |x: &Tensor| address(&x.narrow(0, first, n)?);
        let at = [address(&scores)?, part(targets)?, part(&nll)?];
        run(hidden.device(), &[plan::row_nll((n, vocabulary), at)])?;
    }
    Ok(nll)
}

/// The gradient of [`head_nll`] by hidden; the weight's, (V, D) f32, is added to `dw`. dnll: (R) f32.
pub fn head_nll_backward(
    hidden: &Tensor,
    w: &Tensor,
    targets: &Tensor,
    dnll: &Tensor,
    dw: &Tensor,
) -> Result<Tensor> {
    let ((rows, width), (vocabulary, _)) = (hidden.dims2()?, w.dims2()?);
    let (kind, device) = (element(hidden)?, hidden.device());
    let dhidden = unfilled((rows, width), kind, device)?;
    for (first, n) in chunks(rows, head_rows(vocabulary)) {
        let x = hidden.narrow(0, first, n)?;
        let scores = logits(&x, w)?;
        let dlogits = unfilled((n, vocabulary), kind, device)?;
        let part = |x: &Tensor| address(&x.narrow(0, first, n)?);
        let at = [address(&scores)?, part(targets)?, part(dnll)?, address(&dlogits)?];
        run(device, &[plan::softmax_gradient(kind, (n, vocabulary), at)])?;
        linear_dw(&dlogits, &x, dw)?;
        runtime_of(device)?.multiply(&Product {
            a: Factor { at: address(&dlogits)?, transposed: false },
            b: Factor { at: address(w)?, transposed: false },
            c: part(&dhidden)?,
            m: n,
            n: width,
            k: vocabulary,
            factors: kind,
            result: kind,
            accumulate: false,
        })?;
    }
    Ok(dhidden)
}

/// Adds `sum nll * weights` to number 0 of `record` and `sum nll` to number 1. nll, weights: (R) f32, record: (4) f64.
pub fn add_loss(nll: &Tensor, weights: &Tensor, record: &Tensor) -> Result<()> {
    let loss = address(record)?;
    let cross_entropy = loss + 8;
    let at = [address(nll)?, address(weights)?, loss, cross_entropy];
    run(nll.device(), &[plan::weighted_sum(nll.elem_count(), at)])
}

/// All parameters in flat arrays, for [`adamw`]: f32 but `copies`, which is bf16.
#[derive(Clone, Debug)]
pub struct FlatParameters {
    /// f32 values.
    pub masters: Tensor,
    /// What the model computes with.
    pub copies: Tensor,
    /// f32 gradients.
    pub gradients: Tensor,
    /// First moments.
    pub first: Tensor,
    /// Second moments.
    pub second: Tensor,
    /// f64 scratch of the norm.
    pub parts: Tensor,
    /// f64: updates made, gradient scale, bias corrections, whether to apply.
    pub state: Tensor,
}

/// One update of all parameters; norm and verdict go to `record`, (4) f64.
pub fn adamw(
    update: plan::Update,
    lr: f64,
    parameters: &FlatParameters,
    record: &Tensor,
) -> Result<()> {
    let FlatParameters { masters, copies, gradients, first, second, parts, state } = parameters;
    let flat = plan::Flat {
        masters: address(masters)?,
        gradients: address(gradients)?,
        first: address(first)?,
        second: address(second)?,
        copies: address(copies)?,
        count: masters.elem_count(),
    };
    let scratch = [address(parts)?, address(record)?, address(state)?];
    run(masters.device(), &plan::adamw(update, lr, flat, scratch))
}

/// Rounds f32 masters into their bf16 copies.
pub fn round_to_bf16(masters: &Tensor, copies: &Tensor) -> Result<()> {
    let (from, to) = (address(masters)?, address(copies)?);
    run(masters.device(), &[plan::round_to_bf16(masters.elem_count(), from, to)])
}

/// Waits until everything started so far is done.
pub fn wait(device: &Device) -> Result<()> {
    device.synchronize()
}
