//! The machine's memory: how much there is, and glibc's allocator told to keep what is freed, for each step allocates
//! the same large buffers again.
#![expect(unsafe_code, reason = "mallopt is a C function")]

/// Keeps freed pages in the process.
///
/// By default large blocks are mapped afresh at each allocation and go back to the kernel when freed; the page faults then
/// cost 10 to 20 % of a step.
pub fn keep_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets parameters of the allocator and may be called at any time; it is called once, before any
    // other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// Bytes of physical memory, where the system tells (`/proc/meminfo`).
pub fn physical_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = kibibytes.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
