//! Matrix products with packed operands, on AVX-512 or on AVX2 and FMA.
//!
//! `gemm` packs the right matrix again for every part of the left one and does not support bf16.
//! Here the right matrix is packed once for all threads, and packed operands can be built directly
//! from an image or a softmax. The `unsafe` code of these kernels is in this folder (raw pointers
//! into packed buffers, and instructions that the processor must have) and in `uninit`
//! (uninitialised memory). [`available`] is checked before any of it is used.

pub mod dots;
pub mod pack;
mod pack_avx2;
pub mod runs;
pub mod segment;
pub mod tile;
mod tile_avx2;

use std::cell::RefCell;

pub use self::pack::Format;
use self::pack::PackLayout;
use self::tile::{LANES, Start, Work};
pub use self::tile_avx2::masks;
use super::gemm::Matrix;
use super::uninit::{self, Blank};

/// Steps of the inner dimension in a packed block of the left matrix: it and a panel of the right
/// one share the L2 cache.
const DEEP: usize = 512;
/// The tiles of such a block.
const BLOCK: usize = 8;
/// The maximum number of panels for which a left matrix with adjacent rows is read where it is:
/// every panel reads it again, in more lines of the cache than a packed one.
const FEW_PANELS: usize = 4;

/// Whether this processor has what all of this folder needs.
pub fn available() -> bool {
    has_avx512() || (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"))
}

/// Whether the kernels for registers of 16 numbers are used.
pub fn has_avx512() -> bool {
    cfg!(feature = "avx512")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
}

/// The maximum number of rows of a tile.
pub fn tall() -> usize {
    match has_avx512() {
        true => tile::TALL,
        false => tile_avx2::TALL,
    }
}

/// The number of columns of a panel, and the maximum of a tile.
pub fn wide() -> usize {
    match has_avx512() {
        true => tile::WIDE,
        false => LANES,
    }
}

/// The format of products in bf16.
pub fn bf16() -> Format {
    match has_avx512() {
        true => Format::Half,
        false => Format::Rounded,
    }
}

/// Whether it has bf16 instructions, which replace several others.
fn has_pairs() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

/// A right matrix `[inner, columns]`, divided into panels of [`wide`] columns; the last one has 16
/// if that is enough.
pub struct Panels {
    words: Vec<f32>,
    inner: usize,
    columns: usize,
    format: Format,
}

/// The number of groups of 16 columns in the panel for `columns`.
pub fn vectors(columns: usize) -> usize {
    columns.div_ceil(LANES).min(wide() / LANES)
}

/// The number of words in all panels of a matrix.
pub fn panel_words(steps: usize, columns: usize) -> usize {
    steps * columns.next_multiple_of(LANES)
}

impl Panels {
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Packs `right`, whose rows or columns must be contiguous.
    pub fn pack(right: Matrix, format: Format) -> Self {
        let (inner, columns) = (right.rows, right.columns);
        let steps = format.words(inner);
        let wide = wide();
        let size = (steps * wide).max(1);
        let words = uninit::vector(panel_words(steps, columns), size, |index, panel| {
            let from = index * wide;
            let part = Matrix {
                values: &right.values[(from * right.column_stride).min(right.values.len())..],
                columns: (columns - from).min(wide),
                ..right
            };
            pack_columns(panel, part, format)
        });
        Self {
            words,
            inner,
            columns,
            format,
        }
    }
}

/// Packs up to [`wide`] columns as one panel on the calling thread; the rows or columns of `right` must
/// be contiguous.
pub fn pack_columns<'a>(panel: &'a mut Blank, right: Matrix, format: Format) -> &'a mut [f32] {
    let pitch = vectors(right.columns) * LANES;
    assert!(right.columns <= wide() && panel.len() == format.words(right.rows) * pitch);
    for from in (0..right.columns).step_by(LANES) {
        let lines = (right.columns - from).min(LANES);
        let values = &right.values[(from * right.column_stride).min(right.values.len())..];
        let start = from.min(panel.len());
        let to = panel[start..].as_mut_ptr().cast();
        pack_lines(right.t(), values, lines, to, pitch, format);
    }
    // SAFETY: every step wrote all of its words.
    unsafe { uninit::initialised(panel) }
}

