//! The ground cost between two sets of points, stored once: f64, or f32 where it is large.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::kernel::CHUNKS;
use super::points::Points;
use super::real::Real;
use super::sweep::LANES;
use crate::ml::{Error, Result};

/// In which precision a cost is stored. Sums over it are always f64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f64 up to [`AUTO_DOUBLE`] entries, f32 beyond.
    #[default]
    Auto,
    Double,
    /// Half the memory and about twice the speed; costs are rounded to 6e-8 of their size.
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
}

#[derive(Clone, Debug)]
pub(super) enum Store {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

/// What the labels of two points add to their cost: `table[of_row · columns + of_column]`.
#[derive(Clone, Copy, Debug)]
pub struct LabelCost<'a> {
    pub of_rows: &'a [usize],
    pub of_columns: &'a [usize],
    pub table: &'a [f64],
    /// Classes among the columns: the width of `table`.
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
    /// A length that does not fit, or an entry that is not finite.
    pub fn new(entries: &[f64], rows: usize, columns: usize, precision: Precision) -> Result<Self> {
        if rows == 0 || columns == 0 || entries.len() != rows * columns {
            return Err(Error::Invalid(format!(
                "{} entries are no {rows} × {columns} cost",
                entries.len()
            )));
        }
        if entries.iter().any(|entry| !entry.is_finite()) {
            return Err(Error::Numerical("a cost is not finite".to_string()));
        }
        Ok(Self::build(rows, columns, precision, |row, line| {
            line.copy_from_slice(&entries[row * columns..(row + 1) * columns]);
        }))
    }

    /// `scale · |x - y|²`, plus what the labels add.
    ///
    /// By Gram expansion around the common mean, clamped at 0: |x|² + |y|² - 2 x·y.
    pub fn squared_euclidean(
        a: &Points,
        b: &Points,
        scale: f64,
        labels: Option<LabelCost>,
        precision: Precision,
    ) -> Result<Self> {
        a.check_same_space(b)?;
        let centre = common_mean(a, b);
        let b = Centred::new(b.values(), &centre);
        let (columns, d) = (b.norms.len(), a.dimension());
        Ok(Self::build_blocks(
            a.count(),
            columns,
            precision,
            |rows, block| {
                let a = Centred::new(&a.values()[rows.start * d..rows.end * d], &centre);
                a.products(&b, block);
                let lines = block.chunks_exact_mut(columns);
                for ((row, line), norm) in rows.zip(lines).zip(&a.norms) {
                    for (column, entry) in line.iter_mut().enumerate() {
                        let square = norm + b.norms[column] - 2.0 * *entry;
                        *entry = scale * if square > 0.0 { square } else { 0.0 };
                    }
                    if let Some(labels) = &labels {
                        for (column, entry) in line.iter_mut().enumerate() {
                            *entry += labels.between(row, column);
                        }
                    }
                }
            },
        ))
    }

    /// |x - y|: the root of [`Cost::squared_euclidean`].
    ///
    /// # Errors
    /// Different dimensions.
    pub fn euclidean(a: &Points, b: &Points, precision: Precision) -> Result<Self> {
        let mut cost = Self::squared_euclidean(a, b, 1.0, None, precision)?;
        match &mut cost.store {
            Store::Single(entries) => entries.par_iter_mut().for_each(|it| *it = it.sqrt()),
            Store::Double(entries) => entries.par_iter_mut().for_each(|it| *it = it.sqrt()),
        }
        Ok(cost)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whether it is stored in f64.
    pub fn is_double(&self) -> bool {
        matches!(self.store, Store::Double(_))
    }

    /// Entries of a stored row, the padding with it.
    pub(super) fn stride(&self) -> usize {
        padded(self.columns)
    }

    /// The entry as it is stored.
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

    fn build(
        rows: usize,
        columns: usize,
        precision: Precision,
        fill: impl Fn(usize, &mut [f64]) + Sync,
    ) -> Self {
        Self::build_blocks(rows, columns, precision, |range, block| {
            for (row, line) in range.zip(block.chunks_exact_mut(columns)) {
                fill(row, line);
            }
        })
    }

    /// Calls `fill(rows, block)` for runs of rows, `block` being row-major `[rows, columns]`.
    fn build_blocks(
        rows: usize,
        columns: usize,
        precision: Precision,
        fill: impl Fn(std::ops::Range<usize>, &mut [f64]) + Sync,
    ) -> Self {
        let double = match precision {
            Precision::Auto => rows * columns <= AUTO_DOUBLE,
            Precision::Double => true,
            Precision::Single => false,
        };
        let store = if double {
            Store::Double(filled(rows, columns, &fill))
        } else {
            Store::Single(filled(rows, columns, &fill))
        };
        Self {
            store,
            rows,
            columns,
        }
    }
}

/// Rows are padded with zeros to whole vectors, so that no pass has a remainder.
pub(super) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(LANES)
}

/// Entries that a thread holds in f64 before they are stored.
const BLOCK: usize = 1 << 21;

fn filled<T: Real>(
    rows: usize,
    columns: usize,
    fill: &(impl Fn(std::ops::Range<usize>, &mut [f64]) + Sync),
) -> Vec<T> {
    let stride = padded(columns);
    let mut entries = vec![T::from_f64(0.0); rows * stride];
    let height = rows.div_ceil(CHUNKS).min(BLOCK / columns).max(8);
    entries
        .par_chunks_mut(height * stride)
        .enumerate()
        .for_each(|(chunk, target)| {
            let first = chunk * height;
            let last = first + target.len() / stride;
            let mut block = vec![0.0; (last - first) * columns];
            fill(first..last, &mut block);
            for (line, target) in block
                .chunks_exact(columns)
                .zip(target.chunks_exact_mut(stride))
            {
                for (entry, target) in line.iter().zip(target) {
                    *target = T::from_f64(*entry);
                }
            }
        });
    entries
}

fn common_mean(a: &Points, b: &Points) -> Vec<f64> {
    let (of_a, of_b) = (a.mean(), b.mean());
    of_a.iter().zip(&of_b).map(|(x, y)| 0.5 * (x + y)).collect()
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

    /// The inner products of all with all of `other`: row-major `[self, other]`.
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
