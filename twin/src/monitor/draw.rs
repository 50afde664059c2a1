//! The pages of the monitor, drawn into cells.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table, Tabs};
use serde_json::Value;

use crate::listing::{Column, cell};

use super::Look;

/// Looks that the strip of rates remembers.
const HISTORY: usize = 240;

/// What is shown below the strip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// Threads, tiers and latencies.
    #[default]
    Engine,
    /// Devices by their oldest value.
    Devices,
    /// Sessions.
    Sessions,
    /// Crossings and commands.
    Events,
}

impl Page {
    /// All pages, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Engine, Self::Devices, Self::Sessions, Self::Events];

    const fn name(self) -> &'static str {
        match self {
            Self::Engine => "1 Engine",
            Self::Devices => "2 Devices",
            Self::Sessions => "3 Sessions",
            Self::Events => "4 Events",
        }
    }

    /// The page after this one; the first follows the last.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

/// What is on the screen.
#[derive(Debug, Default)]
pub struct Screen {
    /// The page.
    pub page: Page,
    /// No further look is taken in.
    pub paused: bool,
    /// The keys are shown.
    pub help: bool,
    look: Option<Look>,
    /// Why the latest look failed, if it did.
    trouble: Option<String>,
    rates: Vec<u64>,
}

impl Screen {
    /// Takes a look in, or why there is none.
    pub fn show(&mut self, look: Result<Look, String>) {
        if self.paused {
            return;
        }
        match look {
            Ok(look) => {
                if self.rates.len() == HISTORY {
                    self.rates.remove(0);
                }
                self.rates.push(applied_hz(&look) as u64);
                (self.look, self.trouble) = (Some(look), None);
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// Draws all of it.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let rows = [
            Constraint::Length(5),
            Constraint::Length(5),
            Constraint::Length(1),
            Constraint::Min(3),
            Constraint::Length(1),
        ];
        let [strip, rates, tabs, page, foot] = Layout::vertical(rows).areas(frame.area());
        let Some(look) = &self.look else {
            let text = self.trouble.as_deref().unwrap_or("waiting for the twin");
            frame.render_widget(
                Paragraph::new(text).block(Block::bordered().title(" pollux ")),
                frame.area(),
            );
            return;
        };
        frame.render_widget(heading(look), strip);
        let sparkline = Sparkline::default().data(&self.rates).style(Color::Cyan);
        let title = format!(" records applied: {}/s ", short(applied_hz(look)));
        frame.render_widget(sparkline.block(Block::bordered().title(title)), rates);
        let names = Page::ALL.map(Page::name);
        let tabs_widget = Tabs::new(names).select(self.page as usize);
        frame.render_widget(tabs_widget.highlight_style(Modifier::REVERSED), tabs);
        match self.page {
            Page::Engine => draw_engine(look, frame, page),
            Page::Devices => {
                draw_list(&look.devices, " devices, the oldest value first ", DEVICES, frame, page)
            }
            Page::Sessions => draw_list(&look.sessions, " sessions ", SESSIONS, frame, page),
            Page::Events => draw_events(look, frame, page),
        }
        frame.render_widget(self.foot(), foot);
    }

    fn foot(&self) -> Line<'_> {
        if let Some(trouble) = &self.trouble {
            return Line::from(format!("what is shown is old: {trouble}")).red().bold();
        }
        if self.help {
            return Line::from(
                "Tab, 1-4 page   p pause   ? keys   q end   it reads and commands nothing",
            );
        }
        Line::from(if self.paused { "paused; p goes on" } else { "? keys  q end" }).dim()
    }
}

const DEVICES: &[Column] = &[
    ("device", "device"),
    ("sensors", "sensors"),
    ("actuators", "actuators"),
    ("outside", "outside"),
    ("oldest s", "worst_age_s"),
];
const SESSIONS: &[Column] = &[
    ("remote", "remote"),
    ("device", "device"),
    ("epoch", "epoch"),
    ("commands", "answers_commands"),
    ("open s", "age_s"),
    ("closed", "closed"),
];
const CROSSINGS: &[Column] = &[
    ("no.", "number"),
    ("device", "device"),
    ("sensor", "sensor"),
    ("type", "type"),
    ("direction", "direction"),
    ("smoothed", "smoothed"),
    ("unit", "unit"),
];
const COMMANDS: &[Column] = &[
    ("no.", "id"),
    ("device", "device"),
    ("actuator", "sensor"),
    ("value", "value"),
    ("state", "state"),
    ("took ms", "took_ms"),
];
const TIERS: &[Column] = &[
    ("offered", "offered"),
    ("applied", "applied"),
    ("duplicate", "duplicate"),
    ("stale", "stale"),
    ("rejected", "rejected"),
    ("shed", "shed"),
    ("lost", "lost"),
    ("residual", "residual"),
];

