//! The memory that a thread holds, counted at the allocator of this binary.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

thread_local! {
    /// Bytes that this thread asked for and has not given back. What one thread takes and another
    /// gives back counts on both.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most that it held.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with a count.
struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Counts before the system is asked: what it refuses has been asked for, too.
fn add(bytes: usize) {
    let held = HELD.get().saturating_add_unsigned(bytes);
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

fn take_off(bytes: usize) {
    HELD.set(HELD.get().saturating_sub_unsigned(bytes));
}

#[expect(unsafe_code, reason = "an allocator is an unsafe trait; every call goes to the system's as it came")]
// SAFETY: the system's allocator does the work; counting takes no memory, since the counters
// have neither a start nor an end that runs code.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: what the caller promises is what the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are there while the content is copied.
        add(size);
        take_off(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        take_off(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What `work` gives, and the most bytes that this thread held meanwhile beyond those before.
/// Memory maps and memory of libraries in C do not count.
pub(crate) fn most_held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let value = work();
    (value, usize::try_from(MOST.get() - before).unwrap_or(0))
}

#[test]
fn what_a_thread_holds_is_counted() {
    let (kept, most) = most_held(|| {
        drop(black_box(vec![0u8; 3_000_000]));
        black_box(vec![1u8; 1_000_000])
    });
    assert_eq!(most, 3_000_000);
    let ((), most) = most_held(|| drop(kept));
    assert_eq!(most, 0);
    // Many small ones count as one large one does.
    let (_, most) = most_held(|| black_box((0..1000).map(|k| vec![k as u8; 1000]).collect::<Vec<_>>()));
    assert!((1_000_000..1_100_000).contains(&most), "{most}");
    // What grows is there twice while it is copied.
    let (_, most) = most_held(|| {
        let mut grown = black_box(vec![0u8; 1_000_000]);
        grown.reserve_exact(1_000_000);
        black_box(grown)
    });
    assert_eq!(most, 3_000_000);
}