/// Packs the first `lines` rows of a left matrix with the shape of `matrix` that starts at the
/// first of `values`.
fn pack_lines(
    matrix: Matrix,
    values: &[f32],
    lines: usize,
    to: *mut f32,
    pitch: usize,
    format: Format,
) {
    let inner = matrix.columns;
    if inner == 0 || lines == 0 {
        return;
    }
    let last = (lines - 1) * matrix.row_stride + (inner - 1) * matrix.column_stride;
    assert!(last < values.len(), "a matrix does not fit its values");
    let neighbours = matrix.column_stride == 1;
    assert!(neighbours || matrix.row_stride == 1 || lines == 1);
    let work = PackLayout {
        from: values.as_ptr(),
        stride: if neighbours {
            matrix.row_stride
        } else {
            matrix.column_stride
        },
        lines,
        inner,
        to,
        pitch,
    };
    // SAFETY: the values contain every line; the callers guarantee that `to` holds all steps; the
    // processor has been checked for the instructions.
    unsafe {
        match (has_avx512(), neighbours) {
            (true, true) => pack::along(work, format),
            (true, false) => pack::across(work, format),
            (false, true) => pack_avx2::along(work, format),
            (false, false) => pack_avx2::across(work, format),
        }
    }
}

/// Divides `rows` into tiles of nearly equal height: (first row, rows).
pub fn tiles(rows: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let count = rows.div_ceil(tall()).max(1);
    let (height, taller) = (rows / count, rows % count);
    (0..count).map(move |index| {
        let first = index * height + index.min(taller);
        (first, height + usize::from(index < taller))
    })
}

/// A left matrix `[rows, inner]`, or a block of one, divided into [`tiles`].
#[derive(Default)]
pub struct Tiles {
    words: Vec<f32>,
    rows: usize,
    steps: usize,
}

impl Tiles {
    pub fn pack(left: Matrix, format: Format) -> Self {
        let mut tiles = Self::default();
        tiles.refill(left, format);
        tiles
    }

    /// Packs another matrix into the same memory.
    pub fn refill(&mut self, left: Matrix, format: Format) {
        let (rows, steps) = (left.rows, format.words(left.columns));
        // The last step of a tile writes 16 words regardless of its height.
        let total = rows * steps + LANES;
        if self.words.len() < total {
            self.words.resize(total, 0.0);
        }
        (self.rows, self.steps) = (rows, steps);
        for (first, height) in tiles(rows) {
            let values = &left.values[(first * left.row_stride).min(left.values.len())..];
            let to = self.words[first * steps..].as_mut_ptr();
            pack_lines(left, values, height, to, height, format);
        }
    }
}

/// Some steps of packed [`Tiles`].
#[derive(Clone, Copy)]
pub struct Part<'a> {
    words: &'a [f32],
    rows: usize,
    /// The number of steps of the whole matrix.
    all: usize,
    from: usize,
    steps: usize,
}

impl Tiles {
    /// The steps `from` to `from + steps`.
    pub fn part(&self, from: usize, steps: usize) -> Part<'_> {
        assert!(from + steps <= self.steps);
        Part {
            words: &self.words,
            rows: self.rows,
            all: self.steps,
            from,
            steps,
        }
    }
}

