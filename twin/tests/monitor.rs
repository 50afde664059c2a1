//! The pages of the terminal monitor, drawn into memory from a look that was written by hand.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};
use twin::monitor::{Look, Page, Screen};

fn look(stopped: bool) -> Look {
    let totals = json!({ "offered": 9, "applied": 7, "shed": 2, "residual": 0 });
    Look {
        overview: json!({
            "version": "9.9.9", "health": if stopped { "stopped" } else { "good" }, "reasons": ["a reason"],
            "tick": { "hz": 999.6, "planned_hz": 1000, "p50_us": 12.5 },
            "tiers": [{ "tier": "t1", "applied_hz": 123_456.0, "ring_depth": 8, "ring_capacity": 16, "totals": totals }],
            "threads": [{ "thread": "net-0", "busy_ratio": 0.25, "idle_ratio": 0.75, "backpressure_ratio": 0.125 }, { "thread": "tick", "busy_ratio": 1.5 }],
            "host": { "cpu_model": "a core", "cores": 4, "kernel": "6.1", "memory_bytes": 8e9, "load_1m": 0.5 },
            "systems": [{ "system": "rules", "busy_ratio": 0.01, "mean_us": 1.0, "max_us": 3.0 }],
            "sessions": 3, "stop": { "stopped": stopped, "acknowledged": 2, "concerned": 3 },
        }),
        latencies: json!([{ "name": "tick_jitter", "count": 4, "p50_us": 33.3 }, { "name": "unseen", "count": 0 }]),
        devices: json!({ "items": [{ "device": "6f0e1c1e", "sensors": 5, "worst_age_s": 1.25 }] }),
        sessions: json!({ "items": [{ "remote": "10.0.0.7:4433", "closed": null }] }),
        crossings: json!({ "items": [{ "number": 41, "direction": "up" }] }),
        commands: json!({ "items": [{ "id": 8, "state": "acknowledged" }] }),
    }
}

fn drawn(screen: &Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(frame)).unwrap();
    let cells = terminal.backend().buffer();
    let rows = cells.content().chunks(usize::from(width));
    let rows = rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
    rows.collect::<Vec<_>>().join("\n")
}

fn screen(look: Look, page: Page) -> Screen {
    let mut screen = Screen::default();
    screen.page = page;
    screen.show(Ok(look));
    screen
}

#[test]
fn every_page_shows_what_it_is_for() {
    let shown = |page| drawn(&screen(look(false), page), 160, 40);
    let engine = shown(Page::Engine);
    for part in [
        "GOOD",
        "tick 1000 of 1000 Hz",
        "123.5 k/s",
        "net-0",
        "busy  25.0 %   idle  75.0 %   backpressure  12.5 %",
        "a core, 4 cores, 8000 MB, Linux 6.1, load 0.50",
        "tick_jitter",
        "rules",
        "a reason",
    ] {
        assert!(engine.contains(part), "{part} in\n{engine}");
    }
    assert!(!engine.contains("unseen"), "a latency that nobody has recorded is left out");
    assert!(engine.contains("█████·····"), "a ring that is half full\n{engine}");
    assert!(shown(Page::Devices).contains("6f0e1c1e") && shown(Page::Devices).contains("1.250"));
    assert!(shown(Page::Sessions).contains("10.0.0.7:4433"));
    let events = shown(Page::Events);
    assert!(events.contains("up") && events.contains("acknowledged"), "{events}");
    assert!(drawn(&screen(look(true), Page::Engine), 160, 40).contains("STOPPED, 2 of 3 sessions"));
}

#[test]
fn a_twin_that_falls_silent_is_said_to_be_and_a_pause_holds_the_picture() {
    let mut screen = screen(look(false), Page::Engine);
    screen.show(Err("no twin answers".to_owned()));
    let shown = drawn(&screen, 120, 40);
    assert!(shown.contains("what is shown is old: no twin answers") && shown.contains("net-0"));
    screen.show(Ok(look(false)));
    screen.paused = true;
    screen.show(Ok(look(true)));
    assert!(!drawn(&screen, 120, 40).contains("STOPPED"));
}

#[test]
fn small_terminals_and_strange_answers_are_drawn_without_harm() {
    let nothing = || Look {
        overview: Value::Null,
        latencies: json!("text"),
        devices: json!({ "items": 5 }),
        sessions: Value::Null,
        crossings: json!([]),
        commands: json!({}),
    };
    for page in Page::ALL {
        for (width, height) in [(1, 1), (10, 3), (40, 12), (200, 60)] {
            drawn(&screen(nothing(), page), width, height);
            drawn(&screen(look(true), page), width, height);
        }
    }
    assert!(drawn(&Screen::default(), 60, 5).contains("waiting for the twin"));
    assert_eq!(Page::Events.next(), Page::Engine);
}
