//! Who holds a lease: the content of a lease file, and whether its process is known to be dead on
//! this host.
//!
//! A lease file is a hard link of the heart of its holder, so it always says the latest beat.
//! Another user of the store may have written it: everything in it is checked.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::digest::Digest;
use crate::fsx::calls;
use crate::fsx::plain::open_plain;

/// The first line of a lease file.
const HEAD: &str = "ribflow lease 1";
/// The most bytes of a lease file that are read.
const MOST_BYTES: u64 = 4096;
/// The digits of the count of beats.
const DIGITS: usize = 16;
/// What a lease may last, so that a forged one neither ends at once nor lasts for ever.
const LASTS: std::ops::RangeInclusive<u64> = 10..=3_600_000;
const PREFIX: &str = "process-";

/// The process that holds a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The name of its folder in `tmp/`. No other process ever has it.
    pub session: String,
    pub host: String,
    pub pid: u32,
    pub user: u32,
    /// The lease is lost once its beats have been seen unchanged for so long.
    pub lasts: Duration,
    /// Distinguishes two beats.
    beats: String,
    /// Identifies the host since its last start.
    boot: String,
    /// Identifies the namespace of `pid`.
    namespace: u64,
    /// When the process started, in ticks since the start of the host.
    started: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "process {} on {}", self.pid, self.host)
    }
}

impl Holder {
    /// This process under the name `session`.
    pub(super) fn this_process(session: &str, lasts: Duration) -> Self {
        let Machine {
            host,
            boot,
            namespace,
        } = Machine::this().clone();
        let pid = std::process::id();
        Self {
            session: session.to_string(),
            host,
            pid,
            user: rustix::process::getuid().as_raw(),
            lasts,
            beats: beats(0),
            boot,
            namespace,
            started: process(pid).map_or(0, |process| process.started),
        }
    }

    pub(super) fn to_text(&self) -> String {
        let Self {
            session,
            host,
            pid,
            user,
            lasts,
            beats,
            boot,
            namespace,
            started,
        } = self;
        let lasts = lasts.as_millis();
        format!(
            "{HEAD}\nbeats {beats}\nsession {session}\nhost {host}\npid {pid}\nuser {user}\n\
             lasts {lasts}\nboot {boot}\nnamespace {namespace}\nstarted {started}\n"
        )
    }

    /// Reads a lease file. Unknown lines are left to later versions.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next() != Some(HEAD) {
            return None;
        }
        let mut fields: Vec<(&str, &str)> = Vec::new();
        for line in lines {
            fields.push(line.split_once(' ')?);
        }
        let field = |name: &str| {
            let mut named = fields.iter().filter(|(field, _)| *field == name);
            let (_, value) = named.next()?;
            named.next().is_none().then_some(*value)
        };
        let word = |name: &str, most: usize| {
            let value = field(name)?;
            let is_word = value.len() <= most && value.bytes().all(is_plain);
            is_word.then(|| value.to_string())
        };
        let lasts = field("lasts")?.parse().ok()?;
        Some(Self {
            session: word("session", 80).filter(|name| is_session(name))?,
            host: word("host", 255)?,
            pid: field("pid")?.parse().ok()?,
            user: field("user")?.parse().ok()?,
            lasts: LASTS
                .contains(&lasts)
                .then_some(Duration::from_millis(lasts))?,
            beats: word("beats", DIGITS).filter(|digits| digits.len() == DIGITS)?,
            boot: word("boot", 64)?,
            namespace: field("namespace")?.parse().ok()?,
            started: field("started")?.parse().ok()?,
        })
    }

    /// Whether this host knows that the process has died.
    fn has_died_here(&self) -> bool {
        let this = Machine::this();
        if this.boot.is_empty() || self.boot != this.boot || self.namespace != this.namespace {
            return false;
        }
        if self.pid == std::process::id() {
            return !living().contains(&self.session);
        }
        has_ended(self.pid, self.started)
    }
}

/// Whether a process of this host has ended.
fn has_ended(number: u32, started: u64) -> bool {
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else {
        return false;
    };
    if rustix::process::test_kill_process(pid) == Err(Errno::SRCH) {
        return true;
    }
    // Where the table of processes can't be read, the beats decide.
    process(number).is_some_and(|it| it.has_ended || it.started != started)
}

