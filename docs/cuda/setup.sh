#!/usr/bin/env bash
# Sets up what a Rust program with candle's "cuda" (and "cudnn", "nccl") feature needs to be
# BUILT on a machine without a GPU, a driver or a CUDA toolkit.
#
#   setup.sh PREFIX [CARGO_TOML]       then:  . PREFIX/env.sh && cargo build --release --features cuda
#
# PREFIX      where everything goes (about 350 MB)
# CARGO_TOML  the project's manifest; the cudarc version in its lock file gives the function
#             names (default: the newest cudarc 0.19 in cargo's registry, fetched if missing)
# CUDA_QUANTIZED=1  also compile candle's quantized (GGUF) and MoE kernels: many minutes of nvcc and
#             tens of MB in the program, of no use in training (after a change of this:
#             cargo clean -p candle-kernels)
# CUDA_LINK   lazy (default): the program NEEDs no NVIDIA library and loads each on first use,
#             so it also starts without CUDA; plain: the program NEEDs them, as candle's default
# Safe to run again: it does only what is missing.
set -euo pipefail
prefix=$(mkdir -p "${1:?usage: setup.sh PREFIX [CARGO_TOML]}" && cd "$1" && pwd)
manifest=${2:-}
mode=${CUDA_LINK:-lazy}
# CUDA 13.0, no newer: PTX from a newer nvcc is refused by a driver of the 580 series.
pkgs=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
      nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85)
site=$prefix/site
home=$site/nvidia/cu13
# Folders with the real libraries on the machine that runs the program, colon-separated (optional): searched after
# $CUDA_LIB_DIRS and the loader's own places.
IFS=: read -r -a run_dirs <<<"${CUDA_RUN_DIRS:-/usr/local/cuda/lib64:/usr/local/nvidia/lib64:/usr/local/nvidia/lib}"

