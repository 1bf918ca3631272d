//! Training: optimisers, schedules, losses, methods.
