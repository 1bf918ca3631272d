//! Optimal transport between datasets.
