//! A table as data, and its three plain formats: CSV, Markdown, JSON. The page draws its own.

use serde_json::{Value, json};

use super::number::Number;

/// A table of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The stem of its files: `mri`.
    pub name: String,
    pub title: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
    /// Notes below it, in text and Markdown.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Stable: the field name in CSV and JSON.
    pub name: String,
    /// For display.
    pub label: String,
    pub numeric: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Empty,
    Text(String),
    /// An axis value: its id for scripts, its label for display.
    Named {
        id: String,
        label: String,
    },
    Number(Number),
    /// A number that has not been computed yet.
    NotRun,
}

impl Column {
    pub fn text(name: &str, label: &str) -> Self {
        Self {
            name: name.to_string(),
            label: label.to_string(),
            numeric: false,
        }
    }

    pub fn number(name: &str, label: &str) -> Self {
        Self {
            numeric: true,
            ..Self::text(name, label)
        }
    }
}

impl Cell {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_string())
    }

    pub fn named(id: &str, label: &str) -> Self {
        Self::Named {
            id: id.to_string(),
            label: label.to_string(),
        }
    }

    pub fn maybe(number: Option<Number>) -> Self {
        number.map_or(Self::Empty, Self::Number)
    }

    /// A number of an experiment that may not have run yet.
    pub fn or_not_run(number: Option<Number>) -> Self {
        number.map_or(Self::NotRun, Self::Number)
    }

    /// For terminals and Markdown.
    pub fn ascii(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => text.clone(),
            Self::Named { label, .. } => label.clone(),
            Self::Number(number) => number.ascii(),
            Self::NotRun => "not run".to_string(),
        }
    }
}

impl Table {
    /// Comma-separated values as in RFC 4180, with `\n` line ends; numbers to four decimals.
    pub fn to_csv(&self) -> String {
        let names = self.columns.iter().map(|column| csv_field(&column.name));
        let mut text = csv_line(names);
        for row in &self.rows {
            text.push_str(&csv_line(row.iter().map(|cell| match cell {
                Cell::Empty | Cell::NotRun => String::new(),
                Cell::Text(text) | Cell::Named { id: text, .. } => csv_field(text),
                Cell::Number(number) => number.plain(),
            })));
        }
        text
    }

    /// A heading and a pipe table, padded so that the source is readable too.
    pub fn to_markdown(&self) -> String {
        let text = |text: &str| {
            let escaped = text.replace('|', "\\|").replace('<', "\\<");
            escaped.replace(['\n', '\r'], " ")
        };
        let heads: Vec<String> = self
            .columns
            .iter()
            .map(|column| text(&column.label))
            .collect();
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| text(&cell.ascii())).collect())
            .collect();
        let widths = self.widths(&heads, &rows);
        let rule: Vec<String> = widths
            .iter()
            .zip(&self.columns)
            .map(|(width, column)| match column.numeric {
                true => format!("{:-<1$}:", "", width - 1),
                false => "-".repeat(*width),
            })
            .collect();
        let mut markdown = format!("## {}\n\n", text(&self.title));
        for row in [&heads, &rule].into_iter().chain(&rows) {
            markdown.push_str(&format!("| {} |\n", self.aligned(row, &widths).join(" | ")));
        }
        for note in &self.notes {
            markdown.push_str(&format!("\n{}\n", text(note)));
        }
        markdown
    }

    /// A list with one object per row; unrounded numbers, absent cells null.
    pub fn to_json(&self) -> String {
        let field = |(column, cell): (&Column, &Cell)| {
            format!("{}: {}", json!(column.name), cell_value(cell))
        };
        let row = |row: &Vec<Cell>| {
            let fields: Vec<String> = self.columns.iter().zip(row).map(field).collect();
            format!("  {{{}}}", fields.join(", "))
        };
        let rows: Vec<String> = self.rows.iter().map(row).collect();
        format!("[\n{}\n]\n", rows.join(",\n"))
    }

    /// Columns aligned with two spaces between them, for a terminal.
    pub fn to_text(&self) -> String {
        let heads: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.label.clone())
            .collect();
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(Cell::ascii).collect())
            .collect();
        let widths = self.widths(&heads, &rows);
        let mut text = String::new();
        for row in std::iter::once(&heads).chain(&rows) {
            text.push_str(self.aligned(row, &widths).join("  ").trim_end());
            text.push('\n');
        }
        for note in &self.notes {
            text.push_str(&format!("{note}\n"));
        }
        text
    }

    fn widths(&self, heads: &[String], rows: &[Vec<String>]) -> Vec<usize> {
        (0..self.columns.len())
            .map(|place| {
                let cells = rows.iter().filter_map(|row| row.get(place));
                let width = |text: &String| text.chars().count();
                cells
                    .map(width)
                    .chain([width(&heads[place]), 3])
                    .max()
                    .unwrap_or(3)
            })
            .collect()
    }

    fn aligned(&self, row: &[String], widths: &[usize]) -> Vec<String> {
        row.iter()
            .zip(widths)
            .zip(&self.columns)
            .map(|((cell, width), column)| match column.numeric {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            })
            .collect()
    }
}

fn cell_value(cell: &Cell) -> Value {
    match cell {
        Cell::Empty | Cell::NotRun => Value::Null,
        Cell::Text(text) | Cell::Named { id: text, .. } => json!(text),
        Cell::Number(number) => json!(number.value),
    }
}

fn csv_line(fields: impl Iterator<Item = String>) -> String {
    let mut line = fields.collect::<Vec<String>>().join(",");
    line.push('\n');
    line
}

fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}
