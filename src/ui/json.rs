//! The display of a run as JSON lines, one event per line, for scripts.

use std::io::{self, BufWriter, Write};

use super::Display;
use crate::engine::event::Event;

/// Writes every event as it arrives, and the events of a burst together.
pub struct JsonLines<W: Write + Send> {
    writer: BufWriter<W>,
}

impl<W: Write + Send> JsonLines<W> {
    pub fn new(writer: W) -> Self {
        Self {
            writer: BufWriter::new(writer),
        }
    }
}

impl<W: Write + Send> Display for JsonLines<W> {
    fn show(&mut self, event: &Event) -> io::Result<()> {
        write_line(&mut self.writer, event)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn close(&mut self) {
        // The caller notices a closed pipe when it writes the summary.
        let _ = self.writer.flush();
    }
}

/// Writes one event as a line.
pub fn write_line(writer: &mut dyn Write, event: &Event) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, event)?;
    writer.write_all(b"\n")
}