/// The left operand of a product with one panel.
#[derive(Clone, Copy)]
enum Left<'a> {
    Packed(Part<'a>),
    /// A matrix whose rows are adjacent at every step, which tiles can read where it is.
    Adjacent(Matrix<'a>),
}

impl Left<'_> {
    /// (rows, steps)
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Packed(part) => (part.rows, part.steps),
            Self::Adjacent(matrix) => (matrix.rows, matrix.columns),
        }
    }

    /// The words of a tile from row `first` on, and their number from a step to the next.
    fn tile(&self, first: usize, height: usize) -> (&[f32], usize) {
        match self {
            Self::Packed(part) => {
                let from = first * part.all + height * part.from;
                (&part.words[from..], height)
            }
            Self::Adjacent(matrix) => {
                let words = &matrix.values[first..];
                let end = matrix.columns.saturating_sub(1) * matrix.column_stride + height;
                assert!(words.len() >= end, "a matrix does not fit its values");
                (words, matrix.column_stride)
            }
        }
    }
}

/// The initial value that a product is added to.
#[derive(Clone, Copy)]
pub enum Base<'a> {
    Nothing,
    /// The current content of the target.
    Target,
    /// The same values in every row.
    Row(&'a [f32]),
}

impl Base<'_> {
    /// The start of a tile of the first `columns` columns.
    fn start(self, columns: usize) -> Start {
        match self {
            Self::Nothing => Start::Zero,
            Self::Target => Start::Keep,
            Self::Row(values) => Start::Row(values[..columns].as_ptr()),
        }
    }
}

thread_local! {
    static ROOM: RefCell<Tiles> = RefCell::default();
}

/// Sets whole rows of the uninitialised `target` to `base` + left·right, on the calling thread.
/// `base` must not be [`Base::Target`].
pub fn write<'a>(target: &'a mut Blank, left: Matrix, right: &Panels, base: Base) -> &'a mut [f32] {
    assert!(!matches!(base, Base::Target));
    if left.columns == 0 {
        return match base {
            Base::Row(values) if left.rows > 0 => uninit::repeat(target, &values[..right.columns]),
            _ => uninit::fill(target, 0.0),
        };
    }
    // SAFETY: the base is not the target; afterwards every row and column has been written.
    unsafe {
        into_rows(target, left, right, base);
        uninit::initialised(target)
    }
}

/// # Safety
/// If `base` is [`Base::Target`], the target is initialised.
unsafe fn into_rows(target: &mut Blank, left: Matrix, right: &Panels, base: Base) {
    let (rows, inner, columns) = (left.rows, left.columns, right.columns);
    assert_eq!(inner, right.inner, "inner sizes differ");
    assert_eq!(target.len(), rows * columns);
    if let Base::Row(values) = base {
        assert!(values.len() >= columns);
    }
    // An even depth, so that pairs of bf16 are not split.
    let parts = inner.div_ceil(DEEP).max(1);
    let depth = inner.div_ceil(parts).next_multiple_of(2).max(2);
    let block = BLOCK * tall();
    let few = columns <= FEW_PANELS * wide();
    let adjacent = few && left.row_stride == 1 && right.format == Format::Single;
    ROOM.with_borrow_mut(|room| {
        for (index, target) in target.chunks_mut((block * columns).max(1)).enumerate() {
            let first = index * block;
            for from in (0..inner).step_by(depth) {
                let from_value = first * left.row_stride + from * left.column_stride;
                let part = Matrix {
                    values: &left.values[from_value..],
                    rows: target.len() / columns,
                    columns: (inner - from).min(depth),
                    ..left
                };
                let left = match adjacent {
                    true => Left::Adjacent(part),
                    false => {
                        room.refill(part, right.format);
                        Left::Packed(room.part(0, room.steps))
                    }
                };
                let base = if from > 0 { Base::Target } else { base };
                block_product(target, columns, left, right, right.format.words(from), base);
            }
        }
    });
}

