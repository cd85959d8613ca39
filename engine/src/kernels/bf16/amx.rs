//! Products of packed panels on the AMX tiles of x86-64 Linux machines.
#![expect(unsafe_code, reason = "tile instructions and the kernel's permission need it")]

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

use super::super::matmul::Beta;
use super::Block;
use super::pack::SIDE;

/// Whether the CPU has AMX with bf16, and Linux lets this process use the tiles.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| cpu_has_tiles() && request_permission())
}

fn cpu_has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
}

/// Tile registers are switched off for a process until it asks.
fn request_permission() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: this call takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    line_bytes: [u16; 16],
    lines: [u8; 16],
}

/// Turns the tile registers on for the calling thread for as long as it lives.
pub(super) struct Tiles;

impl Tiles {
    pub(super) fn on() -> Self {
        debug_assert!(available());
        let mut config = TileConfig {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            line_bytes: [0; 16],
            lines: [0; 16],
        };
        config.line_bytes[..8].fill(64);
        config.lines[..8].fill(SIDE as u8);
        // SAFETY: callers have checked `available`; the configuration is valid: 8 tiles of 16 lines of 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
        Self
    }

    /// Adds `depth` pairs of left tiles times `depth` pairs of right tiles to 32 x 32 numbers at `c`.
    ///
    /// # Safety
    /// `left` and `right` must point to `depth * 2 * TILE` bf16 numbers, `c` to 32 rows of 32 numbers, `stride`
    /// numbers apart, that nothing else accesses.
    pub(super) unsafe fn multiply(
        &self,
        depth: usize,
        left: *const u16,
        right: *const u16,
        c: Block,
    ) {
        debug_assert!(depth > 0);
        let line = c.stride * size_of::<f32>();
        // SAFETY: the registers are configured as long as `self` lives; memory as the caller vouches.
        unsafe {
            let lower = c.start.add(SIDE * c.stride);
            macro_rules! inner_loop {
                ($($prepare:literal),*) => {
                    asm!(
                        $($prepare,)*
                        "2:",
                        "tileloadd tmm4, [{left} + {tile_line}]",
                        "tileloadd tmm6, [{right} + {tile_line}]",
                        "tileloadd tmm7, [{right} + {tile_line} + 1024]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloadd tmm5, [{left} + {tile_line} + 1024]",
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                        "add {left}, 2048",
                        "add {right}, 2048",
                        "dec {depth}",
                        "jnz 2b",
                        "tilestored [{upper} + {line}], tmm0",
                        "tilestored [{upper} + {line} + 64], tmm1",
                        "tilestored [{lower} + {line}], tmm2",
                        "tilestored [{lower} + {line} + 64], tmm3",
                        left = inout(reg) left => _,
                        right = inout(reg) right => _,
                        depth = inout(reg) depth => _,
                        tile_line = in(reg) 64usize,
                        upper = in(reg) c.start,
                        lower = in(reg) lower,
                        line = in(reg) line,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    )
                };
            }
            match c.beta {
                Beta::Accumulate => inner_loop!(
                    "tileloadd tmm0, [{upper} + {line}]",
                    "tileloadd tmm1, [{upper} + {line} + 64]",
                    "tileloadd tmm2, [{lower} + {line}]",
                    "tileloadd tmm3, [{lower} + {line} + 64]"
                ),
                Beta::Overwrite => {
                    inner_loop!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3")
                }
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: puts the registers into their initial state, so that the kernel need not save them.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
