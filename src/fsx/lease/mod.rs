//! Locks between hosts, without `flock` and without comparing clocks: a lease is a file that its
//! holder makes and removes, and that others take over once the holder's beats have been seen
//! unchanged for what a lease lasts.
//!
//! The rules, with the folder `tmp/process-…` of a holder as its only sign of life:
//!
//! - A lease is taken by a hard link from the holder's folder, and released by a rename into it.
//! - A process is dead once its folder is gone. Who has seen its beats unchanged for long enough, or
//!   knows of its death on the same host, removes the folder, the heart first. That may happen several
//!   times at once, and can't be undone.
//! - A lease of a dead process is removed by the holder of the right to remove it: a lease of its own, whose
//!   name follows from both. So exactly one process removes it, and only while it is the dead one's.
//!   The right of a process that dies in between is removed likewise.
//!
//! A process that was only suspended can't change a lease any more, since its folder is gone. What it
//! does besides must be harmless, or go through its folder, too.

mod guards;
mod heart;
mod holder;
mod pauses;
mod probe;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use guards::Held;
use heart::{BEGUN, HEART, Heart};
use holder::Occupant;
use pauses::Pauses;
use watch::Watch;

pub use guards::{Lease, Marker, StandingLease};
pub use holder::{Holder, host_name, this_host};
pub use probe::check;

use super::calls;
use super::plain::entries;
use super::removal::remove_tree;
use crate::digest::Digest;
use crate::fsx;

/// The variable that says how many seconds the leases of a process last.
pub const LASTS_VARIABLE: &str = "RIBFLOW_LEASE_SECONDS";
/// How long a lease lasts without a beat of its holder.
pub const LASTS: Duration = Duration::from_secs(90);

/// How often a lease that is released again and again is tried at once.
const ATTEMPTS: usize = 20;
/// The length of a chain of rights to remove one another. Each link is a process that died while it
/// removed the next.
const MOST_RIGHTS: usize = 8;
/// How many other processes a process looks after. Each has others for neighbours, so that the
/// whole ring is watched.
const NEIGHBOURS: usize = 2;
/// How many it looks at when it begins.
const AT_FIRST: usize = 64;
const CLEANING: &str = "cleaning";
const TAKING: &str = "taking-";
const RIGHT: &str = "right-";
const NEXT: &str = "next-";

/// The leases of one process in one store.
#[derive(Debug)]
pub struct Leases {
    /// Where the locks are that have no place of their own.
    folder: PathBuf,
    tmp: PathBuf,
    lasts: Duration,
    heart: Mutex<Option<Arc<Heart>>>,
    /// The leases that this process holds or tries to take.
    held: Arc<Held>,
    watch: Watch,
    confirm: Confirm,
    this: Weak<Self>,
}

/// What a process checks once it has begun: whether the store has the form of locks still.
struct Confirm(Box<dyn Fn() -> io::Result<()> + Send + Sync>);

impl fmt::Debug for Confirm {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a check")
    }
}

/// How long leases last in this process: [`LASTS`], unless the environment says otherwise.
pub fn lasts() -> Duration {
    let given = std::env::var(LASTS_VARIABLE).ok();
    let seconds = given.and_then(|text| text.parse::<f64>().ok());
    match seconds {
        Some(seconds) if (0.01..=3600.0).contains(&seconds) => Duration::from_secs_f64(seconds),
        _ => LASTS,
    }
}

