//! Large pages for large blocks.

/// From this size on, in bytes, a block is worth large pages.
#[cfg(target_os = "linux")]
const LARGE: usize = 8 << 20;

/// The system's smallest page or a multiple of it, in bytes: where advice may begin.
#[cfg(target_os = "linux")]
const PAGE: usize = 1 << 16;

/// `MADV_HUGEPAGE` of Linux, the same number on all its architectures that Rust runs on.
#[cfg(target_os = "linux")]
const HUGE: std::ffi::c_int = 14;

#[cfg(target_os = "linux")]
unsafe extern "C" {
    fn madvise(address: *mut std::ffi::c_void, length: usize, advice: std::ffi::c_int) -> std::ffi::c_int;
}

/// Asks the system to back large memory by large pages: a visit walks hundreds of pages, and mixing thousands, more than
/// a processor remembers the places of. Contents do not change, and a system that cannot is left as it is.
pub(crate) fn prefer_huge_pages(memory: &[f32]) {
    #[cfg(target_os = "linux")]
    if size_of_val(memory) >= LARGE {
        let skipped = memory.as_ptr().cast::<u8>().align_offset(PAGE);
        let length = (size_of_val(memory) - skipped) / PAGE * PAGE;
        // SAFETY: the range lies within `memory`, which is borrowed, and begins and ends on pages; the advice changes how
        // it is backed and never what it holds. That it may fail is expected: it is advice.
        let _ = unsafe { madvise(memory.as_ptr().cast::<u8>().add(skipped).cast_mut().cast(), length, HUGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}
