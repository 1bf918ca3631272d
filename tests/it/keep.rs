//! Housekeeping of the store, and what may not leave it.

mod beside;
mod clean;
mod commands;
mod withheld;
