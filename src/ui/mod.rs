//! User interfaces: displays of a run, driven by events, and shared text formatting. This module
//! knows events and graphs; it makes no decisions and starts nothing.

pub mod diagram;
mod estimate;
pub mod json;
pub mod kind;
pub mod live;
pub mod log;
pub mod overview;
pub mod paint;
pub mod plain;
mod resize;
mod running;
pub mod streams;
pub mod table;
pub mod tally;
pub mod text;

use std::io;

use self::paint::Paint;
use crate::engine::event::Event;

/// Shows the progress of a run. One display is selected at the start; all displays receive the same
/// events.
pub trait Display: Send {
    fn show(&mut self, event: &Event) -> io::Result<()>;

    /// Writes buffered output, because no further event is available yet.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Removes everything that should not stay on the screen.
    fn close(&mut self);
}

/// The options of displays for people.
#[derive(Clone, Debug)]
pub struct DisplayOptions {
    pub detail: Detail,
    pub paint: Paint,
    /// The store's folder as a user would type it, for paths of logs.
    pub store: String,
}

/// The verbosity of a display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Failures and warnings only.
    Quiet,
    /// All events of interest.
    Normal,
    /// Also what was reused and why each node runs.
    Verbose,
}