stamp="${pkgs[*]}"
if [ "$(cat "$prefix/.pkgs" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$site"
    python3 -m pip install -q --disable-pip-version-check --no-deps --no-compile \
        --only-binary=:all: --target "$site" "${pkgs[@]}"
    ln -sfn lib "$home/lib64"
    echo "$stamp" >"$prefix/.pkgs"
fi
"$home/bin/nvcc" --version | grep -q 'release 13\.0'

# cudarc's source: the list of functions to stand in for.
if [ -n "$manifest" ]; then
    cudarc=$(cargo metadata --format-version 1 --all-features --manifest-path "$manifest" | python3 -c '
import json, os, sys
for p in json.load(sys.stdin)["packages"]:
    if p["name"] == "cudarc": print(os.path.dirname(p["manifest_path"]))' | sort -V | tail -1)
else
    newest() { ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-0.19.* 2>/dev/null | sort -V | tail -1; }
    cudarc=$(newest)
    if [ -z "$cudarc" ]; then
        mkdir -p "$prefix/fetch/src" && : >"$prefix/fetch/src/lib.rs"
        printf '[package]\nname="fetch"\nversion="0.0.0"\nedition="2021"\n[dependencies]\ncudarc={version="0.19",default-features=false,features=["std","driver","cuda-13000","dynamic-loading"]}\n' >"$prefix/fetch/Cargo.toml"
        cargo fetch -q --manifest-path "$prefix/fetch/Cargo.toml"
        cudarc=$(newest)
    fi
fi
[ -d "$cudarc/src" ] || { echo "setup.sh: no cudarc source found" >&2; exit 1; }

cat >"$prefix/mkstubs.py" <<'EOP'
"""mkstubs.py lazy|plain CUDARC_SRC OUT_DIR CUDART_STATIC [RUN_DIR...]
Link-time stand-ins for NVIDIA's shared libraries.
lazy:  libX.so is a linker script naming an archive whose functions load the real library at the
       first call; a missing library makes every function return an error status.
plain: libX.so is an empty shared library that carries the real soname."""
import pathlib, re, subprocess, sys

mode, src, out, cudart = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4]
run_dirs = sys.argv[5:]
LIBS = {  # name: (cudarc module, soname, sonames to load first, status when it is not there)
    "cuda": ("driver", "libcuda.so.1", [], 100),          # CUDA_ERROR_NO_DEVICE
    "nvrtc": ("nvrtc", "libnvrtc.so.13", [], 11),         # NVRTC_ERROR_INTERNAL_ERROR
    "curand": ("curand", "libcurand.so.10", [], 203),     # CURAND_STATUS_INITIALIZATION_FAILED
    "cublas": ("cublas", "libcublas.so.13", ["libcublasLt.so.13"], 1),  # ..._NOT_INITIALIZED
    "cublasLt": ("cublaslt", "libcublasLt.so.13", [], 1),
    "cudnn": ("cudnn", "libcudnn.so.9", ["libcublasLt.so.13", "libnvrtc.so.13"], 1001),
    "nccl": ("nccl", "libnccl.so.2", [], 2),              # ncclSystemError
}
REGS = ["%rdi", "%rsi", "%rdx", "%rcx", "%r8", "%r9", "%rax"]
save = "".join(f'"    mov {r}, {8*i}(%rsp)\\n"\n' for i, r in enumerate(REGS))
save += "".join(f'"    movups %xmm{i}, {64+16*i}(%rsp)\\n"\n' for i in range(8))
load = "".join(f'"    mov {8*i}(%rsp), {r}\\n"\n' for i, r in enumerate(REGS))
load += "".join(f'"    movups {64+16*i}(%rsp), %xmm{i}\\n"\n' for i in range(8))
out.mkdir(parents=True, exist_ok=True)
for lib, (mod, soname, first, status) in LIBS.items():
    text = (src / "src" / mod / "sys" / "mod.rs").read_text()
    names = sorted(set(re.findall(r"pub unsafe fn (\w+)\(", text)) - {"culib", "is_culib_present"})
    so, c = out / f"lib{lib}.so", out / f"{lib}.c"
    so.unlink(missing_ok=True)
    if mode == "plain":
        c.write_text("".join(f"void {n}(void) {{}}\n" for n in names))
        subprocess.check_call(["cc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", so, c])
        continue
    p = f"lazy_{lib}"
    strs = lambda xs: "".join(f'"{x}", ' for x in xs) + "0"
    fn_names = "".join(f'    "{n}",\n' for n in names)
    tramp = "".join(
        f'".globl {n}\\n.type {n}, @function\\n{n}:\\n"\n'
        f'"    mov {p}_slots+{8*i}(%rip), %r11\\n    test %r11, %r11\\n    jz 1f\\n    jmp *%r11\\n"\n'
        f'"1:  mov ${i}, %r11d\\n    jmp {p}_first\\n"\n' for i, n in enumerate(names))
    c.write_text(f"""#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static const char *const first[] = {{{strs(first)}}};
static const char *const dirs[] = {{{strs(run_dirs)}}};
static const char *const fn_names[] = {{
{fn_names}}};
static void *handle;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void *open_one(const char *so) {{
    char path[4096];
    const char *extra = getenv("CUDA_LIB_DIRS");  // colon-separated, searched first
    while (extra && *extra) {{
        int n = (int)strcspn(extra, ":");
        snprintf(path, sizeof path, "%.*s/%s", n, extra, so);
        void *h = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
        if (h) return h;
        extra += n + (extra[n] == ':');
    }}
    void *h = dlopen(so, RTLD_NOW | RTLD_GLOBAL);
    for (int d = 0; !h && dirs[d]; d++) {{
        snprintf(path, sizeof path, "%s/%s", dirs[d], so);
        h = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    }}
    return h;
}}
static void open_lib(void) {{
    for (int i = 0; first[i]; i++) open_one(first[i]);
    handle = open_one("{soname}");
    if (getenv("CUDA_LAZY_DEBUG")) {{
        Dl_info in = {{0}};
        if (handle) dladdr(dlsym(handle, fn_names[{len(names)//2}]), &in);
        fprintf(stderr, "[lazy] {soname}: %s\\n", handle ? (in.dli_fname ? in.dli_fname : "loaded") : "not found");
    }}
}}
static int missing_fn(void) {{ return {status}; }}
extern void *{p}_slots[] __attribute__((visibility("hidden")));
__attribute__((visibility("hidden"), used)) void *{p}_resolve(unsigned long i) {{
    pthread_once(&once, open_lib);
    void *f = handle ? dlsym(handle, fn_names[i]) : 0;
    if (handle && !f) fprintf(stderr, "[lazy] {soname} has no %s\\n", fn_names[i]);
    if (!f) f = (void *)missing_fn;
    __atomic_store_n(&{p}_slots[i], f, __ATOMIC_RELEASE);
    return f;
}}
// A function's first call: r11 holds its number; every argument register is kept.
__asm__(
".text\\n.p2align 4\\n.type {p}_first, @function\\n"
"{p}_first:\\n"
"    .cfi_startproc\\n    push %rbp\\n    .cfi_def_cfa_offset 16\\n    .cfi_offset %rbp, -16\\n"
"    mov %rsp, %rbp\\n    .cfi_def_cfa_register %rbp\\n    sub $192, %rsp\\n    and $-16, %rsp\\n"
{save}"    mov %r11, %rdi\\n    call {p}_resolve\\n    mov %rax, %r11\\n"
{load}"    leave\\n    .cfi_def_cfa %rsp, 8\\n    jmp *%r11\\n    .cfi_endproc\\n"
{tramp}".bss\\n.p2align 4\\n.globl {p}_slots\\n.hidden {p}_slots\\n.type {p}_slots, @object\\n"
".size {p}_slots, {8*len(names)}\\n{p}_slots: .zero {8*len(names)}\\n.text\\n");
""")
    o, a = out / f"{lib}.o", out / f"lib{lib}_lazy.a"
    subprocess.check_call(["cc", "-O2", "-fPIC", "-c", "-o", o, c])
    a.unlink(missing_ok=True)
    subprocess.check_call(["ar", "crs", a, o])
    so.write_text(f"INPUT({a.resolve()})\n")
    o.unlink()
rt = out / "libcudart.so"
rt.unlink(missing_ok=True)
if mode == "plain":
    rt.symlink_to(pathlib.Path(cudart).parent / "libcudart.so.13")
else:
    rt.write_text(f"INPUT({cudart})\n")
EOP
key="$mode $cudarc ${run_dirs[*]} $(cksum <"$prefix/mkstubs.py")"
if [ "$(cat "$prefix/.stubs" 2>/dev/null)" != "$key" ]; then
    rm -rf "$home/lib/stubs"
    python3 "$prefix/mkstubs.py" "$mode" "$cudarc" "$home/lib/stubs" "$home/lib/libcudart_static.a" "${run_dirs[@]}"
    echo "$key" >"$prefix/.stubs"
fi

cat >"$home/bin/nvcc-lite" <<'EON'
#!/bin/bash
# nvcc, but candle's quantized kernels (15 files: most of candle-kernels' build time and of its
# machine code) become functions that stop the program. Training needs none of them.
here=$(dirname "$(readlink -f "$0")")
src=; obj=; prev=
for a; do
    case $a in
        moe_gguf.cu | moe_wmma.cu | moe_wmma_gguf.cu | mmvq_gguf.cu | mmq_quantize.cu | mmq_instance_*.cu | \
        */moe_gguf.cu | */moe_wmma.cu | */moe_wmma_gguf.cu | */mmvq_gguf.cu | */mmq_quantize.cu | */mmq_instance_*.cu) src=$a ;;
    esac
    [ "$prev" = -o ] && obj=$a
    prev=$a
