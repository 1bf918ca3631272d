use std::process::ExitCode;

/// Keeps freed memory for the next tensor: training allocates and frees the same sizes for ever.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ribflow::cli::main()
}
