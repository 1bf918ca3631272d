//! Bindings to libjpeg-turbo, from mozjpeg's package, for JPEG files in memory.
//!
//! `mozjpeg` itself decodes only whole images. For a cropped image, the blocks outside the crop
//! need neither inverse transforms nor colour conversion, and the library can skip them. All
//! `unsafe` code of decoding is here: the library is C and writes through raw pointers.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::mem;
use std::ops::Range;
use std::os::raw::{c_int, c_long};
use std::ptr::{self, NonNull};

use mozjpeg_sys as library;
use mozjpeg_sys::{
    J_COLOR_SPACE, JCOEF, JSAMPARRAY_MUT, jpeg_common_struct, jpeg_component_info,
    jpeg_decompress_struct, jpeg_error_mgr, jpeg_progress_mgr, jpeg_source_mgr,
};

use super::idct;

/// The number of lines requested at a time.
const LINES: usize = 16;

/// The maximum number of scans, each of which passes over the whole image. Encoders write about ten; a
/// hostile file has many of a few bytes.
const MOST_SCANS: c_int = 500;

/// Extra columns that are decoded on each side: smooth chroma upsampling reads the neighbours.
const MARGIN: usize = 2;

/// The colour space of the decoded pixels, [`Colours::channels`] bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    Grey,
    Rgb,
    Cmyk,
}

impl Colours {
    pub fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
            Self::Cmyk => 4,
        }
    }
}

/// The columns of a picture that were decoded.
#[derive(Debug)]
pub struct Columns {
    pub left: usize,
    pub width: usize,
}

/// Problems that the library reports in addition to the pixels.
#[derive(Debug, Default)]
pub struct DecodeReport {
    /// The library requested more bytes than the file has; it would continue with grey.
    pub starved: Cell<bool>,
    /// Damage that the library tolerates.
    warnings: RefCell<Warnings>,
}

#[derive(Debug, Default)]
struct Warnings {
    first: String,
    count: usize,
}

impl DecodeReport {
    /// The first warning and the number of warnings; `None` for an intact file.
    pub fn warning(&self) -> Option<String> {
        let warnings = self.warnings.borrow();
        match warnings.count {
            0 => None,
            1 => Some(warnings.first.clone()),
            count => Some(format!("{} ({count} warnings)", warnings.first)),
        }
    }

    fn add(&self, warning: String) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.count == 0 {
            warnings.first = warning;
        }
        warnings.count += 1;
    }
}

/// A file whose header has been read.
///
/// Damage unwinds with a `String` from every function here: the caller catches it.
pub struct Jpeg<'a> {
    state: NonNull<State>,
    /// The library keeps pointers to both.
    borrowed: PhantomData<(&'a [u8], &'a DecodeReport)>,
}

/// Data that the library holds pointers to: it never moves.
struct State {
    info: jpeg_decompress_struct,
    errors: jpeg_error_mgr,
    progress: jpeg_progress_mgr,
    source: jpeg_source_mgr,
}

impl<'a> Jpeg<'a> {
    /// Reads the header, if the bytes contain an image.
    pub fn open(bytes: &'a [u8], findings: &'a DecodeReport) -> Option<Self> {
        // SAFETY: zeros are valid in all of these C structures, and so is what the library writes
        // into them. What it keeps pointers to outlives `Self`, whose drop ends its work.
        unsafe {
            let state = Box::into_raw(Box::new(mem::zeroed::<State>()));
            let opened = Self {
                state: NonNull::new_unchecked(state),
                borrowed: PhantomData,
            };
            let errors = &raw mut (*state).errors;
            library::jpeg_std_error(&mut *errors);
            (*errors).error_exit = Some(unwind);
            (*errors).emit_message = Some(note);
            let info = &raw mut (*state).info;
            (*info).common.err = errors;
            library::jpeg_create_decompress(info);
            (*info).common.client_data = ptr::from_ref(findings).cast_mut().cast();
            (*state).progress.progress_monitor = Some(count_scans);
            (*info).common.progress = &raw mut (*state).progress;
            jpeg_set_idct_method_selector(info, select);
            (*state).source = source(bytes);
            (*info).src = &raw mut (*state).source;
            (library::jpeg_read_header(&mut *info, 0) == 1).then_some(opened)
        }
    }

    fn info(&self) -> &jpeg_decompress_struct {
        // SAFETY: the state lives as long as `self`, and C writes to it only within calls.
        unsafe { &(*self.state.as_ptr()).info }
    }

    /// Width and height.
    pub fn size(&self) -> (usize, usize) {
        let info = self.info();
        (info.image_width as usize, info.image_height as usize)
    }

    pub fn colours(&self) -> Colours {
        match self.info().num_components {
            1 => Colours::Grey,
            4 => Colours::Cmyk,
            _ => Colours::Rgb,
        }
    }

