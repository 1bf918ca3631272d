//! Leases of several processes, each a [`Leases`] of its own: the tests stop its beats.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;

/// Six beats in it must come even on a busy machine.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(3600);

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.0.path().join("claims")).unwrap();
        place
    }

    /// A process whose leases last so long.
    fn process(&self, lasts: Duration) -> Arc<Leases> {
        let root = self.0.path();
        Leases::new(root.join("claims"), root.join("tmp"), lasts, || Ok(()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("claims").join(name)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let folder = self.0.path().join(folder);
        let names = fs::read_dir(folder).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Leases {
    fn suspend(&self) {
        self.heart().unwrap().suspend();
    }
}

fn take_over(leases: &Leases, path: &Path) -> Lease {
    let begun = Instant::now();
    loop {
        if let Some(lease) = leases.try_acquire(path).unwrap() {
            return lease;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not lost");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_lease_excludes_and_leaves_no_file() {
    let place = Place::new();
    let (one, two, path) = (place.process(LONG), place.process(LONG), place.path("key"));
    let held = one.try_acquire(&path).unwrap().unwrap();
    assert!(held.is_held());
    assert!(one.try_acquire(&path).unwrap().is_none(), "another thread");
    assert!(two.try_acquire(&path).unwrap().is_none());
    let holder = two.holder(&path).unwrap().unwrap().unwrap();
    assert_eq!(holder.pid, std::process::id());
    drop(held);
    assert_eq!(two.holder(&path).unwrap(), None);
    drop(two.try_acquire(&path).unwrap().unwrap());
    assert!(place.names("claims").is_empty());
    drop((one, two));
    assert!(place.names("tmp").is_empty());
}

#[test]
fn the_lease_of_a_process_that_has_ended_is_free_at_once() {
    let place = Place::new();
    let (one, path) = (place.process(LONG), place.path("key"));
    let held = one.try_acquire(&path).unwrap().unwrap();
    // As a kill would: nothing is released, nothing removed.
    let heart = Arc::clone(&held.heart);
    std::mem::forget(held);
    holder::ends(&heart.session);
    let two = place.process(LONG);
    assert_eq!(two.holder(&path).unwrap(), None);
    let held = two.try_acquire(&path).unwrap().unwrap();
    assert!(!heart.beats() && held.is_held());
    assert_eq!(place.names("tmp").len(), 1);
    drop(held);
    assert!(place.names("claims").is_empty());
}

#[test]
fn a_suspended_holder_loses_its_lease_and_ends_no_other_one() {
    let place = Place::new();
    let (one, two, path) = (place.process(SHORT), place.process(LONG), place.path("key"));
    let lost = one.try_acquire(&path).unwrap().unwrap();
    // As long as it beats it is held.
    for _ in 0..60 {
        assert!(two.try_acquire(&path).unwrap().is_none());
        std::thread::sleep(Duration::from_millis(4));
    }
    one.suspend();
    let held = take_over(&two, &path);
    assert!(!lost.is_held() && held.is_held());
    drop(lost);
    assert!(held.is_held());
    // It goes on as another process.
    assert!(one.try_acquire(&path).unwrap().is_none());
    let other = one.try_acquire(&place.path("other")).unwrap().unwrap();
    assert!(other.is_held());
    drop(held);
    assert!(one.try_acquire(&path).unwrap().is_some());
}

#[test]
fn a_process_that_dies_while_it_takes_over_blocks_nobody() {
    let place = Place::new();
    let path = place.path("key");
    let dead = |path: &Path| {
        let leases = place.process(LONG);
        let held = leases.try_acquire(path).unwrap().unwrap();
        holder::ends(&held.heart.session);
        let occupant = Occupant::at(path).unwrap().unwrap();
        std::mem::forget((held, leases));
        occupant
    };
    // Each dies with the right to remove the lease of the one before.
    let first = dead(&path);
    let mut right = right_to(&path, &first);
    for _ in 0..3 {
        let next = dead(&right);
        right = right_to(&right, &next);
    }
    let held = take_over(&place.process(LONG), &path);
    assert!(held.is_held());
    assert_eq!(place.names("claims"), ["key"]);
}

#[test]
fn what_is_no_lease_file_is_held_until_it_was_seen_for_long_enough() {
    let place = Place::new();
    let path = place.path("key");
    fs::write(&path, "").unwrap();
    let one = place.process(SHORT);
    assert!(one.try_acquire(&path).unwrap().is_none());
    assert_eq!(one.holder(&path).unwrap(), Some(None));
    drop(take_over(&one, &path));
    assert!(place.names("claims").is_empty());
    // A folder of a process without a heart, and a file that nobody writes.
    fs::create_dir(place.0.path().join("tmp/process-00")).unwrap();
    fs::write(place.0.path().join("tmp/half"), "half").unwrap();
    assert_eq!(one.living().unwrap().len(), 2);
    let begun = Instant::now();
    while !one.living().unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(place.names("tmp").len(), 1);
}

/// Contenders that are suspended at any time while they hold the lease: of those that are not, one
/// holds it at a time.
#[test]
fn of_many_contenders_one_holds_at_a_time_even_if_some_are_suspended() {
    let place = Place::new();
    let path = place.path("key");
    let (inside, held, lost) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (place, path, inside) = (&place, &path, &inside);
            let (held, lost) = (&held, &lost);
            scope.spawn(move || {
                let leases = place.process(SHORT);
                for round in 0..40 {
                    let lease = leases.acquire(path).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    held.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    if (round + number) % 13 == 0 {
                        // From here on another one may hold it.
                        leases.suspend();
                        // The others may be at their end.
                        let until = Instant::now() + 8 * SHORT;
                        while lease.is_held() && Instant::now() < until {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                        lost.fetch_add(usize::from(!lease.is_held()), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(held.into_inner(), 240);
    assert!(lost.into_inner() > 5);
    assert!(place.names("claims").is_empty());
    assert!(place.names("tmp").is_empty());
}

/// Holders of the shared lease and of the exclusive one, some of which are suspended.
#[test]
fn an_exclusive_holder_is_alone() {
    let place = Place::new();
    let (shared, alone) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (place, shared, alone) = (&place, &shared, &alone);
            scope.spawn(move || {
                let leases = place.process(SHORT);
                for round in 0..30 {
                    let held = match (round + number) % 4 == 0 {
                        true => {
                            let held = leases.alone().unwrap();
                            assert_eq!(alone.fetch_add(1, Ordering::SeqCst), 0);
                            assert_eq!(shared.load(Ordering::SeqCst), 0);
                            std::thread::yield_now();
                            assert_eq!(shared.load(Ordering::SeqCst), 0);
                            alone.fetch_sub(1, Ordering::SeqCst);
                            held
                        }
                        false => {
                            let held = leases.together().unwrap();
                            shared.fetch_add(1, Ordering::SeqCst);
                            assert_eq!(alone.load(Ordering::SeqCst), 0);
                            std::thread::yield_now();
                            assert_eq!(alone.load(Ordering::SeqCst), 0);
                            shared.fetch_sub(1, Ordering::SeqCst);
                            held
                        }
                    };
                    if (round + number) % 11 == 0 {
                        leases.suspend();
                        let until = Instant::now() + 4 * SHORT;
                        while held.is_held() && Instant::now() < until {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                        leases.heart().unwrap().resume();
                    }
                }
            });
        }
    });
    assert!(place.names("claims").is_empty());
    assert!(place.names("tmp").is_empty());
}

#[test]
fn several_may_share() {
    let place = Place::new();
    let (one, two) = (place.process(LONG), place.process(LONG));
    let held = [one.together(), one.together(), two.together()].map(Result::unwrap);
    assert!(held.iter().all(StandingLease::is_held));
    assert!(two.is_shared().unwrap());
    drop(held);
    let alone = two.alone().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| one.together().map(drop));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(alone);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn a_process_that_comes_back_writes_elsewhere() {
    let place = Place::new();
    let one = place.process(SHORT);
    let before = one.session().unwrap();
    assert_eq!(one.session().unwrap(), before);
    one.suspend();
    fs::remove_dir_all(&before).unwrap();
    std::thread::sleep(SHORT);
    let after = one.session().unwrap();
    assert!(after != before && after.is_dir());
}

/// A link in place of a lease is not followed, and not taken for a holder.
#[test]
fn a_link_in_place_of_a_lease_is_an_error() {
    let place = Place::new();
    let (path, other) = (place.path("key"), place.path("mine"));
    fs::write(&other, "mine").unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    assert!(place.process(LONG).try_acquire(&path).is_err());
    assert_eq!(fs::read(&other).unwrap(), b"mine");
}

#[test]
fn a_file_system_with_hard_links_has_what_leases_need() {
    check(tempfile::tempdir().unwrap().path()).unwrap();
}