/// What the name of a folder of this process begins with. It says whose the folder is before its
/// heart does.
pub(super) fn prefix() -> String {
    let pid = std::process::id();
    let started = process(pid).map_or(0, |process| process.started);
    format!("{PREFIX}{}{pid:08x}{started:016x}", Machine::this().tag())
}

/// Whether the process that a folder is named after is known to have ended on this host.
pub(super) fn named_has_ended(name: &str) -> bool {
    let this = Machine::this();
    let tag = this.tag();
    let rest = name.strip_prefix(PREFIX).filter(|_| is_session(name));
    let rest = rest.and_then(|digits| digits.strip_prefix(&tag));
    let Some(rest) = rest.filter(|rest| rest.len() >= 24 && !this.boot.is_empty()) else {
        return false;
    };
    let pid = u32::from_str_radix(&rest[..8], 16).ok();
    let started = u64::from_str_radix(&rest[8..24], 16).ok();
    match (pid, started) {
        // A thread of this process may be about to begin there.
        (Some(pid), Some(started)) => pid != std::process::id() && has_ended(pid, started),
        _ => false,
    }
}

/// What a lease file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    Process(Holder),
    /// Not a lease file: nothing that a power failure or a build of another form left is taken for a
    /// free lease at once.
    Unreadable(Digest),
}

impl Occupant {
    /// Reads the file at `path`; `None` if there is none.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        Self::moved(path, path)
    }

    /// Reads the file at `place` that was at `path`.
    pub fn moved(place: &Path, path: &Path) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let read = open_plain(place).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(_) => Ok(Some(match Holder::parse(&bytes) {
                Some(holder) => Self::Process(holder),
                None => Self::Unreadable(unreadable(path, &bytes)),
            })),
        }
    }

    /// Distinguishes it from all other holders.
    pub fn id(&self) -> String {
        match self {
            Self::Process(holder) => holder.session.clone(),
            Self::Unreadable(digest) => digest.to_hex(),
        }
    }

    /// Changes with every beat.
    pub fn beats(&self) -> &str {
        match self {
            Self::Process(holder) => &holder.beats,
            Self::Unreadable(_) => "",
        }
    }

    pub fn has_died_here(&self) -> bool {
        matches!(self, Self::Process(holder) if holder.has_died_here())
    }
}

/// The same on all hosts: the path that leads to the store is in none of it.
fn unreadable(path: &Path, bytes: &[u8]) -> Digest {
    let mut names = path.iter().rev().map(|name| name.as_encoded_bytes());
    let (name, folder) = (names.next(), names.next());
    let parts = [folder, name].map(Option::unwrap_or_default);
    Digest::of(&[parts[0], b"/", parts[1], b"/", bytes].concat())
}

/// The text of a count, always of the same length.
pub(super) fn beats(count: u64) -> String {
    format!("{count:0DIGITS$x}")
}

/// Where the count begins in a lease file.
pub(super) const BEATS_AT: u64 = HEAD.len() as u64 + 1 + "beats ".len() as u64;

/// Whether `name` is that of a folder of a process in `tmp/`, and so leads nowhere else.
pub(super) fn is_session(name: &str) -> bool {
    let digits = name.strip_prefix(PREFIX);
    digits.is_some_and(|digits| {
        (1..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:".contains(&byte)
}

/// The sessions of this process that have not ended.
static LIVING: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// Notes that this process begins a session.
pub(super) fn begins(session: &str) {
    living().insert(session.to_string());
}

/// Notes that a session of this process has ended.
pub(super) fn ends(session: &str) {
    living().remove(session);
}

struct Living<'a>(MutexGuard<'a, Option<HashSet<String>>>);

fn living() -> Living<'static> {
    Living(LIVING.lock().unwrap_or_else(|held| held.into_inner()))
}

impl Living<'_> {
    fn insert(&mut self, session: String) {
        self.0.get_or_insert_default().insert(session);
    }

    fn remove(&mut self, session: &str) {
        self.0.get_or_insert_default().remove(session);
    }

    fn contains(&self, session: &str) -> bool {
        self.0.as_ref().is_some_and(|all| all.contains(session))
    }
}

/// Identifies this host since its last start: its processes see each other's `flock`. Its name, where
/// the system does not say more.
pub fn this_host() -> String {
    let Machine { host, boot, .. } = Machine::this();
    if boot.is_empty() { host } else { boot }.clone()
}

