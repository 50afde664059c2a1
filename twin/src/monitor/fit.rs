//! What fits on the screen: whole columns of a table, and whole parts of a line.
//!
//! A number that is cut is another number and does not look it. So nothing here is cut: a column that has no room is left out
//! and named in the title, and a part of a line that has none begins the next line.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Stylize;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Row, Table};
use serde_json::Value;

use crate::listing::{Column, cell};

/// What the borders of a block take of its width, and of its height.
pub(super) const BORDERS: u16 = 2;
/// What borders and the head of a table take of its height.
const AROUND_ROWS: u16 = BORDERS + 1;
/// Stands between the parts of a line.
const GAP: &str = "   ";

/// A table whose cells are known.
#[derive(Debug, Default)]
pub(super) struct Grid {
    columns: Vec<GridColumn>,
}

#[derive(Debug)]
struct GridColumn {
    head: &'static str,
    cells: Vec<String>,
    /// Numbers stand at the right.
    right: bool,
    /// Columns with a larger one go earlier.
    going: usize,
}

impl GridColumn {
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.chars().count());
        cells.chain([self.head.chars().count()]).max().unwrap_or(0)
    }

    fn padded(&self, text: &str) -> String {
        let width = self.width();
        if self.right { format!("{text:>width$}") } else { format!("{text:<width$}") }
    }
}

impl Grid {
    /// Columns of members of these items. Where they have no room the last one goes first.
    pub(super) fn of(items: &[Value], columns: &[Column]) -> Self {
        columns.iter().fold(Self::default(), |grid, (head, member)| {
            let right = items.iter().any(|item| item[*member].is_number());
            grid.with(head, right, items.iter().map(|item| cell(item, member)))
        })
    }

    /// One more column, which goes before those that are there.
    pub(super) fn with(
        mut self,
        head: &'static str,
        right: bool,
        cells: impl Iterator<Item = String>,
    ) -> Self {
        let going = self.columns.len();
        self.columns.push(GridColumn { head, cells: cells.collect(), right, going });
        self
    }

    /// Says which columns go before all others, the first of them first.
    pub(super) fn leaving(mut self, heads: &[&str]) -> Self {
        for column in &mut self.columns {
            if let Some(at) = heads.iter().position(|head| *head == column.head) {
                column.going = usize::MAX - at;
            }
        }
        self
    }

    /// The width of a block that has room for all of it.
    pub(super) fn width(&self) -> u16 {
        let gaps = self.columns.len().saturating_sub(1);
        let cells: usize = self.columns.iter().map(GridColumn::width).sum();
        u16::try_from(cells + gaps).unwrap_or(u16::MAX).saturating_add(BORDERS)
    }

    /// The height of a block that has room for all of it.
    pub(super) fn height(&self) -> u16 {
        self.columns.first().map_or(0, |column| column.cells.len()) as u16 + AROUND_ROWS
    }

    /// Leaves out what has no room in a block of this width, and gives the heads of that.
    fn fit(&mut self, width: u16) -> Vec<&'static str> {
        let mut left_out = Vec::new();
        while self.width() > width && !self.columns.is_empty() {
            let goes = (0..self.columns.len()).max_by_key(|&at| self.columns[at].going);
            left_out.push(self.columns.remove(goes.unwrap_or(0)).head);
        }
        left_out
    }

    /// Draws what has room in a block of this title, which says what has none.
    pub(super) fn draw(mut self, title: &str, frame: &mut Frame<'_>, area: Rect) {
        let left_out = self.fit(area.width);
        let title = if left_out.is_empty() {
            format!(" {title} ")
        } else {
            format!(" {title}; no room for {} ", left_out.join(", "))
        };
        let rows = self.columns.first().map_or(0, |column| column.cells.len());
        let row = |at: usize| {
            Row::new(self.columns.iter().map(move |column| column.padded(&column.cells[at])))
        };
        let widths = self.columns.iter().map(|column| Constraint::Length(column.width() as u16));
        let head = Row::new(self.columns.iter().map(|column| column.padded(column.head))).bold();
        let table = Table::new((0..rows).map(row), widths).header(head);
        frame.render_widget(table.block(Block::bordered().title(title)), area);
    }
}

/// A list in a block whose title says how many of its items are seen.
pub(super) fn draw_list(
    page: &Value,
    title: &str,
    grid: (&[Column], &[&str]),
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let (columns, leaving) = grid;
    let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
    let total = page["total"].as_u64().unwrap_or(items.len() as u64);
    let seen = items.len().min(usize::from(area.height.saturating_sub(AROUND_ROWS)));
    let title = format!("{seen} of {total} {title}");
    Grid::of(items, columns).leaving(leaving).draw(&title, frame, area);
}

/// Parts of a text in as many lines of this width as they need. A part that is longer than a line is broken between its
/// words.
pub(super) fn lines(parts: impl Iterator<Item = Span<'static>>, width: u16) -> Vec<Line<'static>> {
    let width = usize::from(width);
    let (mut lines, mut line) = (Vec::new(), Line::default());
    let mut put = |span: Span<'static>, gap: &'static str| {
        if line.width() > 0 && line.width() + gap.len() + span.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        if line.width() > 0 {
            line.push_span(gap);
        }
        line.push_span(span);
    };
    for part in parts.filter(|part| part.width() > 0) {
        if part.width() <= width {
            put(part, GAP);
            continue;
        }
        for word in part.content.split_whitespace() {
            put(Span::styled(word.to_owned(), part.style), " ");
        }
    }
    lines.push(line);
    lines
}
