//! Lists of the API on a terminal: as a table, as CSV, or as the JSON that came.

use std::fmt::Write;

use serde_json::Value;
use x509_parser::time::ASN1Time;

/// What the names of members end with that are times, in milliseconds since the Unix epoch.
const TIME: &str = "_unix_ms";

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

/// The same for people: times as dates of UTC.
fn cell_for_people(item: &Value, member: &str) -> String {
    let time = if member.ends_with(TIME) { item[member].as_f64().and_then(utc) } else { None };
    time.unwrap_or_else(|| cell(item, member))
}

/// `2026-02-28T23:59:59.250Z` (RFC 3339). None for what is no year of four digits.
fn utc(unix_ms: f64) -> Option<String> {
    let ms = unix_ms.floor() as i64;
    let at = ASN1Time::from_timestamp(ms.div_euclid(1000)).ok()?.to_datetime();
    let ((year, month, day), (hour, minute, second)) = (at.to_calendar_date(), at.to_hms());
    let (month, ms) = (u8::from(month), ms.rem_euclid(1000));
    (0..=9999).contains(&year).then(|| {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    })
}

/// Items under each other: words to the left, numbers to the right.
#[must_use]
pub fn table(columns: &[Column], items: &[Value]) -> String {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| columns.iter().map(|(_, member)| cell_for_people(item, member)).collect())
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

    #[test]
    fn times_are_dates_for_people_and_numbers_for_programs() {
        let columns = [("SENT", "sent_unix_ms")];
        let items = [
            json!({ "sent_unix_ms": 951_868_799_250.7 }),
            json!({ "sent_unix_ms": 0.0 }),
            json!({ "sent_unix_ms": null }),
            json!({ "sent_unix_ms": 1e30 }),
        ];
        let lines = table(&columns, &items);
        let lines: Vec<&str> = lines.lines().map(str::trim_start).collect();
        assert_eq!(
            lines[..4],
            ["SENT", "2000-02-29T23:59:59.250Z", "1970-01-01T00:00:00.000Z", "-"]
        );
        assert!(lines[4].starts_with("1000000000000000"), "{}", lines[4]);
        assert!(csv(&columns, &items[..1]).contains("951868799250.7"));
    }
}
