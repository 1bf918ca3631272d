//! Relates distances to drops: finds both among the cells of a report, pairs them by their axes and
//! correlates them.
//!
//! Distances are comparable only within one feature space, and methods differ in their overall
//! drop. So correlations are computed within each group (a source and a method), and the headline
//! is their mean. A domain's images are the same in all groups, so the permutation test and the
//! bootstrap move domains, not points, in all groups together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Cell;
use crate::ml::metrics::correlation::{
    Coefficient, Correlation, LeaveOneOut, correlate, leave_one_out, ranks,
};
use crate::ml::rng::Stream;
use crate::store::artifact::{Metric, Table};

/// The metric of an `ot` node that is the distance.
const DISTANCE: &str = "distance";
/// The metrics of a `rib` node that are drops: `drop[r]`.
const DROP: &str = "drop";
const DRAWS: usize = 10_000;

pub(super) type Axes = BTreeMap<String, String>;

/// Distances of one input, paired with drops.
pub struct Relation {
    /// The input with the distances.
    pub input: String,
    /// The axis of the domains on which models were fine-tuned.
    pub axis: String,
    pub groups: Vec<Group>,
}

/// The points of one source and method.
pub struct Group {
    pub axes: Axes,
    pub points: Vec<Point>,
}

pub struct Point {
    pub domain: String,
    pub distance: f64,
    /// Positive where accuracy fell.
    pub drop: f64,
}

/// The correlations of one group.
pub struct GroupCorrelation {
    input: String,
    axes: Axes,
    points: usize,
    coefficients: Vec<(Coefficient, Correlation)>,
}

/// The relations in `cells`: one for every input with distances that pair with drops.
pub fn relations(cells: &[Cell]) -> Vec<Relation> {
    let drops = drops(cells);
    let inputs = numbers(cells, DISTANCE);
    inputs
        .iter()
        .filter_map(|(input, distances)| pair(input, distances, &drops))
        .collect()
}

/// The numbers with a given name, by input.
pub(super) fn numbers<'a>(
    cells: &'a [Cell],
    name: &str,
) -> BTreeMap<&'a str, Vec<(&'a Axes, f64)>> {
    let mut inputs: BTreeMap<&str, Vec<(&Axes, f64)>> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| cell.name == name) {
        let of_input = inputs.entry(cell.input).or_default();
        of_input.push((&cell.axes, cell.metric.value));
    }
    inputs
}

/// The drop of every domain, by group.
pub(super) fn drops<'a>(cells: &'a [Cell]) -> BTreeMap<&'a Axes, BTreeMap<&'a str, f64>> {
    let mut drops: BTreeMap<&Axes, BTreeMap<&str, f64>> = BTreeMap::new();
    for cell in cells {
        let domain = cell.name.strip_prefix(DROP).and_then(|rest| {
            rest.strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
        });
        if let Some(domain) = domain {
            drops
                .entry(&cell.axes)
                .or_default()
                .insert(domain, cell.metric.value);
        }
    }
    drops
}

pub(super) fn pair(
    input: &str,
    distances: &[(&Axes, f64)],
    drops: &BTreeMap<&Axes, BTreeMap<&str, f64>>,
) -> Option<Relation> {
    let axis = domain_axis(distances, drops)?;
    let groups = drops.iter().map(|(axes, drops)| {
        let points = drops.iter().filter_map(|(domain, drop)| {
            let values = distances.iter().filter(|(of, _)| {
                let agrees =
                    |(axis, id): (&String, &String)| of.get(axis).is_none_or(|own| own == id);
                of.get(axis).is_some_and(|id| id == domain) && axes.iter().all(agrees)
            });
            let values: Vec<f64> = values.map(|(_, distance)| *distance).collect();
            let distance = crate::ml::metrics::estimate::mean(&values)?;
            Some(Point {
                domain: domain.to_string(),
                distance,
                drop: *drop,
            })
        });
        Group {
            axes: (*axes).clone(),
            points: points.collect(),
        }
    });
    let groups: Vec<Group> = groups.filter(|group| !group.points.is_empty()).collect();
    (!groups.is_empty()).then(|| Relation {
        input: input.to_string(),
        axis: axis.to_string(),
        groups,
    })
}

