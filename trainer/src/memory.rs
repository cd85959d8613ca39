//! Tells glibc's allocator to keep freed memory: each step allocates the same large buffers again.
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
