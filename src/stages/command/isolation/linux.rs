//! Landlock, seccomp and capabilities, applied to the child between `fork` and `exec`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use seccompiler::{BpfProgram, apply_filter};

use super::filter::filter;
use super::places::{Access, Place};

/// The flag of `landlock_create_ruleset` that asks for the version only.
const VERSION: u32 = 1;
/// The numbers of the capabilities that root keeps (linux/capability.h): CHOWN, DAC_OVERRIDE,
/// FOWNER and FSETID, the rights over files that Landlock limits. Without the others it can't read
/// the memory of the kernel, mount, or load modules.
const KEPT: [libc::c_ulong; 4] = [0, 1, 3, 4];
/// The version of the structures of `capget` and `capset`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// The distance of the error numbers of two steps. The system's own are smaller.
const STEP: i32 = 1 << 16;

/// The steps in the child, for messages.
#[derive(Clone, Copy)]
enum Step {
    Descriptors = 1,
    Capabilities,
    Privileges,
    Landlock,
    Seccomp,
}

/// What is applied to the child.
pub struct Restrictions {
    ruleset: Arc<OwnedFd>,
    filter: Arc<BpfProgram>,
    abi: i32,
}

impl Restrictions {
    pub fn prepare(places: &[Place], network: bool) -> Result<Self, String> {
        let abi = abi().map_err(|error| {
            format!(
                "the kernel has no Landlock ({error}); it needs Linux 5.13 or newer, with `landlock` \
                 in /sys/kernel/security/lsm"
            )
        })?;
        let ruleset = ruleset(ABI::from(abi), places)
            .map_err(|error| format!("the kernel refused a rule of Landlock: {error}"))?;
        let ruleset: Option<OwnedFd> = ruleset.into();
        let ruleset = ruleset.ok_or("the kernel refused Landlock")?;
        let filter = filter(abi, network).ok_or("this processor has no filter of system calls")?;
        Ok(Self {
            ruleset: Arc::new(ruleset),
            filter: Arc::new(filter),
            abi,
        })
    }

    pub fn bind(&self, command: &mut Command) {
        let (ruleset, filter) = (Arc::clone(&self.ruleset), Arc::clone(&self.filter));
        // SAFETY: `confine` makes system calls only. It allocates nothing and takes no lock, also
        // where a call fails.
        unsafe {
            command.pre_exec(move || confine(&ruleset, &filter));
        }
    }

    pub fn refusal(&self, error: &io::Error) -> Option<String> {
        let code = error.raw_os_error()?;
        let steps = [
            (Step::Descriptors, "to close the files of the caller"),
            (Step::Capabilities, "to drop the capabilities of root"),
            (Step::Privileges, "to rule out new privileges"),
            (Step::Landlock, "Landlock"),
            (Step::Seccomp, "seccomp"),
        ];
        let failed = steps.iter().find(|(step, _)| *step as i32 == code / STEP);
        let reason = io::Error::from_raw_os_error(code % STEP);
        failed.map(|(_, what)| format!("the kernel refused {what}: {reason}"))
    }

    pub fn name(&self) -> String {
        format!("landlock abi {}, seccomp", self.abi)
    }
}

/// The version of the kernel's Landlock.
fn abi() -> io::Result<i32> {
    // SAFETY: with this flag the call takes no structure and returns a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    match version {
        1.. => Ok(i32::try_from(version).unwrap_or(i32::MAX)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn ruleset(abi: ABI, places: &[Place]) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(abi))?;
    let scopes = Scope::from_all(abi);
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    let mut created = ruleset.create()?;
    for place in places {
        // A place that is absent or out of reach needs no rule.
        if let Ok(opened) = PathFd::new(&place.path) {
            let rights = rights(place, abi);
            created = created.add_rule(PathBeneath::new(opened, rights))?;
        }
    }
    Ok(created)
}

fn rights(place: &Place, abi: ABI) -> BitFlags<AccessFs> {
    let rights = match place.access {
        Access::Read => AccessFs::from_read(abi),
        Access::Device => {
            (AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev)
                & AccessFs::from_all(abi)
        }
        Access::Write => AccessFs::from_all(abi),
    };
    match place.path.is_dir() {
        true => rights,
        false => rights & AccessFs::from_file(abi),
    }
}

/// Applies everything to the calling process, which is between `fork` and `exec`.
fn confine(ruleset: &OwnedFd, filter: &BpfProgram) -> io::Result<()> {
    close_others().map_err(at(Step::Descriptors))?;
    drop_capabilities().map_err(at(Step::Capabilities))?;
    // SAFETY: the call takes numbers.
    passed(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())
        .map_err(at(Step::Privileges))?;
    // SAFETY: the call takes a descriptor and flags.
    passed(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) })
        .map_err(at(Step::Landlock))?;
    apply_filter(filter).map_err(|_| at(Step::Seccomp)(io::Error::last_os_error()))
}

/// Only numbers reach the parent, so the step is part of the number.
fn at(step: Step) -> impl Fn(io::Error) -> io::Error {
    move |error| {
        let code = error.raw_os_error().unwrap_or(libc::EINVAL);
        io::Error::from_raw_os_error(step as i32 * STEP + code)
    }
}

/// Marks all descriptors beyond the standard ones, so that `exec` closes them: files that ribflow
/// was started with would stay readable.
fn close_others() -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: the call takes numbers, and closes nothing with this flag.
    passed(unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, flags) })
}

/// Leaves root with [`KEPT`]. Other users have none to lose but ambient and inherited ones.
fn drop_capabilities() -> io::Result<()> {
    const CLEAR: libc::c_int = libc::PR_CAP_AMBIENT_CLEAR_ALL;
    // SAFETY: the call takes numbers.
    let cleared = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, CLEAR, 0, 0, 0) };
    passed(cleared.into())?;
    inherit_no_capability()?;
    // SAFETY: the call takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(());
    }
    for number in 0..64 {
        // SAFETY: the calls take numbers. The kernel refuses numbers beyond its own.
        let held = unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) } == 1;
        if held && !KEPT.contains(&number) {
            // SAFETY: as above.
            passed(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }.into())?;
        }
    }
    Ok(())
}

/// Empties the set of capabilities that `exec` would add to those of a program.
fn inherit_no_capability() -> io::Result<()> {
    /// `__user_cap_header_struct`; process 0 is the caller.
    #[repr(C)]
    struct Header(u32, i32);
    /// `__user_cap_data_struct`: 32 bits of each set.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header(CAPABILITY_VERSION, 0);
    let mut sets = [Sets {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    }; 2];
    // SAFETY: version 3 has a header and two structures of sets.
    passed(unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) })?;
    for half in &mut sets {
        half.inheritable = 0;
    }
    // SAFETY: as above.
    passed(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) })
}

fn passed(result: libc::c_long) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
