use std::process::ExitCode;

/// See [`ribflow::memory`].
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The loader calls these functions before the first allocation.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = ribflow::memory::use_small_pages;

fn main() -> ExitCode {
    ribflow::memory::keep_freed();
    ribflow::cli::main()
}
