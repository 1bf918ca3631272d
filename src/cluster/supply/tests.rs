use proptest::prelude::*;

use super::*;

fn limits() -> Limits {
    Limits {
        workers: 10,
        target: 100.0,
        batch: 4,
        ..Limits::default()
    }
}

fn work(ready: usize, seconds: Option<f64>) -> Standing {
    Standing {
        ready,
        seconds,
        ..Standing::default()
    }
}

fn order(class: usize, workers: usize) -> Option<Order> {
    Some(Order { class, workers })
}

#[test]
fn as_many_workers_as_the_work_is_enough_for() {
    let supply = Supply::new(limits());
    let asked = |standing: Standing| supply.order(0.0, &[("a", standing)], 0);
    // One worker for 100 s of work, at most one for each node, at most four at once, and ten in all.
    assert_eq!(asked(work(50, Some(250.0))), order(0, 3));
    assert_eq!(asked(work(2, Some(1e9))), order(0, 2));
    assert_eq!(asked(work(50, Some(0.001))), order(0, 1));
    assert_eq!(asked(work(50, None)), order(0, 4));
    assert_eq!(asked(work(0, Some(0.0))), None);
    let running = Standing {
        running: 9,
        ..work(50, None)
    };
    assert_eq!(asked(running.clone()), order(0, 1));
    assert_eq!(supply.order(0.0, &[("a", running)], 1), None);
    // Nothing is added to a queue that does not move.
    let waiting = Standing {
        queued: 2,
        queued_submissions: 2,
        ..work(50, None)
    };
    assert_eq!(asked(waiting), None);
}

#[test]
fn no_class_starves() {
    let supply = Supply::new(limits());
    let classes = [
        ("a", work(1000, None)),
        ("b", work(1, None)),
        ("c", work(1000, None)),
    ];
    assert_eq!(shares(&classes, &limits(), 10), [5, 1, 4]);
    let mut classes = classes;
    classes[0].1.running = 4;
    assert_eq!(supply.order(0.0, &classes, 0), order(1, 1));
}

#[test]
fn refusals_are_followed_by_longer_and_longer_pauses() {
    let mut supply = Supply::new(limits());
    let classes = [("a", work(5, None)), ("b", work(5, None))];
    let pauses: Vec<f64> = (0..8).map(|_| supply.refused("a", 0.0)).collect();
    assert_eq!(pauses[..4], [30.0, 60.0, 120.0, 240.0]);
    assert_eq!(pauses[7], 1800.0);
    // The other class is not held back.
    assert_eq!(supply.order(10.0, &classes, 0).map(|it| it.class), Some(1));
    assert!(supply.pauses("a", 1799.0) && !supply.pauses("a", 1800.0));
    supply.claimed("a");
    assert!(!supply.pauses("a", 0.0));
}

#[test]
fn three_workers_that_claim_nothing_are_enough() {
    let mut supply = Supply::new(limits());
    for _ in 0..2 {
        supply.ended("a", Ending::Unclaimed, 0.0);
    }
    // What the machine did is not theirs, and one that found nothing to do is well.
    supply.ended("a", Ending::Machine { claimed: false }, 0.0);
    supply.ended("a", Ending::Served, 0.0);
    assert_eq!(supply.too_many_deaths(), None);
    supply.ended("b", Ending::Unclaimed, 0.0);
    assert_eq!(supply.too_many_deaths(), Some(3));
    supply.claimed("b");
    assert_eq!(supply.too_many_deaths(), None);
}

/// What may happen in a simulated cluster.
#[derive(Clone, Debug)]
enum Step {
    /// Work appears or goes.
    Work(usize, usize, Option<u32>),
    /// The oldest submission of the class starts.
    Start(usize),
    /// A worker of the class ends.
    End(usize, bool),
    Refuse(usize),
    Wait(f64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (
            0..3_usize,
            0..200_usize,
            proptest::option::of(0..1_000_000_u32)
        )
            .prop_map(|(class, ready, seconds)| Step::Work(class, ready, seconds)),
        (0..3_usize).prop_map(Step::Start),
        (0..3_usize, any::<bool>()).prop_map(|(class, machine)| Step::End(class, machine)),
        (0..3_usize).prop_map(Step::Refuse),
        (0.0..2000.0).prop_map(Step::Wait),
    ]
}

const NAMES: [&str; 3] = ["a", "b", "c"];

proptest! {
    /// Whatever happens, no limit is exceeded, and work that may have workers gets some.
    #[test]
    fn limits_hold_and_work_gets_workers(steps in prop::collection::vec(step(), 1..80)) {
        let limits = limits();
        let mut supply = Supply::new(limits.clone());
        let mut classes = NAMES.map(|name| (name, Standing::default()));
        let mut queues: [Vec<usize>; 3] = Default::default();
        let mut now = 0.0;
        let mut last = f64::NEG_INFINITY;
        for step in steps {
            match step {
                Step::Work(class, ready, seconds) => {
                    classes[class].1.ready = ready;
                    classes[class].1.seconds = seconds.map(f64::from);
                }
                Step::Start(class) if !queues[class].is_empty() => {
                    classes[class].1.running += queues[class].remove(0);
                }
                Step::End(class, machine) if classes[class].1.running > 0 => {
                    classes[class].1.running -= 1;
                    let ending = match machine {
                        true => Ending::Machine { claimed: false },
                        false => Ending::Served,
                    };
                    supply.ended(NAMES[class], ending, now);
                }
                Step::Start(_) | Step::End(..) => {}
                Step::Refuse(class) => {
                    let pause = supply.refused(NAMES[class], now);
                    prop_assert!(pause <= limits.longest_pause);
                }
                Step::Wait(seconds) => now += seconds,
            }
            for (class, queue) in queues.iter().enumerate() {
                classes[class].1.queued = queue.iter().sum();
                classes[class].1.queued_submissions = queue.len();
            }
            let order = supply.order(now, &classes, 0);
            let live: usize = classes.iter().map(|(_, it)| it.live()).sum();
            if let Some(Order { class, workers }) = order {
                let standing = &classes[class].1;
                prop_assert!(workers > 0 && workers <= limits.batch);
                prop_assert!(live + workers <= limits.workers);
                prop_assert!(standing.live() + workers <= standing.ready);
                prop_assert!(queues[class].len() < limits.backlog);
                prop_assert!(!supply.pauses(NAMES[class], now));
                prop_assert!(now >= last + limits.apart);
                queues[class].push(workers);
                supply.submitted(now);
                last = now;
            } else {
                let could = classes.iter().zip(&queues).any(|((name, it), queue)| {
                    it.ready > 0 && it.live() == 0 && queue.is_empty() && !supply.pauses(name, now)
                });
                let held = live >= limits.workers || now < last + limits.apart;
                prop_assert!(!could || held, "{classes:?}");
            }
        }
    }
}
