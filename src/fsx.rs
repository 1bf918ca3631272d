//! Atomic files, locks and folders.
