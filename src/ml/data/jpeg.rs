//! libjpeg-turbo, as mozjpeg's package brings it, for JPEG files that lie in memory.
//!
//! `mozjpeg` itself decodes whole pictures only. Of a picture that is cropped, the blocks beside
//! the crop need neither inverse transforms nor colours, and the library can leave them out. All
//! `unsafe` of decoding lies here: the library is C and writes where it is told to.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::mem;
use std::ops::Range;
use std::os::raw::{c_int, c_long};
use std::ptr::{self, NonNull};

use mozjpeg_sys as library;
use mozjpeg_sys::{
    J_COLOR_SPACE, JCOEF, JSAMPARRAY_MUT, jpeg_common_struct, jpeg_component_info,
    jpeg_decompress_struct, jpeg_error_mgr, jpeg_source_mgr,
};

use super::idct;

/// Lines that the library is offered at a time.
const LINES: usize = 16;

/// Columns that are decoded beside those that are asked for: smooth upsampling of colours looks at
/// the neighbour on each side.
const MARGIN: usize = 2;

/// The colours of a file, as many bytes a pixel as [`Colours::channels`] tells.
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

/// What the library reports beside the pixels.
#[derive(Debug, Default)]
pub struct Findings {
    /// More bytes were asked for than there are; the library itself would go on with grey.
    pub starved: Cell<bool>,
    /// Damage that the library decodes past.
    warnings: RefCell<Warnings>,
}

#[derive(Debug, Default)]
struct Warnings {
    first: String,
    count: usize,
}

impl Findings {
    /// The first warning, and how many there are; none of a sound file.
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
/// Damage unwinds with a `String` from every function here: whoever calls catches that.
pub struct Jpeg<'a> {
    state: NonNull<State>,
    /// The library keeps pointers to both.
    borrowed: PhantomData<(&'a [u8], &'a Findings)>,
}

/// What the library holds pointers to: it never moves.
struct State {
    info: jpeg_decompress_struct,
    errors: jpeg_error_mgr,
    source: jpeg_source_mgr,
}

impl<'a> Jpeg<'a> {
    /// Reads the header, if the bytes hold an image.
    pub fn open(bytes: &'a [u8], findings: &'a Findings) -> Option<Self> {
        // SAFETY: zeros are valid in all of these structures of C, and what the library makes of
        // them. What it keeps pointers to outlives `Self`, whose drop ends its work.
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
            jpeg_set_idct_method_selector(info, select);
            (*state).source = source(bytes);
            (*info).src = &raw mut (*state).source;
            (library::jpeg_read_header(&mut *info, 0) == 1).then_some(opened)
        }
    }

    fn info(&self) -> &jpeg_decompress_struct {
        // SAFETY: the state lives as long as `self`, and C writes to it within calls only.
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

    /// Replaces `samples` by all lines of the picture, each at least its `columns`, and tells which.
    /// Nothing where the library stops before the last line.
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
        // SAFETY: as before; the lines are as long as it says.
        let done = started && unsafe { lines(info, kept.width * colours.channels(), samples) };
        // SAFETY: `open` set the pointer.
        let starved = unsafe { findings(&info.common) }.starved.get();
        // SAFETY: all lines have been read.
        let finished = done && unsafe { library::jpeg_finish_decompress(info) } != 0;
        // Behind the last line nothing is needed: Pillow takes files without an end.
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

/// Has the library leave out blocks beside `columns`. Pictures in several scans stay whole: of them
/// it holds all blocks anyway, and smooths blocks of unfinished ones by their neighbours.
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
    // SAFETY: as the caller says; the columns lie in the picture.
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

/// Fills the empty `samples` with all lines of `stride` bytes; false if the library stops early.
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
            // SAFETY: `next + line` is below `count`, for which there is room.
            *row = unsafe { begin.add(stride * (next + line)) };
        }
        // SAFETY: as many rows are offered as there is room for.
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

/// All bytes were there from the start: whoever asks for more gets ends of images, and is noticed.
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
    // SAFETY: `open` set the pointer, and no more is skipped than there is.
    unsafe {
        if count > (*info.src).bytes_in_buffer {
            starve(info);
        } else {
            (*info.src).next_input_byte = (*info.src).next_input_byte.add(count);
            (*info.src).bytes_in_buffer -= count;
        }
    }
}

/// Keeps warnings, whose level is negative; the others are traces.
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
unsafe fn findings(info: &jpeg_common_struct) -> &Findings {
    // SAFETY: `open` set the pointer to what outlives the structure.
    unsafe { &*info.client_data.cast() }
}

/// The library's last message.
///
/// # Safety
/// The library has set one.
unsafe fn message(info: &mut jpeg_common_struct) -> String {
    let mut text = [0; 80];
    // SAFETY: the library set the function. It writes to its buffer, whatever its type here says.
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

/// Leaves the library, which has no other way out, without the handler of panics.
#[cold]
unsafe extern "C-unwind" fn unwind(info: &mut jpeg_common_struct) {
    // SAFETY: the library calls this with a message.
    let message = unsafe { message(info) };
    std::panic::resume_unwind(Box::new(message));
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
    /// mozjpeg's, whose package declares it for compression.
    fn jpeg_set_idct_method_selector(info: *mut jpeg_decompress_struct, select: Select);
}

/// Puts [`transform`] in the place of the library's own, which depends on how it was built.
unsafe extern "C-unwind" fn select(
    _: *mut jpeg_decompress_struct,
    _: *mut jpeg_component_info,
    method: *mut Transform,
    _: *mut c_int,
) {
    // SAFETY: the library reads the method from there. Blocks keep their size, as no other scale
    // is ever asked for.
    unsafe { *method = transform };
}

/// The samples of one block, to eight rows from a column on.
unsafe extern "C-unwind" fn transform(
    _: *mut jpeg_decompress_struct,
    component: *mut jpeg_component_info,
    coefficients: *const JCOEF,
    rows: JSAMPARRAY_MUT,
    column: u32,
) {
    // SAFETY: the library passes the 64 coefficients of a block, the component's own copy of its
    // table, none where no scan has shown the component, and eight rows that hold eight bytes
    // behind the column.
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
