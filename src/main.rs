use std::process::ExitCode;

/// See [`ribflow::memory`].
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ribflow::memory::keep_freed();
    ribflow::cli::main()
}
