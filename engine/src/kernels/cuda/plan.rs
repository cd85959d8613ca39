//! The launches of every operation, worked out from sizes and addresses. Shapes and meanings are those of the CPU kernels.
#![expect(clippy::too_many_arguments, reason = "one address per operand of the formula")]

use super::launch::{Address, Argument, DeviceAttentionShape, Element, Launch, Module, arguments};

/// Bytes that one thread loads at once.
const PACK_BYTES: usize = 16;
/// Threads of a block where nothing else decides.
const THREADS: u32 = 256;
/// Shared memory that a block gets without asking.
const SHARED_BYTES: usize = 48 * 1024;
/// Blocks that sum a weight's gradient; each leaves a part for [`sum_parts`].
pub const GRADIENT_BLOCKS: u32 = 528;
/// Blocks of [`sum_of_squares`].
pub const NORM_BLOCKS: u32 = 512;
/// Queries or keys that a block of the tensor-core kernels owns.
const TILE: u32 = 64;
/// Largest head of the plain attention kernels.
pub const MOST_HEAD_SIZE: usize = 256;

/// Elements that are loaded at once: 16 bytes where sizes and addresses allow, else one.
fn pack(element: Element, width: usize, addresses: &[Address]) -> usize {
    let n = PACK_BYTES / element.bytes();
    let aligned = addresses.iter().all(|address| address.is_multiple_of(PACK_BYTES as u64));
    if width.is_multiple_of(n) && aligned { n } else { 1 }
}

fn name(base: &str, element: Element, pack: usize) -> String {
    let packed = if pack > 1 { "_packed" } else { "" };
    format!("{base}_{}{packed}", element.name())
}

fn blocks(count: usize, per_block: u32) -> u32 {
    u32::try_from(count.div_ceil(per_block as usize)).unwrap_or(u32::MAX)
}

/// Threads of a row and rows of a block for rows of `width` elements in packs of `n`.
fn row_threads(width: usize, n: usize) -> (u32, u32) {
    let threads = (width.div_ceil(n).div_ceil(4).div_ceil(32) * 32).clamp(32, 256) as u32;
    (threads, (128 / threads).max(1))
}

/// `sum = x + other` (unless `other` is 0), `y = sum / sqrt(mean(sum^2) + eps) * weight`.
///
/// x, other, sum, y: (R, D), weight: (D).
pub fn rms_norm(
    element: Element,
    (rows, width): (usize, usize),
    eps: f32,
    [x, other, weight]: [Address; 3],
    [sum, y]: [Address; 2],
) -> Launch {
    let n = pack(element, width, &[x, other, weight, sum, y]);
    let (threads, rows_at_once) = row_threads(width, n);
    Launch {
        module: Module::Norm,
        kernel: name("rms_norm", element, n),
        grid: [blocks(rows, rows_at_once), 1, 1],
        block: [threads, rows_at_once, 1],
        shared_bytes: threads / 32 * rows_at_once * 4,
        arguments: arguments![x, other, weight, sum, y, rows as i32, width as i32, eps],
    }
}

/// Blocks of [`rms_norm_backward`], and so parts of the weight's gradient.
pub fn rms_norm_parts(element: Element, rows: usize, width: usize) -> u32 {
    let (_, rows_at_once) = row_threads(width, PACK_BYTES / element.bytes());
    blocks(rows, rows_at_once).min(GRADIENT_BLOCKS)
}

/// The gradient of [`rms_norm`]; `dsum` (or 0) is what reaches the sum on another way. parts: ([`rms_norm_parts`], D) f32.
pub fn rms_norm_backward(
    element: Element,
    (rows, width): (usize, usize),
    eps: f32,
    [x, weight, dy, dsum]: [Address; 4],
    [dx, parts]: [Address; 2],
) -> Launch {
    let n = pack(element, width, &[x, weight, dy, dsum, dx]);
    // The widest pack decides on the threads, so that the number of parts does not depend on alignment.
    let (threads, rows_at_once) = row_threads(width, PACK_BYTES / element.bytes());
    let floats = rows_at_once as usize * (width + threads as usize / 32);
    assert!(
        floats * 4 <= SHARED_BYTES,
        "rows of {width} are too wide for the gradient of the norm"
    );
    Launch {
        module: Module::Norm,
        kernel: name("rms_norm_backward", element, n),
        grid: [rms_norm_parts(element, rows, width), 1, 1],
        block: [threads, rows_at_once, 1],
        shared_bytes: floats as u32 * 4,
        arguments: arguments![x, weight, dy, dsum, dx, parts, rows as i32, width as i32, eps],
    }
}

