//! The ground cost between two sets of points, stored once: in f64, or in f32 if it is large.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::kernel::CHUNKS;
use super::near::{self, Near, SMALLEST_SQUARE};
use super::points::Points;
use super::real::Real;
use super::sweep::LANES;
use crate::{Error, Result};

/// The storage precision of a cost. Sums over it are always f64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f64 up to [`AUTO_DOUBLE`] entries, f32 beyond.
    #[default]
    Auto,
    Double,
    /// Half the memory and about twice the speed; costs are rounded with a relative error of 6e-8.
    Single,
}

/// See [`Precision::Auto`].
pub const AUTO_DOUBLE: usize = 1 << 18;

/// A cost matrix `[rows, columns]`.
#[derive(Clone, Debug)]
pub struct Cost {
    pub(super) store: Store,
    rows: usize,
    columns: usize,
    /// The replacement for entries that underflow in f64; `None` if there are none.
    floor: Option<f64>,
    /// Entries include class distances, which have errors of their own.
    labelled: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Store {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

/// The labels' contribution to the cost of two points: `table[of_row · columns + of_column]`.
#[derive(Clone, Copy, Debug)]
pub struct LabelCost<'a> {
    pub of_rows: &'a [usize],
    pub of_columns: &'a [usize],
    pub table: &'a [f64],
    /// The number of classes of the columns: the width of `table`.
    pub columns: usize,
}

impl LabelCost<'_> {
    fn between(&self, row: usize, column: usize) -> f64 {
        self.table[self.of_rows[row] * self.columns + self.of_columns[column]]
    }
}

impl Cost {
    /// From a row-major matrix `[rows, columns]`.
    ///
    /// # Errors
    /// A wrong length, or an entry that is not finite.
    pub fn new(entries: &[f64], rows: usize, columns: usize, precision: Precision) -> Result<Self> {
        if rows == 0 || columns == 0 || entries.len() != rows * columns {
            return Err(Error::Invalid(format!(
                "{} entries are not a {rows} × {columns} cost",
                entries.len()
            )));
        }
        if entries.iter().any(|entry| !entry.is_finite()) {
            return Err(Error::Numerical("a cost is not finite".to_string()));
        }
        Self::build_blocks(rows, columns, precision, |rows, block| {
            block.copy_from_slice(&entries[rows.start * columns..rows.end * columns]);
        })
    }

    /// `scale · |x - y|²`, plus the contribution of the labels.
    ///
    /// Computed by Gram expansion around the common mean, |x|² + |y|² - 2 x·y, or by differences
    /// where that would cancel: the relative error of every entry is at most 1e-11 (6e-8 in f32).
    ///
    /// # Errors
    /// Different dimensions; coordinates or squares beyond the range of f64; a cost beyond the
    /// range of f32 with [`Precision::Single`].
    pub fn squared_euclidean(
        a: &Points,
        b: &Points,
        scale: f64,
        labels: Option<LabelCost>,
        precision: Precision,
    ) -> Result<Self> {
        a.check_same_space(b)?;
        let centre = common_mean(a, b);
        let expansion = Expansion {
            bar: near::bar(a.dimension()),
            of_b: Centred::new(b.values(), &centre),
            is_floored: AtomicBool::new(false),
            scale,
            a,
            b,
            centre,
        };
        let labels_in_range = labels.is_none_or(|it| it.table.iter().all(|cost| cost.is_finite()));
        if !expansion.is_in_range() || !labels_in_range {
            return Err(Error::Numerical(TOO_LARGE.to_string()));
        }
        let cost = Self::build_blocks(a.count(), b.count(), precision, |rows, block| {
            expansion.fill(rows.clone(), block);
            let Some(labels) = &labels else { return };
            for (row, line) in rows.zip(block.chunks_exact_mut(b.count())) {
                for (column, entry) in line.iter_mut().enumerate() {
                    *entry += labels.between(row, column);
                }
            }
        })?;
        let is_floored = expansion.is_floored.into_inner();
        let cost = Self {
            floor: is_floored.then_some(scale * SMALLEST_SQUARE),
            labelled: labels.is_some(),
            ..cost
        };
        cost.check_floor(cost.largest())?;
        Ok(cost)
    }

    /// Checks that `moved`, a sum over the plan, exceeds the contribution of entries that
    /// underflow.
    pub(super) fn check_floor(&self, moved: f64) -> Result<()> {
        match self.floor {
            Some(floor) if moved <= 1e7 * floor => Err(Error::Numerical(TOO_SMALL.to_string())),
            _ => Ok(()),
        }
    }