/// The axis of the distances that contains the drops' domains: the only one that has all of them
/// and does not distinguish groups.
fn domain_axis<'a>(
    distances: &[(&'a Axes, f64)],
    drops: &BTreeMap<&Axes, BTreeMap<&str, f64>>,
) -> Option<&'a str> {
    let grouping: BTreeSet<&String> = drops.keys().flat_map(|axes| axes.keys()).collect();
    let domains: BTreeSet<&str> = drops
        .values()
        .flat_map(|drops| drops.keys().copied())
        .collect();
    let axes: BTreeSet<&String> = distances.iter().flat_map(|(axes, _)| axes.keys()).collect();
    let mut candidates = axes.into_iter().filter(|axis| {
        let ids: BTreeSet<&str> = distances
            .iter()
            .filter_map(|(axes, _)| axes.get(*axis))
            .map(String::as_str)
            .collect();
        !grouping.contains(axis) && domains.is_subset(&ids)
    });
    let axis = candidates.next()?;
    candidates.next().is_none().then_some(axis)
}

/// The names of [`Relation::metrics`], without the prefix of the input.
pub const METRICS: [&str; 6] = [
    "*_drop_pearson",
    "*_drop_pearson_p",
    "*_drop_spearman",
    "*_drop_spearman_p",
    "*_drop_loo",
    "*_drop_loo_mean",
];

impl Relation {
    /// The headline numbers, named after the input: `distance_drop_spearman` and so on.
    pub fn metrics(&self) -> Vec<(String, Metric)> {
        let mut metrics = Vec::new();
        for (coefficient, name) in COEFFICIENTS {
            if let Some(joint) = Joint::of(self, coefficient) {
                let prefix = format!("{}_drop_{name}", self.input);
                let correlation = Metric {
                    n: Some(joint.points as u64),
                    interval: joint.interval(),
                    ..Metric::new(joint.value, "")
                };
                let p_value = Metric {
                    n: Some(DRAWS as u64),
                    ..Metric::new(joint.p_value(), "")
                };
                metrics.push((format!("{prefix}_p"), p_value));
                metrics.push((prefix, correlation));
            }
        }
        if let (false, Some(left_out)) = (metrics.is_empty(), self.leave_one_out()) {
            let error = |value| Metric {
                n: Some(left_out.n),
                ..Metric::new(value, "points")
            };
            let prefix = format!("{}_drop_loo", self.input);
            metrics.push((format!("{prefix}_mean"), error(left_out.error_of_mean)));
            metrics.push((prefix, error(left_out.error)));
        }
        metrics
    }

    /// The error of a straight line fitted to the other domains at each drop: root mean square over
    /// all groups, in points.
    fn leave_one_out(&self) -> Option<LeaveOneOut> {
        let of_groups = self.groups.iter().filter_map(|group| {
            let (x, y) = sides(&group.points);
            leave_one_out(&x, &y).ok()
        });
        let all: Vec<LeaveOneOut> = of_groups.collect();
        let n: u64 = all.iter().map(|one| one.n).sum();
        let together = |error: fn(&LeaveOneOut) -> f64| {
            let squares: f64 = all
                .iter()
                .map(|one| one.n as f64 * error(one).powi(2))
                .sum();
            (squares / n as f64).sqrt()
        };
        (n > 0).then(|| LeaveOneOut {
            error: together(|one| one.error),
            error_of_mean: together(|one| one.error_of_mean),
            n,
        })
    }

    /// The correlations of every group that has any.
    pub fn correlations(&self) -> Vec<GroupCorrelation> {
        let of_group = |group: &Group| {
            let (x, y) = sides(&group.points);
            let coefficients = COEFFICIENTS
                .iter()
                .filter_map(|(coefficient, _)| {
                    Some((*coefficient, correlate(*coefficient, &x, &y, 0).ok()?))
                })
                .collect();
            GroupCorrelation {
                input: self.input.clone(),
                axes: group.axes.clone(),
                points: group.points.len(),
                coefficients,
            }
        };
        self.groups.iter().map(of_group).collect()
    }
}

