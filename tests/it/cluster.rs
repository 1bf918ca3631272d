//! Places for workers: at a real Slurm of our own, with several nodes on this machine, and by launch
//! lines. The worker is a shell script that says what it does in a folder.

mod accounting;
mod check;
mod commands;
mod controller;
mod hyperqueue;
mod nodes;
mod private_slurm;
mod queue;
mod runs;
mod stand_in;