    /// |x - y|: the square root of [`Cost::squared_euclidean`].
    ///
    /// # Errors
    /// As [`Cost::squared_euclidean`].
    pub fn euclidean(a: &Points, b: &Points, precision: Precision) -> Result<Self> {
        let mut cost = Self::squared_euclidean(a, b, 1.0, None, precision)?;
        match &mut cost.store {
            Store::Single(entries) => entries.par_iter_mut().for_each(|it| *it = it.sqrt()),
            Store::Double(entries) => entries.par_iter_mut().for_each(|it| *it = it.sqrt()),
        }
        cost.floor = cost.floor.map(f64::sqrt);
        Ok(cost)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whether entries include class distances.
    pub(super) fn is_labelled(&self) -> bool {
        self.labelled
    }

    /// Whether it is stored in f64.
    pub fn is_double(&self) -> bool {
        matches!(self.store, Store::Double(_))
    }

    /// Entries of a stored row, including padding.
    pub(super) fn stride(&self) -> usize {
        padded(self.columns)
    }

    /// The stored entry.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        let place = row * self.stride() + column;
        match &self.store {
            Store::Single(entries) => f64::from(entries[place]),
            Store::Double(entries) => entries[place],
        }
    }

    /// Calls `see(column, entry)` along a row.
    #[inline(always)]
    pub(super) fn for_row(&self, row: usize, mut see: impl FnMut(usize, f64)) {
        let line = row * self.stride()..row * self.stride() + self.columns;
        match &self.store {
            Store::Single(entries) => {
                let line = entries[line].iter().enumerate();
                line.for_each(|(column, entry)| see(column, f64::from(*entry)));
            }
            Store::Double(entries) => {
                let line = entries[line].iter().enumerate();
                line.for_each(|(column, entry)| see(column, *entry));
            }
        }
    }

    /// The largest entry.
    pub fn largest(&self) -> f64 {
        fn largest<T: Real>(entries: &[T]) -> f64 {
            let chunks = entries.par_chunks(1 << 16);
            let of_chunk =
                |chunk: &[T]| chunk.iter().fold(0.0, |top, entry| entry.to_f64().max(top));
            chunks.map(of_chunk).reduce(|| 0.0, f64::max)
        }
        match &self.store {
            Store::Single(entries) => largest(entries),
            Store::Double(entries) => largest(entries),
        }
    }

    pub(super) fn is_nowhere_negative(&self) -> bool {
        (0..self.rows).into_par_iter().all(|row| {
            let mut sound = true;
            self.for_row(row, |_, entry| sound &= entry >= 0.0);
            sound
        })
    }

    /// The mean entry.
    pub fn mean(&self) -> f64 {
        let of_row = |row| {
            (0..self.columns)
                .map(|column| self.at(row, column))
                .sum::<f64>()
        };
        let rows: Vec<f64> = (0..self.rows).into_par_iter().map(of_row).collect();
        rows.iter().sum::<f64>() / (self.rows * self.columns) as f64
    }

    /// Calls `fill(rows, block)` for runs of rows, `block` being row-major `[rows, columns]`.
    fn build_blocks(
        rows: usize,
        columns: usize,
        precision: Precision,
        fill: impl Fn(Range<usize>, &mut [f64]) + Sync,
    ) -> Result<Self> {
        let single = match precision {
            Precision::Auto => rows * columns > AUTO_DOUBLE,
            Precision::Double => false,
            Precision::Single => true,
        };
        let found = single
            .then(|| filled::<f32>(rows, columns, &fill))
            .flatten();
        let store = match found {
            Some(entries) => Store::Single(entries),
            None if precision == Precision::Single => {
                return Err(Error::Numerical(
                    "a cost is beyond the range of f32: f64 holds it".to_string(),
                ));
            }
            None => match filled::<f64>(rows, columns, &fill) {
                Some(entries) => Store::Double(entries),
                None => return Err(Error::Numerical(TOO_LARGE.to_string())),
            },
        };
        Ok(Self {
            store,
            rows,
            columns,
            floor: None,
            labelled: false,
        })
    }
}

/// Rows are padded with zeros to whole vectors, so that no pass has a remainder.
pub(super) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(LANES)
}

/// Entries that a thread holds in f64 before they are stored.
const BLOCK: usize = 1 << 21;