/// `total += sum of the parts`, in their order. parts: (count, width) f32, total: (width) f32.
pub fn sum_parts(count: u32, width: usize, parts: Address, total: Address) -> Launch {
    Launch {
        module: Module::Norm,
        kernel: "sum_parts".to_owned(),
        grid: [blocks(width, 32), 1, 1],
        block: [32, 1, 1],
        shared_bytes: 0,
        arguments: arguments![parts, total, count as i32, width as i32],
    }
}

/// Sizes of [`head_rope`]: (R, heads, Dh).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// R
    pub rows: usize,
    /// Heads of a row.
    pub heads: usize,
    /// Dh
    pub size: usize,
}

/// Heads of a block of [`head_rope`].
const HEADS_OF_BLOCK: u32 = 8;

/// Norm of every head (unless `weight` is 0), then the rotation by the row's position.
///
/// x, y: (R, heads, Dh), weight: (Dh), cos, sin: (positions, Dh/2) f32, positions: (R) u32.
pub fn head_rope(
    element: Element,
    heads: Heads,
    eps: f32,
    [x, weight, cos, sin, positions]: [Address; 5],
    y: Address,
) -> Launch {
    let Heads { rows, heads, size } = heads;
    Launch {
        module: Module::Rope,
        kernel: name("head_rope", element, 1),
        grid: [blocks(rows * heads, HEADS_OF_BLOCK), 1, 1],
        block: [32, HEADS_OF_BLOCK, 1],
        shared_bytes: 0,
        arguments: arguments![
            x,
            weight,
            cos,
            sin,
            positions,
            y,
            rows as i32,
            heads as i32,
            size as i32,
            eps
        ],
    }
}

/// Blocks of [`head_rope_backward`], and so parts of the weight's gradient.
pub fn head_rope_parts(heads: Heads) -> u32 {
    blocks(heads.rows * heads.heads, HEADS_OF_BLOCK).min(GRADIENT_BLOCKS)
}

/// The gradient of [`head_rope`]. parts: ([`head_rope_parts`], Dh) f32, not written without a weight.
pub fn head_rope_backward(
    element: Element,
    heads: Heads,
    eps: f32,
    [x, weight, cos, sin, positions, dy]: [Address; 6],
    [dx, parts]: [Address; 2],
) -> Launch {
    let shared = if weight == 0 { 0 } else { HEADS_OF_BLOCK as usize * heads.size * 4 };
    Launch {
        module: Module::Rope,
        kernel: name("head_rope_backward", element, 1),
        grid: [head_rope_parts(heads), 1, 1],
        block: [32, HEADS_OF_BLOCK, 1],
        shared_bytes: shared as u32,
        arguments: arguments![
            x,
            weight,
            cos,
            sin,
            positions,
            dy,
            dx,
            parts,
            heads.rows as i32,
            heads.heads as i32,
            heads.size as i32,
            eps
        ],
    }
}

