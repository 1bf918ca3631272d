//! Reports: results, tables, plots and pages as views of records.
