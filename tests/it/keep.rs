//! Housekeeping of the store, and what may not leave it.

mod clean;
mod commands;
mod withheld;
