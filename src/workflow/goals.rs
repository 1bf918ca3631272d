//! Which points are goals, which of them are planned, and in which order they can run.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::expand::{Expansion, PointState};
use super::expression::report_syntax;
use super::expression::selector::Selector;
use super::fields::Text;
use super::options::LoadOptions;
use super::select::{self, Axes, Refusal};
use super::values::AxisPoint;
use crate::diag::{Diagnostics, Place, Problems};

/// The points of the goals, ascending. `None` after a problem.
pub fn goals(
    expansion: &Expansion,
    profile_goals: Option<&[Text]>,
    options: &LoadOptions,
    problems: &mut Problems,
) -> Option<Vec<u32>> {
    let mut goals = BTreeSet::new();
    let mut sound = true;
    if !options.targets.is_empty() {
        for target in &options.targets {
            match target_points(expansion, target) {
                Ok(points) => goals.extend(points),
                Err(Diagnostics(refused)) => {
                    refused.into_iter().for_each(|one| problems.elsewhere(one));
                    sound = false;
                }
            }
        }
    } else if let (Some(texts), false) = (profile_goals, options.whole) {
        for text in texts {
            match goal_points(expansion, text, problems) {
                Some(points) => goals.extend(points),
                None => sound = false,
            }
        }
    } else {
        goals.extend(default_goals(expansion));
    }
    sound.then(|| goals.into_iter().collect())
}

/// The points of the stages that no other stage uses.
fn default_goals(expansion: &Expansion) -> Vec<u32> {
    let mut named = vec![false; expansion.heads.len()];
    for (stage, compiled) in expansion.stages.iter().enumerate() {
        for upstream in compiled.iter().flat_map(|stage| stage.upstream()) {
            named[upstream] |= upstream != stage;
        }
    }
    let goals = (0..expansion.heads.len()).filter(|stage| !named[*stage]);
    let points = goals.flat_map(|stage| expansion.points(stage));
    points.filter(|point| expansion.kept(*point)).collect()
}

fn target_points(expansion: &Expansion, target: &str) -> Result<Vec<u32>, Diagnostics> {
    let selector =
        Selector::parse(target).map_err(|error| select::refused_syntax(target, error))?;
    points(expansion, &selector).map_err(|refusal| refusal.diagnostic(target).into())
}

fn goal_points(expansion: &Expansion, goal: &Text, problems: &mut Problems) -> Option<Vec<u32>> {
    let selector = match Selector::parse(&goal.text) {
        Ok(selector) => selector,
        Err(error) => {
            report_syntax(&goal.text, goal.place, error, problems);
            return None;
        }
    };
    points(expansion, &selector)
        .map_err(|refusal| {
            // A profile that names an unknown stage was reported when profiles were read.
            if refusal.code != "unknown-stage" {
                problems
                    .error(goal.place, refusal.code, refusal.message)
                    .maybe_hint(refusal.hint);
            }
        })
        .ok()
}

fn points(expansion: &Expansion, selector: &Selector) -> Result<Vec<u32>, Refusal> {
    let names = || expansion.heads.iter().map(|head| head.name.as_str());
    let Some(stage) = names().position(|name| name == selector.stage) else {
        return Err(Refusal::unknown_stage(&selector.stage, names()));
    };
    let axes: Axes = expansion
        .axes(stage)
        .iter()
        .map(|axis| {
            let ids = axis.values.iter().map(AxisPoint::id);
            (axis.name.as_str(), ids.collect())
        })
        .collect();
    let wanted = select::wanted(selector, &axes)?;
    let matching = expansion.points(stage).filter(|point| {
        let coordinates = expansion.coordinates(stage, *point);
        wanted
            .iter()
            .zip(coordinates)
            .all(|(wanted, at)| wanted.takes(at as usize))
    });
    let matching: Vec<u32> = matching.collect();
    let kept: Vec<u32> = matching
        .iter()
        .copied()
        .filter(|point| expansion.kept(*point))
        .collect();
    if kept.is_empty()
        && matching
            .iter()
            .any(|point| expansion.states[*point as usize] == PointState::Skipped)
    {
        return Err(Refusal::skipped(&selector.stage, matching.len()));
    }
    Ok(kept)
}

