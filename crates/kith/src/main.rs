//! The `kith` command.

use std::process::ExitCode;

/// Training allocates little, but reading data and figures much; the system's allocator would give memory back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kith::cli::main()
}