done
case " $* " in *" -c "*) ;; *) src= ;; esac
[ -n "$src" ] && [ -n "$obj" ] || exec "$here/nvcc" "$@"
# The build script runs in the crate's root: all the functions go into one object.
c="$obj.c"
echo 'extern int puts(const char *); extern void abort(void);' >"$c"
if [ "$(basename "$src")" = mmq_quantize.cu ]; then
    grep -o 'pub fn [A-Za-z0-9_]*' src/ffi.rs | sed 's/pub fn //' | sort -u |
        sed 's/.*/void &(void) { puts("this build leaves out candle'"'"'s quantized CUDA kernels: &"); abort(); }/' >>"$c"
fi
exec cc -O2 -fPIC -c -o "$obj" "$c"
EON
chmod +x "$home/bin/nvcc-lite"
nvcc=$home/bin/nvcc-lite
if [ "${CUDA_QUANTIZED:-0}" = 1 ]; then nvcc=$home/bin/nvcc; fi

cat >"$prefix/env.sh" <<EOE
export CUDA_HOME='$home'
export PATH="\$CUDA_HOME/bin:\$PATH"
export NVCC='$nvcc'
export CUDA_COMPUTE_CAP="\${CUDA_COMPUTE_CAP:-90}"   # H100, H200 (cudaforge builds sm_90a from it)
EOE
cat "$prefix/env.sh"
