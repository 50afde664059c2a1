//! Lists of the API on a terminal: as a table, as CSV, or as the JSON that came.

use std::fmt::Write;

use serde_json::Value;

/// One column: its head, and the member of each item that it shows.
pub type Column = (&'static str, &'static str);

/// A member as it stands in a cell; a dash where there is none.
#[must_use]
pub fn cell(item: &Value, member: &str) -> String {
    match &item[member] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            // Times since the epoch and ids are whole; anything else needs no more digits than these.
            Some(real) if number.is_f64() => format!("{real:.3}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// Items under each other: words to the left, numbers to the right.
#[must_use]
pub fn table(columns: &[Column], items: &[Value]) -> String {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| columns.iter().map(|(_, member)| cell(item, member)).collect())
        .collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([columns[at].0.len()]).max().unwrap_or(0)
    };
    let right: Vec<bool> = (0..columns.len())
        .map(|at| items.iter().any(|item| item[columns[at].1].is_number()))
        .collect();
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (at, cell) in cells.enumerate() {
            let width = width(at);
            let written = if right[at] {
                write!(text, "{cell:>width$}  ")
            } else {
                write!(text, "{cell:<width$}  ")
            };
            written.expect("because a String takes all");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut columns.iter().map(|(head, _)| *head));
    for row in &rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

/// Items as RFC 4180 has them, with a head.
#[must_use]
pub fn csv(columns: &[Column], items: &[Value]) -> String {
    let quoted = |text: String| {
        if text.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    };
    let heads = columns.iter().map(|(_, member)| (*member).to_owned()).collect::<Vec<_>>();
    let rows = items.iter().map(|item| {
        let cells = columns.iter().map(|(_, member)| match &item[*member] {
            Value::Null => String::new(),
            Value::String(text) => quoted(text.clone()),
            other => quoted(other.to_string()),
        });
        cells.collect::<Vec<_>>()
    });
    let lines = std::iter::once(heads).chain(rows).map(|cells| cells.join(","));
    lines.fold(String::new(), |out, line| out + &line + "\r\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: [Column; 3] = [("NAME", "name"), ("VALUE", "value"), ("NOTE", "note")];

    fn items() -> Vec<Value> {
        vec![
            json!({ "name": "a", "value": 1.5, "note": "x, \"y\"" }),
            json!({ "name": "longer", "value": 10, "note": null }),
        ]
    }

    #[test]
    fn a_table_lines_up() {
        let lines = ["NAME    VALUE  NOTE", "a       1.500  x, \"y\"", "longer     10  -", ""];
        assert_eq!(table(&COLUMNS, &items()), lines.join("\n"));
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let lines = ["name,value,note", "a,1.5,\"x, \"\"y\"\"\"", "longer,10,", ""];
        assert_eq!(csv(&COLUMNS, &items()), lines.join("\r\n"));
    }
}
