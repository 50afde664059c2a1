//! The pages of the monitor, drawn into cells.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline, Tabs, Wrap};
use serde_json::Value;

use crate::listing::{Column, cell};

use super::Look;
use super::fit::{BORDERS, Grid, draw_list, lines};

/// Looks that the strip of rates remembers.
const HISTORY: usize = 240;
/// Columns that the bar of a thread takes at most.
const BAR: usize = 40;
/// Columns of a page that is drawn once: what most terminals have when somebody has made them large.
const WIDTH: u16 = 120;
/// Rows of the strip of rates, and those of it on a screen of fewer than `SMALL` rows, where tables need them more.
const RATES: u16 = 5;
const RATES_SMALL: u16 = 3;
const SMALL: u16 = 30;

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

    /// Width and height that have room for all of the first page.
    #[must_use]
    pub fn room(&self) -> (u16, u16) {
        let Some(look) = &self.look else { return (WIDTH, RATES) };
        let (left, right) = (latencies(look), systems(look));
        let width = [WIDTH, tiers(look).width(), left.width() + right.width()];
        let width = width.into_iter().max().unwrap_or(WIDTH);
        let strip = heading(look, width).len() as u16 + BORDERS;
        let tables = left.height().max(right.height());
        let threads = look.list("/threads").len() as u16 + BORDERS;
        (width, strip + RATES + 2 + threads + tiers(look).height() + tables)
    }

    /// Draws all of it.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let Some(look) = &self.look else {
            let text = self.trouble.as_deref().unwrap_or("waiting for the twin");
            let block = Block::bordered().title(" pollux ");
            frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }).block(block), area);
            return;
        };
        let heading = heading(look, area.width);
        let rows = [
            Constraint::Length(heading.len() as u16 + BORDERS),
            Constraint::Length(if area.height < SMALL { RATES_SMALL } else { RATES }),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ];
        let [strip, rates, tabs, page, foot] = Layout::vertical(rows).areas(area);
        let title = format!(" pollux {} ", look.text("/version"));
        frame.render_widget(Paragraph::new(heading).block(Block::bordered().title(title)), strip);
        let sparkline = Sparkline::default().data(&self.rates).style(Color::Cyan);
        let title = format!(" records applied: {}/s ", short(applied_hz(look)));
        frame.render_widget(sparkline.block(Block::bordered().title(title)), rates);
        let names = Page::ALL.map(Page::name);
        let tabs_widget = Tabs::new(names).select(self.page as usize);
        frame.render_widget(tabs_widget.highlight_style(Modifier::REVERSED), tabs);
        match self.page {
            Page::Engine => draw_engine(look, frame, page),
            Page::Devices => {
                let title = "devices, the oldest value first";
                draw_list(&look.devices, title, (DEVICES, &[]), frame, page);
            }
            Page::Sessions => {
                let leaving = ["commands", "epoch", "open s"];
                draw_list(&look.sessions, "sessions", (SESSIONS, &leaving), frame, page);
            }
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

/// Health, tick, plant, stop and host, in as many lines of a block of this width as they need.
fn heading(look: &Look, width: u16) -> Vec<Line<'static>> {
    let width = width.saturating_sub(BORDERS);
    let groups = [lines(state(look), width), lines(plant(look), width)];
    let host = lines(host(look), width).into_iter().map(Line::dim);
    groups.into_iter().flatten().chain(host).collect()
}

/// Health with its reasons, and the tick.
fn state(look: &Look) -> impl Iterator<Item = Span<'static>> {
    let health = look.text("/health");
    let colour = match health {
        "good" => Color::Green,
        "degraded" => Color::Yellow,
        _ => Color::Red,
    };
    let style = Style::new().bg(colour).fg(Color::Black).bold();
    let health = Span::styled(format!(" {} ", health.to_uppercase()), style);
    let tick = [
        format!("tick {:.0} of {:.0} Hz", look.number("/tick/hz"), look.number("/tick/planned_hz")),
        format!("p50 {:.1} us", look.number("/tick/p50_us")),
        format!("p99 {:.1} us", look.number("/tick/p99_us")),
        format!("max {:.0} us", look.number("/tick/max_us")),
        format!("overruns {}", look.number("/tick/overruns")),
        format!("missed {}", look.number("/tick/missed")),
    ];
    let reasons = look.list("/reasons").iter().filter_map(Value::as_str);
    let reasons: Vec<Span<'_>> = reasons.map(|reason| Span::from(reason.to_owned())).collect();
    std::iter::once(health).chain(tick.map(Span::from)).chain(reasons)
}

/// The stop if there is one, and what the plant comes to.
fn plant(look: &Look) -> impl Iterator<Item = Span<'static>> {
    let stopped = look.overview.pointer("/stop/stopped").and_then(Value::as_bool) == Some(true);
    let [acknowledged, concerned] =
        ["/stop/acknowledged", "/stop/concerned"].map(|path| look.number(path));
    let stop = format!("STOPPED, {acknowledged} of {concerned} sessions acknowledged");
    let stop = stopped.then(|| Span::from(stop).red().bold());
    let counts = [
        format!("residual {}", look.number("/residual")),
        format!("{} sessions", look.number("/sessions")),
        format!("{} devices", look.number("/devices")),
        format!("{} sensors", short(look.number("/sensors"))),
        format!("oldest {:.2} s", look.number("/worst_age_s")),
        format!("odte {:.1} %", look.number("/odte_ratio") * 100.0),
        format!("{:.0} MB", look.number("/memory_bytes") / 1e6),
        format!("up {:.0} s", look.number("/uptime_s")),
    ];
    stop.into_iter().chain(counts.map(Span::from))
}