    /// Replaces `samples` by all lines of the image, each with at least the requested `columns`,
    /// and returns the columns read. `None` if the library stops before the last line.
    pub fn read(self, columns: Range<usize>, samples: &mut Vec<u8>) -> Option<Columns> {
        let (colours, whole) = (self.colours(), self.size().0);
        // SAFETY: nothing else refers to the structure while `self` is borrowed here.
        let info = unsafe { &mut (*self.state.as_ptr()).info };
        info.out_color_space = match colours {
            Colours::Grey => J_COLOR_SPACE::JCS_GRAYSCALE,
            Colours::Rgb => J_COLOR_SPACE::JCS_RGB,
            Colours::Cmyk => J_COLOR_SPACE::JCS_CMYK,
        };
        // SAFETY: the header has been read.
        let started = unsafe { library::jpeg_start_decompress(info) } != 0;
        // SAFETY: decoding has just started.
        let kept = unsafe { narrow(info, columns, whole) };
        samples.clear();
        // SAFETY: as before; the lines have the length it reports.
        let done = started && unsafe { lines(info, kept.width * colours.channels(), samples) };
        // SAFETY: `open` set the pointer.
        let starved = unsafe { findings(&info.common) }.starved.get();
        // SAFETY: all lines have been read.
        let finished = done && unsafe { library::jpeg_finish_decompress(info) } != 0;
        // The bytes after the last line are not needed: Pillow accepts files without an end.
        // SAFETY: as before.
        unsafe { findings(&info.common) }.starved.set(starved);
        finished.then_some(kept)
    }
}

impl Drop for Jpeg<'_> {
    fn drop(&mut self) {
        // SAFETY: the state came from a box and nothing refers to it any more.
        unsafe {
            let mut state = Box::from_raw(self.state.as_ptr());
            library::jpeg_destroy_decompress(&mut state.info);
        }
    }
}

/// Makes the library skip blocks outside `columns`. Images with several scans are decoded whole:
/// the library holds all their blocks anyway, and smooths blocks of incomplete scans using their
/// neighbours.
///
/// # Safety
/// Decoding has started and no line has been read.
unsafe fn narrow(
    info: &mut jpeg_decompress_struct,
    columns: Range<usize>,
    whole: usize,
) -> Columns {
    let left = columns.start.saturating_sub(MARGIN);
    let right = (columns.end + MARGIN).min(whole);
    let mut kept = (0, whole as u32);
    // SAFETY: guaranteed by the caller; the columns are inside the image.
    unsafe {
        if left < right && library::jpeg_has_multiple_scans(info) == 0 {
            kept = (left as u32, (right - left) as u32);
            library::jpeg_crop_scanline(info, &mut kept.0, &mut kept.1);
        }
    }
    Columns {
        left: kept.0 as usize,
        width: kept.1 as usize,
    }
}

/// Fills the empty `samples` with all lines of `stride` bytes; returns `false` if the library stops
/// early.
///
/// # Safety
/// Decoding has started, and the library writes `stride` bytes a line.
unsafe fn lines(info: &mut jpeg_decompress_struct, stride: usize, samples: &mut Vec<u8>) -> bool {
    let count = info.output_height as usize;
    samples.reserve(stride * count);
    let begin = samples.as_mut_ptr();
    let mut next = 0;
    while next < count {
        let offered = LINES.min(count - next);
        let mut rows = [ptr::null_mut(); LINES];
        for (line, row) in rows[..offered].iter_mut().enumerate() {
            // SAFETY: `next + line` is below `count`, for which memory is reserved.
            *row = unsafe { begin.add(stride * (next + line)) };
        }
        // SAFETY: as many rows are passed as memory is reserved for.
        let read = unsafe { library::jpeg_read_scanlines(info, rows.as_mut_ptr(), offered as u32) };
        if read == 0 {
            return false;
        }
        next += read as usize;
    }
    // SAFETY: the library wrote every line.
    unsafe { samples.set_len(stride * count) };
    true
}

fn source(bytes: &[u8]) -> jpeg_source_mgr {
    jpeg_source_mgr {
        next_input_byte: bytes.as_ptr(),
        bytes_in_buffer: bytes.len(),
        init_source: Some(nothing),
        fill_input_buffer: Some(starve),
        skip_input_data: Some(skip),
        resync_to_restart: Some(library::jpeg_resync_to_restart),
        term_source: Some(nothing),
    }
}

unsafe extern "C-unwind" fn nothing(_: &mut jpeg_decompress_struct) {}

