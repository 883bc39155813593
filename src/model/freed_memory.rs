//! What the allocator of glibc does with memory that was freed: much of it, soon asked for again,
//! is to stay with the process while a model computes; all of it is to go when a model goes.

/// Size of a piece whose end tells the allocator that pieces as large come and go: just below the
/// largest that it learns from (`DEFAULT_MMAP_THRESHOLD_MAX`), bytes.
const LARGE: usize = (32 << 20) - (64 << 10);

/// Lets freed memory stay with the process, up to 64 MB in a row. Until a large piece was freed
/// the allocator gives smaller ones back at once, and the tensors of a small model come and go
/// thousands of times a second: it saves a sixth of the time of its vision tower.
pub fn keep() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}

/// Gives all memory that was freed back to the system, small pieces between others included.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "no crate wraps what the C library offers")]
        // SAFETY: it takes no pointer, and any thread may call it at any time.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