/// For each point, whether a goal needs it.
pub fn reached(expansion: &Expansion, goals: &[u32]) -> Vec<bool> {
    let mut reached = vec![false; expansion.len()];
    let mut todo = goals.to_vec();
    while let Some(point) = todo.pop() {
        if !std::mem::replace(&mut reached[point as usize], true) {
            todo.extend(expansion.producers(point));
        }
    }
    reached
}

/// Every stage must have at least one node. A stage that is empty because of another one is not
/// reported.
pub fn check_empty(expansion: &Expansion, problems: &mut Problems) {
    let skipped = |point: u32| expansion.states[point as usize] == PointState::Skipped;
    let empty: Vec<bool> = (0..expansion.heads.len())
        .map(|stage| expansion.points(stage).all(skipped))
        .collect();
    for (stage, head) in expansion.heads.iter().enumerate() {
        let Some(compiled) = expansion.stages[stage].as_ref().filter(|_| empty[stage]) else {
            continue;
        };
        let mut upstream = compiled.upstream().filter(|upstream| *upstream != stage);
        if compiled.skip.is_none() && upstream.any(|upstream| empty[upstream]) {
            continue;
        }
        let message = format!("stage `{}` is left with no node", head.name);
        let found = problems.error(head.place, "empty-stage", message);
        let points = match expansion.points(stage).len() {
            1 => "its only point is".to_string(),
            all => format!("all of its {all} points are"),
        };
        found.hint(format!(
            "{points} skipped, by its own `skip:` or because an input is"
        ));
    }
}

/// Kept points, producers first, otherwise in the order of the file. `None` after reporting a
/// cycle.
pub fn order(expansion: &Expansion, problems: &mut Problems) -> Option<Vec<u32>> {
    let length = expansion.len();
    let mut waiting = vec![0_u32; length];
    let mut users: Vec<Vec<u32>> = vec![Vec::new(); length];
    let kept = |point: &u32| expansion.kept(*point);
    for point in (0..length as u32).filter(kept) {
        for producer in expansion.producers(point).filter(kept) {
            waiting[point as usize] += 1;
            users[producer as usize].push(point);
        }
    }
    let free = (0..length as u32)
        .filter(kept)
        .filter(|point| waiting[*point as usize] == 0);
    let mut ready: BinaryHeap<Reverse<u32>> = free.map(Reverse).collect();
    let mut order = Vec::with_capacity(length);
    while let Some(Reverse(point)) = ready.pop() {
        order.push(point);
        for user in &users[point as usize] {
            waiting[*user as usize] -= 1;
            if waiting[*user as usize] == 0 {
                ready.push(Reverse(*user));
            }
        }
    }
    let stuck: Vec<u32> = (0..length as u32)
        .filter(kept)
        .filter(|point| waiting[*point as usize] > 0)
        .collect();
    if stuck.is_empty() {
        return Some(order);
    }
    report_cycle(expansion, &stuck, &waiting, problems);
    None
}

/// Walks from a stuck point to producers that are stuck too, until a point repeats.
fn report_cycle(expansion: &Expansion, stuck: &[u32], waiting: &[u32], problems: &mut Problems) {
    let mut trail = vec![stuck[0]];
    let mut at = vec![None; expansion.len()];
    let cycle = loop {
        let point = trail[trail.len() - 1];
        if let Some(begin) = at[point as usize] {
            break &trail[begin..];
        }
        at[point as usize] = Some(trail.len() - 1);
        let stuck_too = |producer: &u32| waiting[*producer as usize] > 0;
        let Some(next) = expansion.producers(point).find(stuck_too) else {
            // Every stuck point waits for another stuck point.
            return;
        };
        trail.push(next);
    };
    let ids: Vec<String> = cycle.iter().map(|point| expansion.id(*point)).collect();
    let shown = if ids.len() > 12 {
        let (head, tail) = (&ids[..6], &ids[ids.len() - 3..]);
        format!("{} → … → {}", head.join(" → "), tail.join(" → "))
    } else {
        ids.join(" → ")
    };
    let place = match cycle {
        [first, second, ..] => expansion.place_of_selection(*first, *second),
        _ => None,
    };
    let stage = expansion.stage_of(cycle[0]);
    let place: Place = place.unwrap_or(expansion.heads[stage].place);
    let message = format!("these nodes need each other: {shown}");
    let found = problems.error(place, "node-cycle", message);
    found.hint("read `a → b` as: a needs b");
}