/// All bytes were available from the start: a request for more gets end-of-image markers and is
/// recorded.
unsafe extern "C-unwind" fn starve(info: &mut jpeg_decompress_struct) -> library::boolean {
    static ENDS: [u8; 4] = [0xFF, 0xD9, 0xFF, 0xD9];
    // SAFETY: `open` set both pointers.
    unsafe {
        findings(&info.common).starved.set(true);
        (*info.src).next_input_byte = ENDS.as_ptr();
        (*info.src).bytes_in_buffer = ENDS.len();
    }
    1
}

unsafe extern "C-unwind" fn skip(info: &mut jpeg_decompress_struct, count: c_long) {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: `open` set the pointer, and no more is skipped than remains.
    unsafe {
        if count > (*info.src).bytes_in_buffer {
            starve(info);
        } else {
            (*info.src).next_input_byte = (*info.src).next_input_byte.add(count);
            (*info.src).bytes_in_buffer -= count;
        }
    }
}

/// Records warnings, whose level is negative; other messages are traces.
unsafe extern "C-unwind" fn note(info: &mut jpeg_common_struct, level: c_int) {
    if level < 0 {
        // SAFETY: the library has just set the message.
        let message = unsafe { message(info) };
        // SAFETY: `open` made the structure.
        unsafe { findings(info) }.add(message);
    }
}

/// # Safety
/// `open` made the structure.
unsafe fn findings(info: &jpeg_common_struct) -> &DecodeReport {
    // SAFETY: `open` set the pointer, and its target outlives the structure.
    unsafe { &*info.client_data.cast() }
}

/// The library's last message.
///
/// # Safety
/// The library has set one.
unsafe fn message(info: &mut jpeg_common_struct) -> String {
    let mut text = [0; 80];
    // SAFETY: the library set the function. It writes to its buffer, despite the type declared
    // here.
    unsafe {
        if let Some(format) = (*info.err).format_message {
            type Format = unsafe extern "C-unwind" fn(&mut jpeg_common_struct, &[u8; 80]);
            type Write = unsafe extern "C-unwind" fn(&mut jpeg_common_struct, &mut [u8; 80]);
            mem::transmute::<Format, Write>(format)(info, &mut text);
        }
    }
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Unwinds out of the library, which has no other exit, without running the panic hook.
#[cold]
unsafe extern "C-unwind" fn unwind(info: &mut jpeg_common_struct) {
    // SAFETY: the library calls this with a message.
    let message = unsafe { message(info) };
    std::panic::resume_unwind(Box::new(message));
}

/// Called for every row of blocks. Unwinds where the scans are too many.
unsafe extern "C-unwind" fn count_scans(info: &mut jpeg_common_struct) {
    // SAFETY: the structure that `open` made is for decoding, which begins with the common part.
    let scans =
        unsafe { (*ptr::from_mut(info).cast::<jpeg_decompress_struct>()).input_scan_number };
    if scans > MOST_SCANS {
        std::panic::resume_unwind(Box::new(format!("more than {MOST_SCANS} scans")));
    }
}

type Transform = unsafe extern "C-unwind" fn(
    *mut jpeg_decompress_struct,
    *mut jpeg_component_info,
    *const JCOEF,
    JSAMPARRAY_MUT,
    u32,
);

type Select = unsafe extern "C-unwind" fn(
    *mut jpeg_decompress_struct,
    *mut jpeg_component_info,
    *mut Transform,
    *mut c_int,
);

unsafe extern "C-unwind" {
    /// mozjpeg's function, which its package declares only for compression.
    fn jpeg_set_idct_method_selector(info: *mut jpeg_decompress_struct, select: Select);
}

/// Replaces the library's own transform, which depends on how it was built, by [`transform`].
unsafe extern "C-unwind" fn select(
    _: *mut jpeg_decompress_struct,
    _: *mut jpeg_component_info,
    method: *mut Transform,
    _: *mut c_int,
) {
    // SAFETY: the library reads the method from there. Blocks keep their size, because no other
    // scale is ever requested.
    unsafe { *method = transform };
}

/// Writes the samples of one block to eight rows, starting at a column.
unsafe extern "C-unwind" fn transform(
    _: *mut jpeg_decompress_struct,
    component: *mut jpeg_component_info,
    coefficients: *const JCOEF,
    rows: JSAMPARRAY_MUT,
    column: u32,
) {
    // SAFETY: the library passes the 64 coefficients of a block, the component's own copy of its
    // table (null if no scan has contained the component), and eight rows with eight bytes after
    // the column.
    unsafe {
        let table = (*component).quant_table.as_ref();
        let table = table.map_or(&[0; 64], |table| &table.quantval);
        let samples = idct::samples(&*coefficients.cast(), table);
        for (row, samples) in samples.iter().enumerate() {
            let target = (*rows.add(row)).add(column as usize);
            ptr::copy_nonoverlapping(samples.as_ptr(), target, idct::SIDE);
        }
    }
}
