//! Terminal display, fed by events.
