//! Compiles the CUDA kernels for builds with the feature `cuda`: machine code for the GPU
//! architecture in CUDA_COMPUTE_CAP (default 90), so that nothing is compiled when a program
//! starts.

use std::env;
use std::path::Path;
use std::process::Command;

const KERNELS: &str = "ops/gpu/kernels";
const FILES: [&str; 9] = [
    "batch_norm",
    "columns",
    "cross_entropy",
    "layer_norm",
    "linear",
    "optimiser",
    "pixels",
    "softmax",
    "windows",
];

fn main() {
    println!("cargo:rerun-if-changed={KERNELS}");
    println!("cargo:rerun-if-env-changed=NVCC");
    println!("cargo:rerun-if-env-changed=CUDA_COMPUTE_CAP");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let nvcc = env::var("NVCC").unwrap_or_else(|_| "nvcc".to_string());
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "90".to_string());
    let folder = env::var("OUT_DIR").expect("cargo names a folder for what is built");
    for file in FILES {
        let source = format!("{KERNELS}/{file}.cu");
        let status = Command::new(&nvcc)
            .args(["-cubin", "-O3", "-std=c++17"])
            .arg(format!("-arch=sm_{capability}"))
            .arg("-o")
            .arg(Path::new(&folder).join(format!("{file}.cubin")))
            .arg(&source)
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(_) => panic!("{nvcc} could not compile {source}: see above"),
            Err(error) => panic!(
                "`{nvcc}` can't be started ({error}): the feature `cuda` needs CUDA's compiler, \
                 on PATH or named by NVCC (docs/cuda.md)"
            ),
        }
    }
}
