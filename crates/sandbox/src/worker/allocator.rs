//! The interpreter's heap: the C library's allocator with a budget. It does not know what is allocated; it is the
//! one place that knows that memory ran out, which the interpreter itself reports as a bare `null`.
//!
//! The budget is meant for the code's values. In this interpreter about half of a small object is bookkeeping (headers,
//! links of the collector, hash tables), so small blocks are charged half; large ones (buffers, long strings, big
//! arrays) are all value and charged fully. The process thus never exceeds twice the budget, and the kernel's limit
//! on its address space stands behind that.

use std::rc::Rc;

use rquickjs::allocator::Allocator;

use super::call::Call;

/// Blocks up to this size are charged half. The interpreter takes its small objects in chunks of this order.
const SMALL: usize = 8 << 10;

fn charge(size: usize) -> usize {
    if size <= SMALL { size / 2 } else { size }
}

/// Allocates until the budget is used up.
pub(crate) struct Budget {
    limit: usize,
    used: usize,
    call: Rc<Call>,
}

impl Budget {
    /// A budget of `limit` bytes; the call is told when it is exhausted.
    pub(crate) fn new(limit: usize, call: Rc<Call>) -> Self {
        Budget { limit, used: 0, call }
    }

    /// Whether a block of `new` bytes may take the place of one of `old` bytes.
    fn admits(&self, old: usize, new: usize) -> bool {
        let used = self.used - charge(old);
        let admits = new <= old || used.checked_add(charge(new)).is_some_and(|total| total <= self.limit);
        if !admits {
            self.call.note_out_of_memory();
        }
        admits
    }

    fn taken(&mut self, ptr: *mut libc::c_void) -> *mut u8 {
        if ptr.is_null() {
            self.call.note_out_of_memory();
        } else {
            // SAFETY: the pointer comes from the C library's allocator just now.
            self.used += charge(unsafe { libc::malloc_usable_size(ptr) });
        }
        ptr.cast()
    }
}

// SAFETY: every function hands on to the C library's allocator, whose guarantees are those that are asked for.
unsafe impl Allocator for Budget {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.admits(0, size) {
            return std::ptr::null_mut();
        }
        // SAFETY: malloc takes any size.
        self.taken(unsafe { libc::malloc(size) })
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        if !count.checked_mul(size).is_some_and(|total| self.admits(0, total)) {
            self.call.note_out_of_memory();
            return std::ptr::null_mut();
        }
        // SAFETY: calloc takes any sizes.
        self.taken(unsafe { libc::calloc(count, size) })
    }

    unsafe fn dealloc(&mut self, ptr: *mut u8) {
        if ptr.is_null() {
            return;
        }
        // SAFETY: by contract the pointer is one of ours.
        unsafe {
            self.used -= charge(libc::malloc_usable_size(ptr.cast()));
            libc::free(ptr.cast());
        }
    }

    unsafe fn realloc(&mut self, ptr: *mut u8, new_size: usize) -> *mut u8 {
        // SAFETY: by contract the pointer is null or one of ours.
        let old = if ptr.is_null() { 0 } else { unsafe { libc::malloc_usable_size(ptr.cast()) } };
        if !self.admits(old, new_size) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above; on failure the old block stays valid and counted.
        let moved = unsafe { libc::realloc(ptr.cast(), new_size) };
        if !moved.is_null() || new_size == 0 {
            self.used -= charge(old);
        }
        if new_size == 0 && moved.is_null() {
            return std::ptr::null_mut();
        }
        self.taken(moved)
    }

    unsafe fn usable_size(ptr: *mut u8) -> usize {
        // SAFETY: by contract the pointer is one of ours.
        unsafe { libc::malloc_usable_size(ptr.cast()) }
    }
}
