//! What a person or a script sees: displays of a run, fed by events, and small pieces of text that
//! they share. It knows events and graphs; it decides and starts nothing.

pub mod diagram;
pub mod json;
pub mod kind;
pub mod live;
pub mod log;
pub mod overview;
pub mod paint;
pub mod plain;
pub mod streams;
pub mod table;
pub mod tally;
pub mod text;

use std::io;

use self::paint::Paint;
use crate::engine::event::Event;

/// Shows a run while it goes on. One display is chosen at the start; every one is fed the same
/// events.
pub trait Display: Send {
    fn show(&mut self, event: &Event) -> io::Result<()>;

    /// Writes out what is buffered: no further event is there yet.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Takes away what is not meant to stay on the screen.
    fn close(&mut self);
}

/// How a display for people puts things.
#[derive(Clone, Debug)]
pub struct DisplayOptions {
    pub detail: Detail,
    pub paint: Paint,
    /// The store's folder as a person would write it: logs lie in there.
    pub store: String,
}

/// How much a display says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Failures and warnings only.
    Quiet,
    /// What happens.
    Normal,
    /// Also what was reused and why each node runs.
    Verbose,
}