fn host(look: &Look) -> impl Iterator<Item = Span<'static>> {
    let host = format!(
        "{}, {} cores, {:.0} MB, Linux {}, load {:.2}",
        look.text("/host/cpu_model"),
        look.number("/host/cores"),
        look.number("/host/memory_bytes") / 1e6,
        look.text("/host/kernel"),
        look.number("/host/load_1m"),
    );
    std::iter::once(Span::from(host))
}

fn draw_engine(look: &Look, frame: &mut Frame<'_>, area: Rect) {
    let tiers = tiers(look);
    let threads = look.list("/threads").len() as u16 + BORDERS;
    let heights =
        [Constraint::Length(threads), Constraint::Length(tiers.height()), Constraint::Fill(1)];
    let [above, middle, below] = Layout::vertical(heights).areas(area);
    let bars = threads_of(look, above.width.saturating_sub(BORDERS));
    frame.render_widget(Paragraph::new(bars).block(Block::bordered().title(" threads ")), above);
    tiers.draw("tiers", frame, middle);
    let (latencies, systems) = (latencies(look), systems(look));
    let widths = [Constraint::Max(latencies.width().max(below.width / 2)), Constraint::Fill(1)];
    let [left, right] = Layout::horizontal(widths).areas(below);
    latencies.draw("us since the start", frame, left);
    systems.draw("systems of the tick", frame, right);
}

/// A line for each thread: its shares, as many as have room, with a bar in what they leave.
fn threads_of(look: &Look, width: u16) -> Vec<Line<'static>> {
    let line = |thread: &Value| {
        let share = |member: &str| thread[member].as_f64().unwrap_or(0.0);
        let mut text = format!("{:8}", cell(thread, "thread"));
        let mut shares = String::new();
        for (name, member) in
            [("busy", "busy_ratio"), ("idle", "idle_ratio"), ("backpressure", "backpressure_ratio")]
        {
            let part = format!("   {name} {:5.1} %", share(member) * 100.0);
            if text.len() + shares.len() + part.len() > usize::from(width) {
                break;
            }
            shares += &part;
        }
        let room = usize::from(width).saturating_sub(text.len() + shares.len() + 1).min(BAR);
        if room > 0 {
            text += &format!(" {}", bar(share("busy_ratio"), room));
        }
        Line::from(text + &shares)
    };
    look.list("/threads").iter().map(line).collect()
}

/// Percentiles of every latency that anybody has recorded.
fn latencies(look: &Look) -> Grid {
    let all = look.latencies.as_array().map_or(&[][..], Vec::as_slice);
    let seen: Vec<&Value> = all.iter().filter(|latency| latency["count"] != 0).collect();
    let us = |member: &'static str| {
        seen.iter().map(move |one| format!("{:.1}", one[member].as_f64().unwrap_or(0.0)))
    };
    Grid::default()
        .with("latency", false, seen.iter().map(|latency| cell(latency, "name")))
        .with("p50", true, us("p50_us"))
        .with("p99", true, us("p99_us"))
        .with("p99.9", true, us("p99_9_us"))
        .with("max", true, us("max_us"))
        .leaving(&["p99.9", "max", "p50"])
}

fn systems(look: &Look) -> Grid {
    let all = look.list("/systems");
    let real = |member: &'static str, scale: f64, unit: &'static str| {
        all.iter()
            .map(move |one| format!("{:.2}{unit}", one[member].as_f64().unwrap_or(0.0) * scale))
    };
    Grid::default()
        .with("system", false, all.iter().map(|system| cell(system, "system")))
        .with("share", true, real("busy_ratio", 100.0, " %"))
        .with("mean us", true, real("mean_us", 1.0, ""))
        .with("most us", true, real("max_us", 1.0, ""))
}

/// What came in by tier, what became of it, and how full its ring is.
fn tiers(look: &Look) -> Grid {
    let tiers = look.list("/tiers");
    let full = tiers.iter().map(|tier| {
        let depth = tier["ring_depth"].as_f64().unwrap_or(0.0);
        bar(depth / tier["ring_capacity"].as_f64().unwrap_or(1.0).max(1.0), 10)
    });
    let rate = tiers.iter().map(|tier| short(tier["applied_hz"].as_f64().unwrap_or(0.0)));
    let heads = Grid::default()
        .with("tier", false, tiers.iter().map(|tier| cell(tier, "tier")))
        .with("ring", false, full)
        .with("applied/s", true, rate);
    let counts = TIERS.iter().fold(heads, |grid, (head, member)| {
        grid.with(head, true, tiers.iter().map(|tier| cell(&tier["totals"], member)))
    });
    counts.leaving(&["ring", "duplicate", "stale", "applied/s", "shed", "rejected", "lost"])
}

fn draw_events(look: &Look, frame: &mut Frame<'_>, area: Rect) {
    let [above, below] = Layout::vertical([Constraint::Fill(1); 2]).areas(area);
    draw_list(&look.crossings, "crossings, the latest first", (CROSSINGS, &[]), frame, above);
    let title = "commands of operators, the latest first";
    draw_list(&look.commands, title, (COMMANDS, &[]), frame, below);
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
