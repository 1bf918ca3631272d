//! Places for the workers of a shared run: tells a launcher how much work is ready for which class of
//! workers, and what has become of those that joined. The launcher may have to wait for a scheduler, so
//! it is called on a thread of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Coordinator, Message};
use crate::cluster::{ClusterError, Demand, Joined, Launcher, Notice, NoticeKind};
use crate::engine::EngineError;
use crate::engine::event::Event;
use crate::engine::join::place_class;
use crate::fsx;

/// In the folder of a run: the logs of workers as their places write them.
const PLACES: &str = "places";
/// The interval between two calls of the launcher.
const SUPPLY: Duration = Duration::from_secs(2);

/// A call of the launcher that takes longer is reported: a scheduler does not answer.
const SLOW: Duration = Duration::from_secs(10);

/// Calls run one after another, each on a thread of its own.
type SharedLauncher = Arc<Mutex<Box<dyn Launcher>>>;

/// The state of the calls to the launcher.
#[derive(Default)]
pub(super) struct Supply {
    called: Option<Instant>,
    in_flight: bool,
    /// The call in flight was reported as slow.
    is_slow: bool,
    /// There once the run has left its plan.
    launcher: Option<SharedLauncher>,
}

impl Supply {
    /// When to call the launcher again, or to report that a call is slow.
    fn due(&self) -> Option<Instant> {
        match (self.in_flight, self.called) {
            (true, _) if self.is_slow => None,
            (true, called) => called.map(|called| called + SLOW),
            (false, None) => Some(Instant::now()),
            (false, Some(called)) => Some(called + SUPPLY),
        }
    }
}

impl Coordinator<'_> {
    /// When the launcher is to be called, or its call to be reported.
    pub(super) fn supply_due(&self) -> Option<Instant> {
        self.options.places.as_ref().and(self.supply.due())
    }

    /// Calls the launcher if that is due, or reports that it is slow.
    pub(super) fn supply(&mut self) -> Result<(), EngineError> {
        if self.plan_due.is_some() || self.supply_due().is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        if self.supply.in_flight {
            self.supply.is_slow = true;
            let seconds = SLOW.as_secs();
            let message = format!("the scheduler has not answered for {seconds} s; workers go on");
            self.emit(Event::Machines { message })?;
            return self.note();
        }
        let Some(launcher) = self.launcher()? else {
            return Ok(());
        };
        self.supply.called = Some(Instant::now());
        self.supply.in_flight = true;
        self.supply.is_slow = false;
        let (demands, joined) = (self.demands(), self.joined());
        let outbox = self.outbox.clone();
        self.jobs.spawn_blocking(move || {
            let supplied = with(&launcher, |launcher| launcher.supply(&demands, &joined));
            let _ = outbox.send(Message::Supplied(supplied));
        });
        Ok(())
    }

    /// The launcher, made when it is first needed.
    fn launcher(&mut self) -> Result<Option<SharedLauncher>, EngineError> {
        if let (None, Some(places)) = (&self.supply.launcher, &self.options.places) {
            let logs = self.store.runs().join(&self.peers.crew).join(PLACES);
            let made = fsx::make_folders(&logs);
            made.map_err(|source| EngineError::Journal {
                path: logs.clone(),
                source,
            })?;
            let launcher = (places.0)(&self.peers.crew, logs)?;
            self.supply.launcher = Some(Arc::new(Mutex::new(launcher)));
        }
        Ok(self.supply.launcher.clone())
    }

    pub(super) fn supplied(
        &mut self,
        supplied: Result<Vec<Notice>, ClusterError>,
    ) -> Result<(), EngineError> {
        self.supply.in_flight = false;
        for notice in supplied? {
            let message = notice.message;
            self.emit(match notice.kind {
                NoticeKind::Submitted | NoticeKind::Found | NoticeKind::Waiting => {
                    Event::Machines { message }
                }
                NoticeKind::Refused
                | NoticeKind::Unreachable
                | NoticeKind::Lost
                | NoticeKind::Died
                | NoticeKind::Failed => Event::Warning { message },
            })?;
        }
        Ok(())
    }

    /// Gives back the places that workers have not taken; all of them if the run was interrupted.
    pub(super) async fn close_places(&mut self) {
        let Some(launcher) = self.supply.launcher.take() else {
            return;
        };
        let all = self.decide.interrupted();
        let close = move || with(&launcher, |launcher| launcher.close(all));
        let _ = tokio::task::spawn_blocking(close).await;
    }

    fn joined(&self) -> Vec<Joined> {
        let workers = self.peers.workers.iter();
        let joined = workers.map(|(name, state)| Joined {
            name: name.clone(),
            claimed: state.claimed,
            presence: state.presence,
        });
        joined.collect()
    }

    /// What is ready for workers or runs there, by class.
    fn demands(&self) -> Vec<Demand> {
        let mut demands: BTreeMap<String, Demand> = BTreeMap::new();
        let means = self.mean_seconds();
        for &node in &self.peers.left {
            if self.decide.state(node).ended() {
                continue;
            }
            let at = &self.graph.dag[node];
            let class = place_class(at, self.device != "cpu");
            let seconds = means.get(at.stage.as_str()).copied();
            let seconds = seconds.or(at.resources.time.map(|time| time as f64));
            let demand = demands.entry(class.name.clone()).or_insert_with(|| Demand {
                class: class.clone(),
                ready: 0,
                seconds: Some(0.0),
            });
            demand.ready += 1;
            demand.class.time = demand.class.time.max(class.time);
            demand.seconds = demand.seconds.zip(seconds).map(|(sum, more)| sum + more);
        }
        demands.into_values().collect()
    }

    /// Mean seconds of the nodes that have run, by stage.
    fn mean_seconds(&self) -> BTreeMap<&str, f64> {
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (node, wall) in &self.walls {
            let sum = sums.entry(&self.graph.dag[*node].stage).or_default();
            *sum = (sum.0 + wall, sum.1 + 1.0);
        }
        let means = sums.into_iter();
        means
            .map(|(stage, (sum, count))| (stage, sum / count))
            .collect()
    }
}

fn with<T>(launcher: &Mutex<Box<dyn Launcher>>, call: impl FnOnce(&mut dyn Launcher) -> T) -> T {
    // A call that panicked has left the launcher's own state behind, nothing of the run's.
    let mut launcher = launcher.lock().unwrap_or_else(|held| held.into_inner());
    call(&mut **launcher)
}