impl Leases {
    /// Leases of a store whose locks are in `folder`, and its processes' folders in `tmp`. Each time
    /// that this process begins there, it asks `confirm`.
    pub fn new(
        folder: PathBuf,
        tmp: PathBuf,
        lasts: Duration,
        confirm: impl Fn() -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            folder,
            tmp,
            lasts,
            heart: Mutex::default(),
            held: Arc::default(),
            watch: Watch::default(),
            confirm: Confirm(Box::new(confirm)),
            this: this.clone(),
        })
    }

    /// The folder of this process in `tmp/`.
    pub fn session(&self) -> io::Result<PathBuf> {
        Ok(self.heart()?.folder.clone())
    }

    /// The lease at `path`, or `None` if another holder may be alive.
    pub fn try_acquire(&self, path: &Path) -> io::Result<Option<Lease>> {
        self.attempt(path, MOST_RIGHTS)
    }

    /// As [`Leases::try_acquire`], but waits for the holder.
    pub fn acquire(&self, path: &Path) -> io::Result<Lease> {
        let next = next_at(path);
        // Who waits goes first: otherwise one that takes it again and again would leave the others
        // moments that their attempts miss.
        if is_gone(&next)?
            && let Some(lease) = self.try_acquire(path)?
        {
            return Ok(lease);
        }
        let _next = self.poll(&next)?;
        self.poll(path)
    }

    fn poll(&self, path: &Path) -> io::Result<Lease> {
        let mut pauses = Pauses::default();
        loop {
            match self.try_acquire(path)? {
                Some(lease) => return Ok(lease),
                None => pauses.wait(),
            }
        }
    }

    /// The holder of the lease at `path` if it may be alive. Changes nothing.
    pub fn holder(&self, path: &Path) -> io::Result<Option<Option<Holder>>> {
        Ok(match Occupant::at(path)? {
            Some(occupant) if !self.seems_dead(&occupant)? => Some(match occupant {
                Occupant::Process(holder) => Some(holder),
                Occupant::Unreadable(_) => None,
            }),
            _ => None,
        })
    }

    /// The lock on the whole store, shared; waits for an exclusive holder.
    pub fn together(&self) -> io::Result<StandingLease> {
        let cleaning = self.folder.join(CLEANING);
        let mut pauses = Pauses::default();
        let mut next = None;
        loop {
            // The marker first, and in the same folder, so that a client of a file server asks anew
            // for what it is about to look at. An exclusive holder looks in the other order.
            let marker = self.marker()?;
            let Some(occupant) = Occupant::at(&cleaning)? else {
                return Ok(StandingLease::Shared(marker));
            };
            let cleared = self.clear(&cleaning, &occupant, MOST_RIGHTS)?;
            drop(marker);
            if cleared.is_break() {
                // No other exclusive holder begins before this one has had its turn.
                if next.is_none() {
                    next = Some(self.poll(&next_at(&cleaning))?);
                }
                pauses.wait();
            }
        }
    }

    /// The lock on the whole store, exclusive; waits for all other holders.
    pub fn alone(&self) -> io::Result<StandingLease> {
        let lease = self.acquire(&self.folder.join(CLEANING))?;
        let mut pauses = Pauses::default();
        while self.is_shared()? {
            pauses.wait();
        }
        Ok(StandingLease::Alone(lease))
    }

    /// The processes of the store that may be alive, by the names of their folders, without this one.
    /// Removes the folders of the others.
    pub fn living(&self) -> io::Result<Vec<(PathBuf, Option<Holder>)>> {
        let own = self.heart_if_any().map(|heart| heart.folder.clone());
        let mut living = Vec::new();
        for folder in self.in_tmp()? {
            if Some(&folder) != own.as_ref() && !self.sweep_one(&folder)? {
                let holder = match Occupant::at(&folder.join(HEART)) {
                    Ok(Some(Occupant::Process(holder))) => Some(holder),
                    _ => None,
                };
                living.push((folder, holder));
            }
        }
        Ok(living)
    }

    /// Whether a process that is not swept yet used leases.
    pub fn were_used(tmp: &Path) -> bool {
        let folders = entries(tmp).unwrap_or_default();
        folders.iter().any(|folder| folder.join(HEART).is_file())
    }

    /// The file in the folder of a process whose time is that of its beginning.
    pub fn beginning(folder: &Path) -> PathBuf {
        folder.join(BEGUN)
    }

    fn heart_if_any(&self) -> Option<Arc<Heart>> {
        let heart = self.heart.lock().unwrap_or_else(|held| held.into_inner());
        heart.clone()
    }

    /// The heart of this process. One that was found dead is replaced.
    fn heart(&self) -> io::Result<Arc<Heart>> {
        let mut place = self.heart.lock().unwrap_or_else(|held| held.into_inner());
        if let Some(heart) = place.as_ref().filter(|heart| heart.is_beating()) {
            return Ok(Arc::clone(heart));
        }
        let this = self.this.clone();
        let look = move || {
            let Some(leases) = this.upgrade() else {
                return false;
            };
            leases.look_after(NEIGHBOURS);
            true
        };
        let heart = Arc::new(Heart::start(&self.tmp, self.lasts, look)?);
        (self.confirm.0)()?;
        *place = Some(Arc::clone(&heart));
        drop(place);
        self.look_after(AT_FIRST);
        Ok(heart)
    }

    /// Links the heart to `path`; `Ok(None)` if there is something.
    fn link(&self, path: &Path) -> io::Result<Option<Arc<Heart>>> {
        for _ in 0..2 {
            let heart = self.heart()?;
            let mut linked = heart.link(path);
            if is_missing(&linked) && heart.beats() {
                // The folder of the lock is not there.
                path.parent().map_or(Ok(()), fsx::make_folders)?;
                linked = heart.link(path);
            }
            match linked {
                Ok(()) => return Ok(Some(heart)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
                // This process was found dead: once more, as another one.
                Err(_) if !heart.beats() => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(
            "this process can't keep its folder in the `tmp` of the store",
        ))
    }

    fn attempt(&self, path: &Path, rights: usize) -> io::Result<Option<Lease>> {
        let Some(turn) = self.held.turn(path) else {
            return Ok(None);
        };
        for _ in 0..ATTEMPTS {
            if let Some(heart) = self.link(path)? {
                return Ok(Some(turn.lease(heart)));
            }
            let Some(occupant) = Occupant::at(path)? else {
                continue;
            };
            // A server has made the link and lost the answer, or has not released it.
            let own = self.heart_if_any();
            if let Some(heart) = own.filter(|heart| heart.session == occupant.id()) {
                return Ok(Some(turn.lease(heart)));
            }
            if self.clear(path, &occupant, rights)?.is_break() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Removes the lease of a dead holder. `Break`: it may be alive, or another process is about to
    /// remove it.
    fn clear(
        &self,
        path: &Path,
        occupant: &Occupant,
        rights: usize,
    ) -> io::Result<ControlFlow<()>> {
        if rights == 0 || !self.is_dead(occupant)? {
            return Ok(ControlFlow::Break(()));
        }
        let Some(right) = self.attempt(&right_to(path, occupant), rights - 1)? else {
            return Ok(ControlFlow::Break(()));
        };
        // The former holder of the right may have removed it, and a third may have the lease. From
        // here on nobody else changes it while it is the dead one's.
        if Occupant::at(path)?.is_some_and(|now| now.id() == occupant.id()) {
            let is_its = |place: &Path| match Occupant::moved(place, path) {
                Ok(Some(moved)) => moved.id() == occupant.id(),
                _ => true,
            };
            match right.heart.take_if(path, is_its) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether the holder is dead, for good: its folder is gone.
    fn is_dead(&self, occupant: &Occupant) -> io::Result<bool> {
        if !self.seems_dead(occupant)? {
            return Ok(false);
        }
        match occupant {
            Occupant::Process(holder) => self.bury(&holder.session),
            Occupant::Unreadable(_) => Ok(true),
        }
    }

    fn seems_dead(&self, occupant: &Occupant) -> io::Result<bool> {
        if self.is_over(occupant) {
            return Ok(true);
        }
        let Occupant::Process(holder) = occupant else {
            return Ok(false);
        };
        // Without its heart a process can do nothing any more.
        is_gone(&self.tmp.join(&holder.session).join(HEART))
    }

    /// Whether its beats have been unchanged for long enough, or it has died on this host.
    fn is_over(&self, occupant: &Occupant) -> bool {
        let lasts = match occupant {
            Occupant::Process(holder) => holder.lasts,
            Occupant::Unreadable(_) => self.lasts,
        };
        let is_over = self.watch.is_over(&occupant.id(), occupant.beats(), lasts);
        is_over || occupant.has_died_here()
    }

    /// Makes the death of a process final; returns `false` if that can't be done now.
    fn bury(&self, session: &str) -> io::Result<bool> {
        let folder = self.tmp.join(session);
        // Others may be at it, too. What can't be removed belongs to another user.
        let _ = calls::remove_file(folder.join(HEART));
        let _ = remove_tree(&folder);
        let gone = is_gone(&folder)?;
        if gone {
            self.watch.forget(session);
        }
        Ok(gone)
    }

    /// Looks at some other processes, and removes the folders of the dead.
    fn look_after(&self, most: usize) {
        // What can't be looked at is looked at later, or by another process.
        let Ok(all) = self.in_tmp() else {
            return;
        };
        let own = self.heart_if_any().map(|heart| heart.folder.clone());
        let own = own.unwrap_or_default();
        let next = all.partition_point(|folder| *folder <= own);
        let ring = all[next..].iter().chain(&all[..next]);
        for folder in ring.filter(|folder| **folder != own).take(most) {
            let _ = self.sweep_one(folder);
        }
    }

    /// Everything in `tmp`, in order. A link is removed like a file.
    fn in_tmp(&self) -> io::Result<Vec<PathBuf>> {
        let listed = calls::read_dir(&self.tmp)?;
        let mut paths: Vec<PathBuf> = listed
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()?;
        paths.sort();
        Ok(paths)
    }

    /// Removes an entry of `tmp` if nobody uses it; returns whether it is gone.
    fn sweep_one(&self, path: &Path) -> io::Result<bool> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let occupant = Occupant::at(&path.join(HEART)).unwrap_or(None);
        if let Some(occupant @ Occupant::Process(_)) = &occupant
            && occupant.id() == name
        {
            // Its heart was just read.
            return match self.is_over(occupant) {
                true => self.bury(&name),
                false => Ok(false),
            };
        }
        // A process that has just begun, or was just found dead; a file of a transfer, which grows;
        // or a remainder.
        let metadata = match calls::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            metadata => metadata?,
        };
        let stamp = format!("{:?}", fsx::Stamp::of(&metadata));
        if !holder::named_has_ended(&name) && !self.watch.is_over(&name, &stamp, self.lasts) {
            return Ok(false);
        }
        self.watch.forget(&name);
        remove_tree(path).map(|()| true)
    }

    /// A new marker of a shared lease.
    fn marker(&self) -> io::Result<Marker> {
        let heart = self.heart()?;
        let name = format!("{TAKING}{}-{}", heart.session, heart.number());
        let path = self.folder.join(name);
        // If it is there already, a server has made it and lost the answer: nobody else has the name.
        let heart = self.link(&path)?.unwrap_or(heart);
        Ok(Marker { heart, path })
    }

    /// Whether another process may hold the shared lease. Removes the markers of the dead.
    fn is_shared(&self) -> io::Result<bool> {
        let mut is_shared = false;
        for path in entries(&self.folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with(TAKING) {
                continue;
            }
            match Occupant::at(&path)? {
                // No other process ever has its name.
                Some(occupant) if self.is_dead(&occupant)? => match calls::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                },
                Some(_) => is_shared = true,
                None => {}
            }
        }
        Ok(is_shared)
    }

    /// Removes the leases and markers of the dead from the folder of locks.
    pub fn sweep(&self) -> io::Result<()> {
        self.is_shared()?;
        for path in entries(&self.folder)? {
            if let Some(occupant) = Occupant::at(&path)?
                && occupant.beats() != ""
            {
                let _ = self.clear(&path, &occupant, MOST_RIGHTS)?;
            }
        }
        Ok(())
    }
}

/// The lease of the one that waits for the lease at `path`, and is the next.
fn next_at(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{NEXT}{name}"))
}

/// The right to remove a lease of a dead holder.
fn right_to(path: &Path, occupant: &Occupant) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let both = Digest::of(format!("{name} {}", occupant.id()).as_bytes());
    path.with_file_name(format!("{RIGHT}{}", &both.to_hex()[..32]))
}

fn is_missing<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Whether nothing is at `path`; an error if that can't be determined.
fn is_gone(path: &Path) -> io::Result<bool> {
    match calls::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}