/// `None` if an entry is beyond the range of `T`.
fn filled<T: Real>(
    rows: usize,
    columns: usize,
    fill: &(impl Fn(Range<usize>, &mut [f64]) + Sync),
) -> Option<Vec<T>> {
    let stride = padded(columns);
    let mut entries = vec![T::from_f64(0.0); rows * stride];
    let height = rows.div_ceil(CHUNKS).min(BLOCK / columns).max(8);
    let in_range = entries
        .par_chunks_mut(height * stride)
        .enumerate()
        .map(|(chunk, target)| {
            let first = chunk * height;
            let last = first + target.len() / stride;
            let mut block = vec![0.0; (last - first) * columns];
            fill(first..last, &mut block);
            let mut in_range = true;
            for (line, target) in block
                .chunks_exact(columns)
                .zip(target.chunks_exact_mut(stride))
            {
                for (entry, target) in line.iter().zip(target) {
                    *target = T::from_f64(*entry);
                    in_range &= T::holds(*entry);
                }
            }
            in_range
        });
    // Evaluates all chunks: entries are complete only when every chunk is filled.
    let in_range = in_range.reduce(|| true, |all, one| all & one);
    in_range.then_some(entries)
}

fn common_mean(a: &Points, b: &Points) -> Vec<f64> {
    let (of_a, of_b) = (a.mean(), b.mean());
    of_a.iter().zip(&of_b).map(|(x, y)| 0.5 * (x + y)).collect()
}

const TOO_LARGE: &str = "the points are too far apart for their squared distances: coordinates \
                         beyond 1e140, or a cost that is not finite; scale them down first";

const TOO_SMALL: &str = "the points are so near each other that their squared distances are below \
                         the range of f64 (1e-290): scale them up first";

/// Squares of larger coordinates may exceed the range of f64.
const LARGEST_COORDINATE: f64 = 1e140;

/// `scale · |x - y|²` for all points of `a` and `b`.
struct Expansion<'a> {
    a: &'a Points,
    b: &'a Points,
    centre: Vec<f64>,
    of_b: Centred,
    bar: f64,
    scale: f64,
    /// Whether a square underflowed.
    is_floored: AtomicBool,
}

impl Expansion<'_> {
    fn is_in_range(&self) -> bool {
        let coordinates = || self.a.values().iter().chain(self.b.values());
        coordinates().all(|value| value.abs() <= LARGEST_COORDINATE)
    }

    fn fill(&self, rows: Range<usize>, block: &mut [f64]) {
        if self.scale == 0.0 {
            return block.fill(0.0);
        }
        let d = self.a.dimension();
        let of_a = Centred::new(&self.a.values()[rows.start * d..rows.end * d], &self.centre);
        of_a.products(&self.of_b, block);
        let norms = &self.of_b.norms;
        let lines = block.chunks_exact_mut(norms.len());
        for ((row, line), norm) in rows.zip(lines).zip(&of_a.norms) {
            for (entry, of_column) in line.iter_mut().zip(norms) {
                *entry = norm + of_column - 2.0 * *entry;
            }
            let near = Near {
                point: self.a.row(row),
                others: self.b.values(),
                norm: *norm,
                norms,
                bar: self.bar,
            };
            if near.is_coarse(line) && near.correct(line) {
                self.is_floored.store(true, Ordering::Relaxed);
            }
            for entry in line.iter_mut() {
                *entry *= self.scale;
            }
        }
    }
}

/// Points around a centre, with their squared norms.
struct Centred {
    values: Vec<f64>,
    norms: Vec<f64>,
    dimension: usize,
}

impl Centred {
    /// From row-major values.
    fn new(values: &[f64], centre: &[f64]) -> Self {
        let dimension = centre.len();
        let rows = values.chunks_exact(dimension);
        let values: Vec<f64> = rows
            .flat_map(|row| row.iter().zip(centre).map(|(value, centre)| value - centre))
            .collect();
        let norms = values.chunks_exact(dimension);
        Self {
            norms: norms.map(|row| row.iter().map(|x| x * x).sum()).collect(),
            values,
            dimension,
        }
    }

    /// The inner products of all points with all of `other`: row-major `[self, other]`.
    fn products(&self, other: &Self, target: &mut [f64]) {
        let d = self.dimension;
        let (height, width) = (self.norms.len(), other.norms.len());
        matmul(
            MatMut::from_row_major_slice_mut(target, height, width),
            Accum::Replace,
            MatRef::from_row_major_slice(&self.values, height, d),
            MatRef::from_row_major_slice(&other.values, width, d).transpose(),
            1.0,
            Par::Seq,
        );
    }
}