fn elementwise(base: &str, element: Element, count: usize, addresses: &[Address]) -> Launch {
    let n = pack(element, count, addresses);
    let packs = count / n;
    let mut arguments: Vec<Argument> = addresses.iter().map(|&a| a.into()).collect();
    arguments.push((packs as i64).into());
    Launch {
        module: Module::Elementwise,
        kernel: name(base, element, n),
        grid: [blocks(packs, THREADS), 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
        arguments,
    }
}

/// `y = silu(gate) * up`.
pub fn swiglu(element: Element, count: usize, [gate, up, y]: [Address; 3]) -> Launch {
    elementwise("swiglu", element, count, &[gate, up, y])
}

/// The gradient of [`swiglu`]; the last two addresses are its results.
pub fn swiglu_backward(
    element: Element,
    count: usize,
    [gate, up, dy, dgate, dup]: [Address; 5],
) -> Launch {
    elementwise("swiglu_backward", element, count, &[gate, up, dy, dgate, dup])
}

/// `y = a + b`.
pub fn add(element: Element, count: usize, [a, b, y]: [Address; 3]) -> Launch {
    elementwise("add", element, count, &[a, b, y])
}

fn by_rows(
    base: &str,
    element: Element,
    (rows, width): (usize, usize),
    [from, ids, to]: [Address; 3],
) -> Launch {
    let n = pack(element, width, &[from, to]);
    let packs = rows * width / n;
    Launch {
        module: Module::Elementwise,
        kernel: name(base, element, n),
        grid: [blocks(packs, THREADS), 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
        arguments: arguments![from, ids, to, packs as i64, (width / n) as i32],
    }
}

/// `out[r] = table[ids[r]]`. table: (V, D), ids: (R) u32, out: (R, D).
pub fn gather_rows(
    element: Element,
    size: (usize, usize),
    [table, ids, out]: [Address; 3],
) -> Launch {
    by_rows("gather_rows", element, size, [table, ids, out])
}

/// `out[ids[r]] = x[r]` for distinct ids. x: (R, D), ids: (R) u32.
pub fn put_rows(element: Element, size: (usize, usize), [x, ids, out]: [Address; 3]) -> Launch {
    by_rows("put_rows", element, size, [x, ids, out])
}

/// `dtable[ids[r]] += grad[r]`, in any order. grad: (R, D), ids: (R) u32, dtable: (V, D) f32.
pub fn scatter_add_rows(
    element: Element,
    (rows, width): (usize, usize),
    [grad, ids, dtable]: [Address; 3],
) -> Launch {
    Launch {
        module: Module::Elementwise,
        kernel: name("scatter_add_rows", element, 1),
        grid: [blocks(rows * width, THREADS), 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
        arguments: arguments![grad, ids, dtable, (rows * width) as i64, width as i32],
    }
}

/// `y = x` rounded to bf16. x: f32.
pub fn round_to_bf16(count: usize, x: Address, y: Address) -> Launch {
    Launch {
        module: Module::Elementwise,
        kernel: "round_to_bf16".to_owned(),
        grid: [blocks(count, THREADS), 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
        arguments: arguments![x, y, count as i64],
    }
}

fn by_logits(
    kernel: String,
    rows: usize,
    mut arguments: Vec<Argument>,
    vocabulary: usize,
) -> Launch {
    arguments.push((vocabulary as i32).into());
    Launch {
        module: Module::CrossEntropy,
        kernel,
        grid: [rows as u32, 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: THREADS / 32 * 2 * 4,
        arguments,
    }
}

/// Cross-entropy of each row. logits: (R, V) f32, targets: (R) u32, nll: (R) f32.
pub fn row_nll((rows, vocabulary): (usize, usize), [logits, targets, nll]: [Address; 3]) -> Launch {
    by_logits("row_nll".to_owned(), rows, arguments![logits, targets, nll], vocabulary)
}

/// `dlogits = dnll * (softmax - onehot)`. logits: (R, V) f32, targets, dnll: (R), dlogits: (R, V) of `element`.
pub fn softmax_gradient(
    element: Element,
    (rows, vocabulary): (usize, usize),
    [logits, targets, dnll, dlogits]: [Address; 4],
) -> Launch {
    let kernel = name("softmax_gradient", element, 1);
    by_logits(kernel, rows, arguments![logits, targets, dnll, dlogits], vocabulary)
}

/// Adds `sum nll * weights` and `sum nll` to two f64 numbers. nll, weights: (R) f32.
pub fn weighted_sum(rows: usize, [nll, weights, loss, cross_entropy]: [Address; 4]) -> Launch {
    Launch {
        module: Module::CrossEntropy,
        kernel: "weighted_sum".to_owned(),
        grid: [1, 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
        arguments: arguments![nll, weights, loss, cross_entropy, rows as i32],
    }
}

/// Whether the tensor-core kernels take these heads.
pub fn is_tiled(element: Element, head_size: usize, addresses: &[Address]) -> bool {
    element == Element::Bf16
        && matches!(head_size, 64 | 128)
        && addresses.iter().all(|address| address.is_multiple_of(PACK_BYTES as u64))
}

/// Shared memory of the tensor-core kernels: two tiles with padded rows.
fn tile_bytes(head_size: usize) -> u32 {
    2 * TILE * (head_size as u32 + 8) * 2
}

fn tiled(base: &str, head_size: usize, (grid, arguments): ([u32; 3], Vec<Argument>)) -> Launch {
    Launch {
        module: Module::AttentionTiled,
        kernel: format!("{base}_{head_size}"),
        grid,
        block: [128, 1, 1],
        shared_bytes: tile_bytes(head_size),
        arguments,
    }
}

fn plain(base: &str, element: Element, grid: [u32; 3], arguments: Vec<Argument>) -> Launch {
    Launch {
        module: Module::AttentionPlain,
        kernel: name(base, element, 1),
        grid,
        block: [32, 1, 1],
        shared_bytes: 0,
        arguments,
    }
}

/// Shares that the keys of few queries are cut into, so that all multiprocessors have work.
pub fn attention_splits(shape: &DeviceAttentionShape) -> u32 {
    let tiles = (shape.queries as u32).div_ceil(TILE);
    let blocks = tiles * shape.heads as u32 * shape.sequences as u32;
    let key_tiles = (shape.keys as u32).div_ceil(TILE);
    (264 / blocks.max(1)).clamp(1, key_tiles.max(1))
}

/// Attention. part_out, part_lse: f32 (splits, rows of heads, Dh) and (splits, rows of heads), 0 if `splits` is 1.
pub fn attention(
    element: Element,
    shape: DeviceAttentionShape,
    head_size: usize,
    splits: u32,
    [q, k, v]: [Address; 3],
    [out, lse]: [Address; 2],
    [part_out, part_lse]: [Address; 2],
) -> Vec<Launch> {
    let heads = [shape.heads as u32, shape.sequences as u32];
    if !is_tiled(element, head_size, &[q, k, v, out]) {
        let arguments = arguments![shape, head_size as i32, q, k, v, out, lse];
        let grid = [shape.queries as u32, heads[0], heads[1]];
        return vec![plain("attention", element, grid, arguments)];
    }
    let tiles = (shape.queries as u32).div_ceil(TILE);
    let arguments = arguments![shape, q, k, v, out, lse, part_out, part_lse, splits as i32];
    let grid = [tiles * splits, heads[0], heads[1]];
    let mut launches = vec![tiled("tiled_attention", head_size, (grid, arguments))];
    if splits > 1 {
        let rows = shape.query_heads();
        launches.push(Launch {
            module: Module::AttentionTiled,
            kernel: "merge_splits".to_owned(),
            grid: [blocks(rows as usize, 4), 1, 1],
            block: [32, 4, 1],
            shared_bytes: 0,
            arguments: arguments![
                part_out,
                part_lse,
                out,
                lse,
                rows as i32,
                head_size as i32,
                splits as i32
            ],
        });
    }
    launches
}

/// The gradient of [`attention`]. delta: f32 scratch, (rows of heads).
pub fn attention_backward(
    element: Element,
    shape: DeviceAttentionShape,
    head_size: usize,
    [q, k, v, out, dout, lse]: [Address; 6],
    delta: Address,
    [dq, dk, dv]: [Address; 3],
) -> Vec<Launch> {
    let count = shape.query_heads();
    let delta_launch = Launch {
        grid: [blocks(count as usize, 4), 1, 1],
        block: [32, 4, 1],
        ..plain(
            "out_dot_dout",
            element,
            [1, 1, 1],
            arguments![out, dout, delta, count, head_size as i32],
        )
    };
    let sequences = shape.sequences as u32;
    let (queries, keys) = (shape.queries as u32, shape.keys as u32);
    let (heads, kv_heads) = (shape.heads as u32, shape.kv_heads as u32);
    let addresses = [q, k, v, dout, dq, dk, dv];
    let [back_query, back_key] = if is_tiled(element, head_size, &addresses) {
        let dq_grid = [queries.div_ceil(TILE), heads, sequences];
        let dkv_grid = [keys.div_ceil(TILE), kv_heads, sequences];
        let dq_arguments = arguments![shape, q, k, v, dout, lse, delta, dq];
        let dkv_arguments = arguments![shape, q, k, v, dout, lse, delta, dk, dv];
        [
            tiled("tiled_dq", head_size, (dq_grid, dq_arguments)),
            tiled("tiled_dkv", head_size, (dkv_grid, dkv_arguments)),
        ]
    } else {
        let size = head_size as i32;
        let dq_arguments = arguments![shape, size, q, k, v, dout, lse, delta, dq];
        let dkv_arguments = arguments![shape, size, q, k, v, dout, lse, delta, dk, dv];
        [
            plain("attention_dq", element, [queries, heads, sequences], dq_arguments),
            plain("attention_dkv", element, [keys, kv_heads, sequences], dkv_arguments),
        ]
    };
    vec![delta_launch, back_query, back_key]
}

/// Settings of an update that stay the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Decays of the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f32,
    /// So many of the first elements count in the norm but are updated elsewhere.
    pub others: usize,
    /// Decoupled decay of the elements from there on up to `decayed`.
    pub weight_decay: f32,
    /// See there.
    pub decayed: usize,
    /// Largest gradient norm.
    pub clip_norm: f64,
}

/// The flat arrays of all parameters, each of `count` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flat {
    /// f32 masters.
    pub masters: Address,
    /// f32 gradients.
    pub gradients: Address,
    /// f32 first moments.
    pub first: Address,
    /// f32 second moments.
    pub second: Address,
    /// bf16 copies of the masters; 0 for none.
    pub copies: Address,
    /// Elements of each.
    pub count: usize,
}

/// Norm, clipping, bias corrections and the AdamW update, without the host.
///
/// parts: ([`NORM_BLOCKS`]) f64 scratch, record: 4 f64, state: 5 f64 (see `adamw.cu`).
pub fn adamw(
    update: Update,
    lr: f64,
    flat: Flat,
    [parts, record, state]: [Address; 3],
) -> Vec<Launch> {
    let launch = |kernel: &str, grid: u32, threads: u32, arguments| Launch {
        module: Module::Adamw,
        kernel: kernel.to_owned(),
        grid: [grid, 1, 1],
        block: [threads, 1, 1],
        shared_bytes: 0,
        arguments,
    };
    let Flat { masters, gradients, first, second, copies, count } = flat;
    let [beta1, beta2] = update.betas;
    let own = count.saturating_sub(update.others);
    let from = |flat: Address, bytes: usize| match flat {
        0 => 0,
        _ => flat + (update.others * bytes) as Address,
    };
    vec![
        launch("sum_of_squares", NORM_BLOCKS, THREADS, arguments![gradients, count as i64, parts]),
        launch(
            "begin_update",
            1,
            1,
            arguments![parts, NORM_BLOCKS as i32, update.clip_norm, beta1, beta2, record, state],
        ),
        launch(
            "adamw",
            blocks(own, THREADS),
            THREADS,
            arguments![
                from(masters, 4),
                from(gradients, 4),
                from(first, 4),
                from(second, 4),
                from(copies, 2),
                own as i64,
                update.decayed.saturating_sub(update.others) as i64,
                lr as f32,
                beta1 as f32,
                beta2 as f32,
                update.eps,
                update.weight_decay,
                state
            ],
        ),
    ]
}
