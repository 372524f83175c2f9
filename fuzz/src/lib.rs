//! What the fuzz targets share: a bound on memory, and how an input is taken apart.
//!
//! Each file in `fuzz_targets` is a program with libFuzzer inside. It says at its top what must hold whatever bytes
//! come. Two ways to run one:
//!
//! ```text
//! cargo xtask fuzz commands --seconds 300     # the pinned stable toolchain, a C++ compiler, nothing else
//! cargo +nightly fuzz run commands            # cargo-fuzz, with the address sanitizer
//! ```
//!
//! The first is what continuous integration does for a few seconds. It replays `corpus/<target>`, which is
//! committed and small, and leaves what it finds new in the target directory; with `--keep` that becomes part of the
//! corpus, reduced to what reaches something that nothing else does. An input that breaks a promise is written to
//! `artifacts/<target>`; give its path to the program to see it again.

pub mod damage;
pub mod hostile;
pub mod log_model;
pub mod replica;
pub mod reseal;

use std::alloc::System;
use std::panic;
use std::sync::Once;

use arbitrary::Unstructured;
use cap::Cap;
use ruvector_protocol::NodeId;
use ruvector_storage::Owner;

/// Whose all files are.
pub const OWNER: Owner = Owner { cluster_id: 5, node: NodeId(1) };

/// Counts all memory of the program but libFuzzer's own.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Runs `test`, which may have `bytes` more of memory at any time than there was before. A program that wants more
/// is aborted, which libFuzzer reports like a panic.
///
/// # Panics
/// If the memory in use is beyond the limit already.
pub fn within_memory<T>(bytes: usize, test: impl FnOnce() -> T) -> T {
    PANICS_UNBOUNDED.call_once(let_panics_take_memory);
    MEMORY.set_limit(MEMORY.allocated() + bytes).expect("the limit is above what is in use");
    let result = test();
    MEMORY.set_limit(usize::MAX).expect("no limit is below what is in use");
    result
}

static PANICS_UNBOUNDED: Once = Once::new();

/// To show where a panic came from takes more than an input is allowed.
fn let_panics_take_memory() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        MEMORY.set_limit(usize::MAX).expect("no limit is below what is in use");
        report(panic);
    }));
}

/// The next byte of an input; 0 at its end.
pub fn byte(input: &mut Unstructured<'_>) -> u8 {
    input.arbitrary().unwrap_or(0)
}

/// The next piece of an input: two bytes of length, and as many bytes as there are of it.
pub fn piece<'a>(input: &mut Unstructured<'a>) -> &'a [u8] {
    let length = usize::from(number(input)).min(input.len());
    input.bytes(length).unwrap_or_default()
}

/// A number of two bytes.
pub fn number(input: &mut Unstructured<'_>) -> u16 {
    u16::from_le_bytes([byte(input), byte(input)])
}
