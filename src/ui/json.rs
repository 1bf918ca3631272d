//! A run as JSON, one event a line, for scripts.

use std::io::{self, Write};

use super::Display;
use crate::engine::event::Event;

/// Writes every event as it comes.
pub struct JsonLines<W: Write + Send> {
    writer: W,
}

impl<W: Write + Send> JsonLines<W> {
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<W: Write + Send> Display for JsonLines<W> {
    fn show(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.writer, event)?;
        self.writer.write_all(b"\n")?;
        self.writer.flush()
    }

    fn close(&mut self) {}
}