/// Adds the product of a block with the words of `right` from step `from` on.
fn block_product(
    target: &mut Blank,
    pitch: usize,
    left: Left,
    right: &Panels,
    from: usize,
    base: Base,
) {
    let steps = right.format.words(right.inner);
    let wide = wide();
    for panel in (0..right.columns).step_by(wide) {
        let columns = (right.columns - panel).min(wide);
        let words = &right.words[panel * steps + from * vectors(columns) * LANES..];
        let base = match base {
            Base::Row(values) => Base::Row(&values[panel..]),
            other => other,
        };
        let target = &mut target[panel..];
        into_panel(target, pitch, left, words, columns, base, right.format);
    }
}

/// Sets `target` (rows `pitch` apart) to `base` + the packed `left` times one panel of
/// `columns`.
pub fn multiply(
    target: &mut [f32],
    pitch: usize,
    left: Part,
    panel: &[f32],
    columns: usize,
    base: Base,
) {
    // SAFETY: initialised values are valid as `MaybeUninit`; nothing uninitialised is written to
    // it.
    let target = unsafe { &mut *(std::ptr::from_mut(target) as *mut Blank) };
    let left = Left::Packed(left);
    into_panel(target, pitch, left, panel, columns, base, Format::Single);
}

fn into_panel(
    target: &mut Blank,
    pitch: usize,
    left: Left,
    panel: &[f32],
    columns: usize,
    base: Base,
    format: Format,
) {
    let (rows, steps) = left.size();
    if columns == 0 || rows == 0 {
        return;
    }
    let vectors = vectors(columns);
    assert!(columns <= wide() && panel.len() >= steps * vectors * LANES);
    assert!(target.len() >= (rows - 1) * pitch + columns);
    let start = base.start(columns);
    let kernels = kernels(format, vectors);
    for (first, height) in tiles(rows) {
        let (words, left_pitch) = left.tile(first, height);
        let work = Work {
            inner: steps,
            left: words.as_ptr(),
            left_pitch,
            right: panel.as_ptr(),
            right_pitch: vectors * LANES,
            target: target[first * pitch..].as_mut_ptr().cast(),
            pitch,
            columns,
            start,
        };
        // SAFETY: the target and the panel were checked; the tiles hold `steps` steps.
        unsafe { kernels[height - 1](work) };
    }
}

/// The kernels for tiles of `vectors`·16 columns, indexed by rows − 1.
fn kernels(format: Format, vectors: usize) -> &'static [unsafe fn(Work)] {
    match format {
        Format::Single | Format::Rounded => match has_avx512() {
            true => &tile::SINGLE[vectors - 1],
            false => &tile_avx2::SINGLE,
        },
        Format::Half => {
            assert!(has_avx512(), "no kernels for pairs of bf16");
            match has_pairs() {
                true => &tile::HALF[vectors - 1],
                false => &tile::HALF_BY_HAND[vectors - 1],
            }
        }
    }
}

/// A right matrix for one panel: whole groups of 16 columns, rows `pitch` apart.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    pub values: &'a [f32],
    pub pitch: usize,
    pub columns: usize,
}

/// Sets one tile of `target` (rows `pitch` apart) to `base` + left·right; `left` has `rows` packed rows.
pub fn multiply_tile(
    target: &mut [f32],
    pitch: usize,
    left: &[f32],
    rows: usize,
    right: Columns,
    base: Base,
) {
    let (inner, columns) = (left.len() / rows, right.columns);
    let start = base.start(columns);
    if inner == 0 {
        return;
    }
    assert!(rows <= tall() && columns <= wide() && columns.is_multiple_of(LANES) && columns > 0);
    assert!(right.values.len() >= (inner - 1) * right.pitch + columns);
    assert!(target.len() >= (rows - 1) * pitch + columns);
    let work = Work {
        inner,
        left: left.as_ptr(),
        left_pitch: rows,
        right: right.values.as_ptr(),
        right_pitch: right.pitch,
        target: target.as_mut_ptr(),
        pitch,
        columns,
        start,
    };
    // SAFETY: both operands and the target were checked above.
    unsafe { kernels(Format::Single, columns / LANES)[rows - 1](work) };
}
