//! Tables from CSV with a head (RFC 4180), or from JSON lines with one map for each row.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Number, Value};

use super::OutputFile;
use crate::stages::command::outputs::extension_of;
use crate::stages::task::TaskError;
use crate::store::artifact::Table;

const MOST_BYTES: u64 = 256 << 20;
const MOST_COLUMNS: usize = 10_000;

pub(super) fn read(file: &OutputFile, path: &str) -> Result<Table, TaskError> {
    let text = file.text(MOST_BYTES)?;
    let table = match extension_of(path) {
        Some("jsonl") => from_lines(&text),
        _ => from_csv(&text),
    };
    table.map_err(|wrong| file.wrong(wrong))
}

/// A table from CSV with a head.
///
/// # Errors
/// What is wrong, with its line.
pub fn from_csv(text: &str) -> Result<Table, String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let head = reader.headers().map_err(|error| error.to_string())?;
    let columns: Vec<String> = head.iter().map(str::to_string).collect();
    check_columns(&columns)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| match error.kind() {
            csv::ErrorKind::UnequalLengths {
                pos,
                expected_len,
                len,
            } => {
                let line = pos.as_ref().map_or(0, csv::Position::line);
                format!("line {line} has {len} cells, but the head has {expected_len}")
            }
            _ => error.to_string(),
        })?;
        rows.push(record.iter().map(cell).collect());
    }
    Ok(Table { columns, rows })
}

/// The value of a cell: a number, null for an empty one, or a text.
///
/// A text that a number would not be written back as stays a text: `007`, `1e400`.
fn cell(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    let digits = text.trim_start_matches('-');
    let is_padded = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    let is_plain = digits.starts_with(|it: char| it.is_ascii_digit());
    if is_padded || !is_plain {
        return text.into();
    }
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    let number = text.parse().ok().and_then(Number::from_f64);
    number.map_or_else(|| text.into(), Value::Number)
}

/// A row of JSON lines, in the order of its line.
struct Row(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a map from columns to values")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Row, M::Error> {
        let mut cells = Vec::new();
        while let Some(entry) = map.next_entry()? {
            cells.push(entry);
        }
        Ok(Row(cells))
    }
}

/// A table from JSON lines.
///
/// # Errors
/// What is wrong, with its line.
pub fn from_lines(text: &str) -> Result<Table, String> {
    let mut columns: Vec<String> = Vec::new();
    let mut places = std::collections::HashMap::new();
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        let row: Row = serde_json::from_str(line).map_err(|error| {
            let column = error.column();
            format!("line {number}, column {column}: {}", without_place(&error))
        })?;
        let mut cells = vec![Value::Null; columns.len()];
        let mut filled = vec![false; columns.len()];
        for (name, value) in row.0 {
            if value.is_array() || value.is_object() {
                return Err(format!(
                    "line {number}: `{name}` is neither a number nor a text"
                ));
            }
            let place = *places.entry(name.clone()).or_insert_with(|| {
                columns.push(name.clone());
                columns.len() - 1
            });
            cells.resize(columns.len(), Value::Null);
            filled.resize(columns.len(), false);
            if std::mem::replace(&mut filled[place], true) {
                return Err(format!("line {number}: `{name}` is there twice"));
            }
            cells[place] = value;
        }
        check_columns(&columns)?;
        rows.push(cells);
    }
    if columns.is_empty() {
        return Err("there are no rows".to_string());
    }
    for row in &mut rows {
        row.resize(columns.len(), Value::Null);
    }
    Ok(Table { columns, rows })
}

/// The message of an error without its line, which is always 1.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_string()
}

fn check_columns(columns: &[String]) -> Result<(), String> {
    if columns.len() > MOST_COLUMNS {
        return Err(format!("there are more than {MOST_COLUMNS} columns"));
    }
    if columns.is_empty() || columns.iter().all(String::is_empty) {
        return Err("there is no head with the names of the columns".to_string());
    }
    let mut sorted: Vec<&String> = columns.iter().collect();
    sorted.sort();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two columns are called `{}`", pair[0])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn csv_and_json_lines_give_the_same_table() {
        let csv = "epoch,loss,note\n1,0.5,\"a, \"\"b\"\"\"\n2,-1e-3,\n";
        let lines = "{\"epoch\": 1, \"loss\": 0.5, \"note\": \"a, \\\"b\\\"\"}\n\n\
                     {\"loss\": -1e-3, \"epoch\": 2}\n";
        let table = from_csv(csv).unwrap();
        assert_eq!(table.columns, ["epoch", "loss", "note"]);
        let rows = [json!([1, 0.5, "a, \"b\""]), json!([2, -0.001, null])];
        assert_eq!(json!(table.rows), json!(rows));
        assert_eq!(from_lines(lines).unwrap(), table);
        assert_eq!(
            json!(["007", "+1", "0.10", "-0", "x"].map(cell)),
            json!(["007", "+1", 0.1, 0, "x"])
        );
    }

    #[test]
    fn errors_name_the_line() {
        for (text, words) in [
            ("a,b\n1,2\n3\n", "line 3 has 1 cells, but the head has 2"),
            ("a,a\n1,2\n", "two columns are called `a`"),
            ("", "there is no head"),
        ] {
            let error = from_csv(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        for (text, words) in [
            ("{\"a\": 1}\n[1]\n", "line 2"),
            (
                "{\"a\": 1}\n{\"a\": {}}\n",
                "line 2: `a` is neither a number nor a text",
            ),
            ("{\"a\": 1, \"a\": 2}\n", "line 1: `a` is there twice"),
            ("{\"a\": 1\n", "line 1, column 7"),
            ("\n", "there are no rows"),
        ] {
            let error = from_lines(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
