//! Housekeeping of the store, and what may not leave it.

mod beside;
mod clean;
mod commands;
mod links;
mod owners;
mod readonly;
mod small;
mod unreadable;
pub mod withheld;
