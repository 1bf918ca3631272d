//! Emulates `cpuid` during a single query of the processor's features.

use std::arch::x86_64::{__cpuid_count, CpuidResult};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Level;

/// `ARCH_SET_CPUID` of `arch_prctl` (Linux 4.12): whether the calling thread may execute `cpuid`.
const SET_CPUID: libc::c_int = 0x1012;

/// The level that the handler reports.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The result of `ask` while `cpuid` reports nothing beyond `level`.
///
/// # Errors
/// The processor or kernel can't make `cpuid` trap.
pub fn answering<R>(level: Level, ask: impl FnOnce() -> R) -> io::Result<R> {
    LEVEL.store(level as u8, Ordering::Relaxed);
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = answer;
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: an all-zero action is valid, and `answer` has the signature that SA_SIGINFO requires.
    // `before` is written if the call succeeds, and restored by a call of the same type.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        if libc::sigaction(libc::SIGSEGV, &raw const action, before.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let result = match allow_cpuid(false) {
            Ok(()) => {
                let result = ask();
                allow_cpuid(true).map(|()| result)
            }
            Err(error) => Err(error),
        };
        libc::sigaction(libc::SIGSEGV, before.as_ptr(), ptr::null_mut());
        result
    }
}

fn allow_cpuid(allowed: bool) -> io::Result<()> {
    // SAFETY: takes two numbers, and affects `cpuid` in this thread only.
    match unsafe { libc::syscall(libc::SYS_arch_prctl, SET_CPUID, libc::c_long::from(allowed)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Emulates the trapped instruction. Any other fault gets the default action.
extern "C" fn answer(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    /// The bytes of `cpuid`.
    const INSTRUCTION: [u8; 2] = [0x0f, 0xa2];
    // SAFETY: with SA_SIGINFO the kernel passes the interrupted thread's context, which only this
    // handler uses; the instruction pointer of a code fault is readable.
    unsafe {
        let context = context.cast::<libc::ucontext_t>();
        let registers = (&raw mut (*context).uc_mcontext.gregs).cast::<libc::greg_t>();
        let register = |name: libc::c_int| registers.add(name as usize);
        let place = *register(libc::REG_RIP) as *const [u8; 2];
        if place.read_unaligned() != INSTRUCTION || allow_cpuid(true).is_err() {
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            return;
        }
        let leaf = *register(libc::REG_RAX) as u32;
        let part = *register(libc::REG_RCX) as u32;
        let found = capped(leaf, part, __cpuid_count(leaf, part));
        *register(libc::REG_RAX) = i64::from(found.eax);
        *register(libc::REG_RBX) = i64::from(found.ebx);
        *register(libc::REG_RCX) = i64::from(found.ecx);
        *register(libc::REG_RDX) = i64::from(found.edx);
        *register(libc::REG_RIP) += INSTRUCTION.len() as i64;
        if allow_cpuid(false).is_err() {
            libc::abort();
        }
    }
}

const fn bits(places: &[u32]) -> u32 {
    let (mut bits, mut at) = (0, 0);
    while at < places.len() {
        bits |= 1 << places[at];
        at += 1;
    }
    bits
}

/// Features in leaf 7 that are unrelated to vectors: FSGSBASE, ERMS, RDSEED, ADX, CLFLUSHOPT, SHA.
const PLAIN: u32 = bits(&[0, 9, 18, 19, 23, 29]);
/// BMI1, AVX2, BMI2.
const OF_V3: u32 = bits(&[3, 5, 8]);
/// AVX-512 F, DQ, CD, BW, VL.
const OF_V4: u32 = bits(&[16, 17, 28, 30, 31]);
/// In leaf 1: FMA, MOVBE, AVX, F16C.
const OF_V3_IN_1: u32 = bits(&[12, 22, 28, 29]);
/// In leaf 8000'0001: XOP, FMA4, TBM, which no level has; and LZCNT.
const NEVER: u32 = bits(&[11, 16, 21]);
const LZCNT: u32 = bits(&[5]);

/// The processor's answer without features beyond the cap.
fn capped(leaf: u32, part: u32, mut found: CpuidResult) -> CpuidResult {
    let level = LEVEL.load(Ordering::Relaxed);
    let (has_v3, has_v4) = (level >= Level::V3 as u8, level >= Level::V4 as u8);
    let nothing = CpuidResult {
        eax: 0,
        ebx: 0,
        ecx: 0,
        edx: 0,
    };
    match (leaf, part) {
        (1, _) if !has_v3 => found.ecx &= !OF_V3_IN_1,
        (7, 0) => {
            let more = if has_v3 { OF_V3 } else { 0 } | if has_v4 { OF_V4 } else { 0 };
            found = CpuidResult {
                ebx: found.ebx & (PLAIN | more),
                ..nothing
            };
        }
        // Features newer than AVX-512; the tile shapes of AMX; AVX10.
        (7 | 0x1d | 0x1e | 0x24, _) => found = nothing,
        (0x8000_0001, _) => found.ecx &= !(NEVER | if has_v3 { 0 } else { LZCNT }),
        _ => {}
    }
    found
}
