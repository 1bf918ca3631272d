//! The system calls that an isolated line may not make: those that reach beyond it and that
//! Landlock does not cover.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// Calls that are always refused: io_uring, which opens sockets past this filter; keys of the
/// session; shared memory, semaphores and queues of other processes; files by handle.
const REFUSED: [libc::c_long; 9] = [
    libc::SYS_io_uring_setup,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_shmget,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    libc::SYS_open_by_handle_at,
];
/// The first ABI of Landlock that covers `truncate`.
const COVERS_TRUNCATE: i32 = 3;
/// The bits of a socket's type that are not flags.
const TYPE_BITS: u64 = 0xf;
/// The first number of the calls of the x32 ABI, which are the same calls under other numbers.
const X32: u32 = 0x4000_0000;

/// The filter. Refused calls fail with EACCES. `None` on processors that it can't be made for.
pub fn filter(abi: i32, network: bool) -> Option<BpfProgram> {
    let target = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let made = rules(abi, network).and_then(|rules| {
        SeccompFilter::new(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EACCES as u32),
            target,
        )
    });
    let program: BpfProgram = made.and_then(BpfProgram::try_from).ok()?;
    Some(without_x32().into_iter().chain(program).collect())
}

/// The rules by system call. A call without a rule of its own list is refused whatever its
/// arguments are.
fn rules(abi: i32, network: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    if abi < COVERS_TRUNCATE {
        rules.insert(libc::SYS_truncate, Vec::new());
    }
    rules.insert(libc::SYS_socket, sockets(network)?);
    rules.insert(libc::SYS_socketpair, pairs()?);
    Ok(rules)
}

/// No sockets at all; with a network, those of IP and of routes. Unix sockets are always refused,
/// because they lead to other processes of this machine.
fn sockets(network: bool) -> Result<Vec<SeccompRule>, BackendError> {
    if !network {
        return Ok(Vec::new());
    }
    let other = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK]
        .map(|family| is(0, SeccompCmpOp::Ne, family));
    let other = other.into_iter().collect::<Result<_, _>>()?;
    let netlink = vec![
        is(0, SeccompCmpOp::Eq, libc::AF_NETLINK)?,
        is(2, SeccompCmpOp::Ne, libc::NETLINK_ROUTE)?,
    ];
    Ok(vec![SeccompRule::new(other)?, SeccompRule::new(netlink)?])
}

/// Pairs are for two processes of the line. A datagram socket of a pair could still send to any
/// address.
fn pairs() -> Result<Vec<SeccompRule>, BackendError> {
    let foreign = SeccompRule::new(vec![is(0, SeccompCmpOp::Ne, libc::AF_UNIX)?])?;
    let datagrams = [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_RDM].map(|kind| {
        let masked = SeccompCmpOp::MaskedEq(TYPE_BITS);
        SeccompRule::new(vec![is(1, masked, kind)?])
    });
    let rules = [Ok(foreign)].into_iter().chain(datagrams);
    rules.collect()
}

fn is(argument: u8, compare: SeccompCmpOp, value: i32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value as u64)
}

/// Refuses the calls of x32, which the filter behind it knows by their usual numbers only.
fn without_x32() -> [sock_filter; 3] {
    let step = |code: u32, jf: u8, k: u32| sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    [
        // The number of the call is the first field of `seccomp_data`.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        ),
    ]
}
