//! Vectors that all threads write piece by piece, without zeroing them first.

use std::mem::MaybeUninit;

use crate::ops::parallel;

/// Uninitialised memory that a work item must write.
pub type Blank = [MaybeUninit<f32>];

/// A vector of `count` values, in pieces of `size` values that `work` writes. It returns the piece
/// that it was given, initialised.
///
/// # Panics
/// If it returns another piece.
pub fn vector(
    count: usize,
    size: usize,
    work: impl for<'a> Fn(usize, &'a mut Blank) -> &'a mut [f32] + Send + Sync,
) -> Vec<f32> {
    let mut values = Vec::with_capacity(count);
    let blank = &mut values.spare_capacity_mut()[..count];
    parallel::each_piece(blank, size, |index, piece| {
        written(piece, |it| work(index, it))
    });
    // SAFETY: `written` has checked that every piece was returned as initialised values.
    unsafe { values.set_len(count) };
    values
}

/// As [`vector`], for two vectors of the same length and pieces.
pub fn vectors(
    count: usize,
    size: usize,
    work: impl for<'a> Fn(usize, &'a mut Blank, &'a mut Blank) -> (&'a mut [f32], &'a mut [f32])
    + Send
    + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let (mut first, mut second) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let blanks = (
        &mut first.spare_capacity_mut()[..count],
        &mut second.spare_capacity_mut()[..count],
    );
    parallel::each_pair(blanks.0, size, blanks.1, size, |index, first, second| {
        let places = (place(first), place(second));
        let (first, second) = work(index, first, second);
        assert!((first.as_ptr_range(), second.as_ptr_range()) == places);
    });
    // SAFETY: every piece of both was returned as initialised values.
    unsafe {
        first.set_len(count);
        second.set_len(count);
    }
    (first, second)
}

/// Initialises `blank`, whose pieces of `size` values `work` writes one after the other, as in
/// [`vector`]. The direct convolutions call it.
#[cfg(target_arch = "x86_64")]
pub fn pieces(
    blank: &mut Blank,
    size: usize,
    work: impl for<'a> Fn(usize, &'a mut Blank) -> &'a mut [f32],
) -> &mut [f32] {
    for (index, piece) in blank.chunks_mut(size.max(1)).enumerate() {
        written(piece, |it| work(index, it));
    }
    // SAFETY: `written` has checked that every piece was returned as initialised values.
    unsafe { initialised(blank) }
}

/// Lengthens `values` to at least `count` values.
#[cfg(target_arch = "x86_64")]
pub fn at_least(values: &mut Vec<f32>, count: usize) {
    if values.len() < count {
        values.resize(count, 0.0);
    }
}

fn written(piece: &mut Blank, work: impl for<'a> FnOnce(&'a mut Blank) -> &'a mut [f32]) {
    let expected = place(piece);
    assert!(
        work(piece).as_ptr_range() == expected,
        "another piece came back"
    );
}

fn place(piece: &Blank) -> std::ops::Range<*const f32> {
    let range = piece.as_ptr_range();
    range.start.cast()..range.end.cast()
}

/// Fills `piece` with `value`.
pub fn fill(piece: &mut Blank, value: f32) -> &mut [f32] {
    for slot in piece.iter_mut() {
        slot.write(value);
    }
    // SAFETY: every value was written above.
    unsafe { initialised(piece) }
}

/// Fills `piece` with copies of `row`.
pub fn repeat<'a>(piece: &'a mut Blank, row: &[f32]) -> &'a mut [f32] {
    assert!(!row.is_empty() && piece.len().is_multiple_of(row.len()));
    for target in piece.chunks_exact_mut(row.len()) {
        for (slot, value) in target.iter_mut().zip(row) {
            slot.write(*value);
        }
    }
    // SAFETY: whole rows filled the piece.
    unsafe { initialised(piece) }
}

/// Copies `values`, which must have the same length, to `piece`.
pub fn copy<'a>(piece: &'a mut Blank, values: &[f32]) -> &'a mut [f32] {
    assert_eq!(piece.len(), values.len());
    for (slot, value) in piece.iter_mut().zip(values) {
        slot.write(*value);
    }
    // SAFETY: as many values were written as there are slots.
    unsafe { initialised(piece) }
}

/// Replaces each of `values` by the first result of `function`, and writes the second one to
/// `piece`, which has the same length.
#[inline(always)]
pub fn beside<'a>(
    values: &mut [f32],
    piece: &'a mut Blank,
    function: impl Fn(f32) -> (f32, f32),
) -> &'a mut [f32] {
    assert_eq!(piece.len(), values.len());
    for (value, slot) in values.iter_mut().zip(piece.iter_mut()) {
        let (here, beside) = function(*value);
        *value = here;
        slot.write(beside);
    }
    // SAFETY: as many values were written as there are slots.
    unsafe { initialised(piece) }
}

/// Fills planes of `size` values: `plane` maps a plane's number to a function of corresponding
/// elements of `x` and `y`, which have the length of `piece`.
#[inline(always)]
pub fn planes<'a, F: Fn(f32, f32) -> f32>(
    piece: &'a mut Blank,
    size: usize,
    x: &[f32],
    y: &[f32],
    plane: impl Fn(usize) -> F,
) -> &'a mut [f32] {
    assert!(size > 0 && piece.len().is_multiple_of(size));
    assert!(x.len() == piece.len() && y.len() == piece.len());
    let sources = x.chunks_exact(size).zip(y.chunks_exact(size));
    for (index, (target, (x, y))) in piece.chunks_exact_mut(size).zip(sources).enumerate() {
        let function = plane(index);
        for (slot, (x, y)) in target.iter_mut().zip(x.iter().zip(y)) {
            slot.write(function(*x, *y));
        }
    }
    // SAFETY: whole planes filled the piece.
    unsafe { initialised(piece) }
}

/// # Safety
/// Every value of `piece` has been written.
pub unsafe fn initialised(piece: &mut Blank) -> &mut [f32] {
    // SAFETY: f32 and MaybeUninit<f32> have the same layout, and the caller guarantees the values.
    unsafe { &mut *(std::ptr::from_mut(piece) as *mut [f32]) }
}