fn applied_hz(look: &Look) -> f64 {
    look.list("/tiers").iter().filter_map(|tier| tier["applied_hz"].as_f64()).sum()
}

/// Health, tick, plant, stop and host, in three lines.
fn heading(look: &Look) -> Paragraph<'_> {
    let health = look.text("/health");
    let colour = match health {
        "good" => Color::Green,
        "degraded" => Color::Yellow,
        _ => Color::Red,
    };
    let reasons: Vec<&str> = look.list("/reasons").iter().filter_map(Value::as_str).collect();
    let first = Line::from(vec![
        Span::styled(
            format!(" {} ", health.to_uppercase()),
            Style::new().bg(colour).fg(Color::Black).bold(),
        ),
        Span::from(format!(
            " tick {:.0} of {:.0} Hz   p50 {:.1} us  p99 {:.1} us  max {:.0} us   overruns {}  missed {}   {}",
            look.number("/tick/hz"),
            look.number("/tick/planned_hz"),
            look.number("/tick/p50_us"),
            look.number("/tick/p99_us"),
            look.number("/tick/max_us"),
            look.number("/tick/overruns"),
            look.number("/tick/missed"),
            reasons.join("; "),
        )),
    ]);
    let stop = match look.overview.pointer("/stop/stopped").and_then(Value::as_bool) {
        Some(true) => Span::from(format!(
            "STOPPED, {} of {} sessions acknowledged   ",
            look.number("/stop/acknowledged"),
            look.number("/stop/concerned")
        ))
        .red()
        .bold(),
        _ => Span::from(""),
    };
    let second = Line::from(vec![
        stop,
        Span::from(format!(
            "{} sessions  {} devices  {} sensors   oldest {:.2} s   health {:.1} %   residual {}   {:.0} MB   up {:.0} s",
            look.number("/sessions"),
            look.number("/devices"),
            short(look.number("/sensors")),
            look.number("/worst_age_s"),
            look.number("/odte_ratio") * 100.0,
            look.number("/residual"),
            look.number("/memory_bytes") / 1e6,
            look.number("/uptime_s"),
        )),
    ]);
    let title = format!(" pollux {} ", look.text("/version"));
    let third = Line::from(format!(
        "{}, {} cores, {:.0} MB, Linux {}, load {:.2}",
        look.text("/host/cpu_model"),
        look.number("/host/cores"),
        look.number("/host/memory_bytes") / 1e6,
        look.text("/host/kernel"),
        look.number("/host/load_1m"),
    ));
    Paragraph::new(vec![first, second, third.dim()]).block(Block::bordered().title(title))
}

fn draw_engine(look: &Look, frame: &mut Frame<'_>, area: Rect) {
    let threads = look.list("/threads");
    let heights =
        [Constraint::Length(threads.len() as u16 + 2), Constraint::Length(6), Constraint::Min(4)];
    let [above, middle, below] = Layout::vertical(heights).areas(area);
    let bars = threads.iter().map(|thread| {
        let busy = thread["busy_ratio"].as_f64().unwrap_or(0.0);
        let share = |member: &str| thread[member].as_f64().unwrap_or(0.0) * 100.0;
        Line::from(format!(
            "{:8} {} busy {:5.1} %   idle {:5.1} %   backpressure {:5.1} %",
            cell(thread, "thread"),
            bar(busy, 40),
            busy * 100.0,
            share("idle_ratio"),
            share("backpressure_ratio"),
        ))
    });
    frame.render_widget(
        Paragraph::new(bars.collect::<Vec<_>>()).block(Block::bordered().title(" threads ")),
        above,
    );
    frame.render_widget(tiers(look), middle);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(below);
    let latencies = look.latencies.as_array().map_or(&[][..], Vec::as_slice);
    let rows = latencies.iter().filter(|latency| latency["count"] != 0).map(|latency| {
        let us = |member: &str| format!("{:>9.1}", latency[member].as_f64().unwrap_or(0.0));
        Row::new([cell(latency, "name"), us("p50_us"), us("p99_us"), us("p99_9_us"), us("max_us")])
    });
    let widths = [
        Constraint::Min(22),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(10),
    ];
    let head = Row::new(["latency", "      p50", "      p99", "    p99.9", "       max"]).bold();
    frame.render_widget(
        Table::new(rows, widths)
            .header(head)
            .block(Block::bordered().title(" us since the start ")),
        left,
    );
    let systems = look.list("/systems").iter().map(|system| {
        let busy = system["busy_ratio"].as_f64().unwrap_or(0.0);
        let us = |member: &str| format!("{:>9.2}", system[member].as_f64().unwrap_or(0.0));
        Row::new([
            cell(system, "system"),
            format!("{:>6.2} %", busy * 100.0),
            us("mean_us"),
            us("max_us"),
        ])
    });
    let widths =
        [Constraint::Min(9), Constraint::Length(8), Constraint::Length(9), Constraint::Length(9)];
    let head = Row::new(["system", "   share", "  mean us", "  most us"]).bold();
    frame.render_widget(
        Table::new(systems, widths)
            .header(head)
            .block(Block::bordered().title(" systems of the tick ")),
        right,
    );
}