/// The name of this host, in at most 64 plain characters.
pub fn host_name() -> String {
    Machine::this().host.clone()
}

/// This host.
#[derive(Clone, Debug)]
struct Machine {
    host: String,
    /// Empty where the system does not say it: then no process counts as one of this host.
    boot: String,
    namespace: u64,
}

impl Machine {
    /// Eight digits for the host since its last start, and its namespace.
    fn tag(&self) -> String {
        let both = format!("{} {}", self.boot, self.namespace);
        Digest::of(both.as_bytes()).to_hex()[..8].to_string()
    }

    fn this() -> &'static Self {
        static THIS: OnceLock<Machine> = OnceLock::new();
        THIS.get_or_init(|| {
            let host = rustix::system::uname();
            let host = host.nodename().to_string_lossy().into_owned();
            let boot = calls::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let boot = String::from_utf8_lossy(&boot).trim().to_string();
            Self {
                host: plain(&host, "unnamed"),
                boot: plain(&boot, ""),
                namespace: namespace(),
            }
        })
    }
}

/// `text` if a lease file can hold it.
fn plain(text: &str, otherwise: &str) -> String {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(is_plain);
    if fits { text } else { otherwise }.to_string()
}

/// The inode of the namespace of process numbers: containers of one host differ in it.
fn namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    calls::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino())
}

/// An entry of the table of processes.
struct Process {
    started: u64,
    has_ended: bool,
}

fn process(pid: u32) -> Option<Process> {
    let text = calls::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    // The name, in parentheses, may contain anything.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    Some(Process {
        has_ended: matches!(state, "Z" | "X"),
        started: fields.nth(18)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder::this_process("process-0123456789abcdef01234567", Duration::from_secs(90))
    }

    #[test]
    fn a_lease_file_says_its_holder_and_nothing_else_passes_for_one() {
        let (holder, text) = (holder(), holder().to_text());
        assert_eq!(Holder::parse(text.as_bytes()), Some(holder.clone()));
        assert_eq!(&text[BEATS_AT as usize..][..DIGITS], beats(0));
        let later = text.clone() + "more of it\n";
        assert_eq!(Holder::parse(later.as_bytes()), Some(holder));
        for (from, to) in [
            ("session process-", "session ../"),
            ("session process-0", "session process-/"),
            ("lasts 90000", "lasts 3600001"),
            ("lasts 90000", "lasts 0"),
            ("host ", "host a\u{1b}"),
            ("pid ", "pid -"),
            ("user ", "pid 1\nuser "),
            ("lease 1", "lease 2"),
        ] {
            assert!(text.contains(from), "{from}");
            let forged = text.replacen(from, to, 1);
            assert_eq!(Holder::parse(forged.as_bytes()), None, "{forged}");
        }
        assert_eq!(Holder::parse(b""), None);
        assert_eq!(Holder::parse(&[0; 100]), None);
    }

    #[test]
    fn only_a_process_of_this_host_is_known_to_be_dead() {
        let mut other = holder();
        assert!(other.has_died_here(), "this process has no such session");
        begins(&other.session);
        assert!(!other.has_died_here());
        ends(&other.session);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        other.pid = child.id();
        assert!(other.has_died_here());
        let elsewhere = Holder {
            boot: "another".to_string(),
            ..other.clone()
        };
        assert!(!elsewhere.has_died_here());
        let contained = Holder {
            namespace: 1,
            ..other.clone()
        };
        assert!(!contained.has_died_here());
        // A number that was given again.
        other.pid = std::process::id();
        other.pid = rustix::process::getppid().unwrap().as_raw_nonzero().get() as u32;
        assert!(other.has_died_here());
        other.started = process(other.pid).unwrap().started;
        assert!(!other.has_died_here());
        // By the name of its folder.
        let own = prefix() + "0123456789abcdef";
        assert!(is_session(&own) && !named_has_ended(&own));
        let number = format!("{:08x}", std::process::id());
        let dead = own.replacen(&number, &format!("{:08x}", child.id()), 1);
        assert!(named_has_ended(&dead), "{dead}");
        assert!(!named_has_ended("process-00") && !named_has_ended("other"));
    }
}