const COEFFICIENTS: [(Coefficient, &str); 2] = [
    (Coefficient::Spearman, "spearman"),
    (Coefficient::Pearson, "pearson"),
];

fn sides(points: &[Point]) -> (Vec<f64>, Vec<f64>) {
    points
        .iter()
        .map(|point| (point.distance, point.drop))
        .unzip()
}

/// The mean of the groups' correlations, ready to be permuted and resampled by domain.
struct Joint {
    coefficient: Coefficient,
    groups: Vec<JointGroup>,
    domains: usize,
    points: usize,
    value: f64,
}

struct JointGroup {
    /// The index of each point's domain.
    domains: Vec<usize>,
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Joint {
    /// `None` if no group has three points that differ on both sides.
    fn of(relation: &Relation, coefficient: Coefficient) -> Option<Self> {
        let names: BTreeSet<&str> = relation
            .groups
            .iter()
            .flat_map(|group| &group.points)
            .map(|point| point.domain.as_str())
            .collect();
        let places: BTreeMap<&str, usize> = names
            .into_iter()
            .enumerate()
            .map(|(place, name)| (name, place))
            .collect();
        let groups: Vec<JointGroup> = relation
            .groups
            .iter()
            .filter(|group| group.points.len() >= 3)
            .filter_map(|group| {
                let (x, y) = sides(&group.points);
                let domains = group
                    .points
                    .iter()
                    .map(|point| places[point.domain.as_str()]);
                coefficient_of(coefficient, &x, &y)?;
                Some(JointGroup {
                    domains: domains.collect(),
                    x,
                    y,
                })
            })
            .collect();
        let values = groups
            .iter()
            .filter_map(|group| coefficient_of(coefficient, &group.x, &group.y));
        let value = mean(values)?;
        Some(Self {
            coefficient,
            domains: places.len(),
            points: groups.iter().map(|group| group.x.len()).sum(),
            groups,
            value,
        })
    }

    /// The two-sided p-value: how often shuffled domains correlate as strongly.
    fn p_value(&self) -> f64 {
        // A permutation does not change the ranks, so they are computed once.
        let scaled: Vec<(Vec<f64>, Vec<f64>)> = self
            .groups
            .iter()
            .filter_map(|group| {
                let of = |side: &[f64]| standard(&as_compared(self.coefficient, side));
                Some((of(&group.x)?, of(&group.y)?))
            })
            .collect();
        let mut stream = Stream::new(0, "permutation of domains");
        let bar = self.value.abs() - 1e-12;
        let extreme = (0..DRAWS).filter(|_| {
            let place = stream.permutation(self.domains);
            let values = self.groups.iter().zip(&scaled).map(|(group, (x, y))| {
                // A group with missing domains uses the order of those that it has.
                let mut order: Vec<usize> = (0..x.len()).collect();
                order.sort_by_key(|point| place[group.domains[*point]]);
                order
                    .iter()
                    .zip(y)
                    .map(|(point, y)| x[*point] * y)
                    .sum::<f64>()
            });
            mean(values).is_some_and(|value| value.abs() >= bar)
        });
        (extreme.count() + 1) as f64 / (DRAWS + 1) as f64
    }

    /// 95 % percentile bootstrap over domains; `None` below five of them.
    fn interval(&self) -> Option<[f64; 2]> {
        const RESAMPLES: usize = 2000;
        if self.domains < 5 {
            return None;
        }
        let mut stream = Stream::new(0, "bootstrap of domains");
        let mut values: Vec<f64> = (0..RESAMPLES)
            .filter_map(|_| {
                let mut times = vec![0usize; self.domains];
                for _ in 0..self.domains {
                    times[stream.below(self.domains as u64) as usize] += 1;
                }
                mean(self.groups.iter().filter_map(|group| {
                    let picks = group
                        .domains
                        .iter()
                        .enumerate()
                        .flat_map(|(point, domain)| std::iter::repeat_n(point, times[*domain]));
                    let picks: Vec<usize> = picks.collect();
                    let take =
                        |side: &[f64]| picks.iter().map(|pick| side[*pick]).collect::<Vec<_>>();
                    coefficient_of(self.coefficient, &take(&group.x), &take(&group.y))
                }))
            })
            .collect();
        values.sort_by(f64::total_cmp);
        let at =
            |share: f64| values.get((share * (values.len().max(1) - 1) as f64).round() as usize);
        Some([*at(0.025)?, *at(0.975)?])
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    crate::ml::metrics::estimate::mean(&values)
}

/// The values themselves, or their ranks.
fn as_compared(coefficient: Coefficient, side: &[f64]) -> Vec<f64> {
    match coefficient {
        Coefficient::Pearson => side.to_vec(),
        Coefficient::Spearman => ranks(side),
    }
}

/// Shifted and scaled to mean 0 and length 1, so that a correlation is a dot product; `None`
/// where all values are equal.
fn standard(side: &[f64]) -> Option<Vec<f64>> {
    let mean = crate::ml::metrics::estimate::mean(side)?;
    let shifted: Vec<f64> = side.iter().map(|value| value - mean).collect();
    let length = shifted
        .iter()
        .map(|value| value * value)
        .sum::<f64>()
        .sqrt();
    (length > 1e-12 * mean.abs()).then(|| shifted.iter().map(|value| value / length).collect())
}

fn coefficient_of(coefficient: Coefficient, x: &[f64], y: &[f64]) -> Option<f64> {
    let x = standard(&as_compared(coefficient, x))?;
    let y = standard(&as_compared(coefficient, y))?;
    Some(
        x.iter()
            .zip(&y)
            .map(|(x, y)| x * y)
            .sum::<f64>()
            .clamp(-1.0, 1.0),
    )
}

/// One row for each point: input, the group's axes, the fine-tuning domain, distance, drop.
pub fn point_table(relations: &[Relation]) -> Table {
    let groups = relations.iter().flat_map(|relation| &relation.groups);
    let axes: BTreeSet<&String> = groups.flat_map(|group| group.axes.keys()).collect();
    let mut columns = vec!["input".to_string()];
    columns.extend(axes.iter().map(|axis| axis.to_string()));
    columns.extend(["tuned_on", "distance", "drop"].map(str::to_string));
    let mut rows = Vec::new();
    for relation in relations {
        for group in &relation.groups {
            for point in &group.points {
                let mut row = vec![json!(relation.input)];
                row.extend(axes.iter().map(|axis| json!(group.axes.get(*axis))));
                row.extend([
                    json!(point.domain),
                    json!(point.distance),
                    json!(point.drop),
                ]);
                rows.push(row);
            }
        }
    }
    Table { columns, rows }
}

/// One row for each group: input, axes, n, and for both coefficients value, p-value and interval.
pub fn correlation_table(correlations: &[GroupCorrelation]) -> Table {
    let axes: BTreeSet<&String> = correlations
        .iter()
        .flat_map(|correlation| correlation.axes.keys())
        .collect();
    let mut columns = vec!["input".to_string()];
    columns.extend(axes.iter().map(|axis| axis.to_string()));
    columns.push("n".to_string());
    for (_, name) in COEFFICIENTS {
        columns.extend(["", "_p", "_low", "_high"].map(|ending| format!("{name}{ending}")));
    }
    let row = |correlation: &GroupCorrelation| {
        let mut row: Vec<Value> = vec![json!(correlation.input)];
        row.extend(axes.iter().map(|axis| json!(correlation.axes.get(*axis))));
        row.push(json!(correlation.points));
        for (coefficient, _) in COEFFICIENTS {
            let found = correlation
                .coefficients
                .iter()
                .find(|(known, _)| *known == coefficient);
            let found = found.map(|(_, correlation)| correlation);
            let interval = found.and_then(|found| found.interval);
            row.extend([
                json!(found.map(|found| found.value)),
                json!(found.map(|found| found.p_value)),
                json!(interval.map(|[low, _]| low)),
                json!(interval.map(|[_, high]| high)),
            ]);
        }
        row
    };
    Table {
        columns,
        rows: correlations.iter().map(row).collect(),
    }
}