/// What came in by tier, what became of it, and how full its ring is.
fn tiers(look: &Look) -> Table<'_> {
    let rows = look.list("/tiers").iter().map(|tier| {
        let depth = tier["ring_depth"].as_f64().unwrap_or(0.0);
        let full = depth / tier["ring_capacity"].as_f64().unwrap_or(1.0).max(1.0);
        let rate = short(tier["applied_hz"].as_f64().unwrap_or(0.0));
        let counts =
            TIERS.iter().map(|(_, member)| format!("{:>11}", cell(&tier["totals"], member)));
        let heads = [cell(tier, "tier"), bar(full, 10), format!("{rate:>9}")];
        Row::new(heads.into_iter().chain(counts).collect::<Vec<_>>())
    });
    let counts = TIERS.iter().map(|(head, _)| format!("{head:>11}"));
    let heads =
        ["".to_owned(), "ring".to_owned(), "applied/s".to_owned()].into_iter().chain(counts);
    let widths = [Constraint::Length(3), Constraint::Length(10), Constraint::Length(9)];
    let widths = widths.into_iter().chain(TIERS.iter().map(|_| Constraint::Length(11)));
    let head = Row::new(heads.collect::<Vec<_>>()).bold();
    Table::new(rows, widths).header(head).block(Block::bordered().title(" tiers "))
}

fn draw_events(look: &Look, frame: &mut Frame<'_>, area: Rect) {
    let [above, below] = Layout::vertical([Constraint::Fill(1); 2]).areas(area);
    draw_list(&look.crossings, " crossings, the latest first ", CROSSINGS, frame, above);
    draw_list(&look.commands, " commands of operators, the latest first ", COMMANDS, frame, below);
}

fn draw_list(page: &Value, title: &str, columns: &[Column], frame: &mut Frame<'_>, area: Rect) {
    let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
    let cells: Vec<Vec<String>> = items
        .iter()
        .map(|item| columns.iter().map(|(_, member)| cell(item, member)).collect())
        .collect();
    let widths = columns.iter().enumerate().map(|(at, (head, _))| {
        let widest = cells.iter().map(|row| row[at].chars().count()).chain([head.len()]).max();
        Constraint::Length(widest.unwrap_or(0) as u16 + 1)
    });
    let head = Row::new(columns.iter().map(|(head, _)| *head)).bold();
    let table = Table::new(cells.iter().map(|row| Row::new(row.clone())), widths).header(head);
    frame.render_widget(table.block(Block::bordered().title(title.to_owned())), area);
}

/// A share as a bar of so many cells.
fn bar(share: f64, cells: usize) -> String {
    let full = ((share.clamp(0.0, 1.0) * cells as f64).round() as usize).min(cells);
    "█".repeat(full) + &"·".repeat(cells - full)
}

/// A number with a prefix: 12.3 k.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e9 => format!("{:.1} G", value / 1e9),
        value if value >= 1e6 => format!("{:.1} M", value / 1e6),
        value if value >= 1e4 => format!("{:.1} k", value / 1e3),
        value => format!("{value:.0}"),
    }
}
