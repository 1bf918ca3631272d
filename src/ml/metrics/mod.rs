//! Accuracy, RI and mRI, correlation.
