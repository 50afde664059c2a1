//! The pages of the terminal monitor, drawn into memory from a look that was written by hand.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::collections::BTreeSet;

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

/// Numbers of seven digits wherever the first page has one, none of them the beginning of another one.
fn large(devices: usize) -> Look {
    let tier = |at: u64| {
        let count = |member: u64| at * 1_000_000 + member * 100_000 + 12_340 + member;
        let totals = json!({
            "offered": count(1), "applied": count(2), "duplicate": count(3), "stale": count(4),
            "rejected": count(5), "shed": count(6), "lost": count(7), "residual": count(8),
        });
        json!({ "tier": format!("t{at}"), "applied_hz": 123_456.0, "ring_depth": 8, "ring_capacity": 16, "totals": totals })
    };
    let us = |at: u64| json!({ "name": format!("receive_to_applied_t{at}"), "count": 9, "p50_us": 1_111_111.1, "p99_us": 2_222_222.2, "p99_9_us": 3_333_333.3, "max_us": 4_444_444.4 });
    let system = json!({ "system": "fold", "busy_ratio": 0.0123, "mean_us": 5_555_555.55, "max_us": 6_666_666.66 });
    let share = |name: &str| json!({ "thread": name, "busy_ratio": 0.123, "idle_ratio": 0.877, "backpressure_ratio": 0.456 });
    let mut look = look(true);
    let overview = look.overview.as_object_mut().unwrap();
    for (member, value) in [
        ("tiers", json!([tier(7), tier(8), tier(9)])),
        ("systems", json!([system])),
        ("threads", json!([share("net-0"), share("tick")])),
        ("residual", json!(7_654_321)),
        ("sessions", json!(1_029_384)),
        ("devices", json!(5_647_382)),
        ("worst_age_s", json!(1_234_567.89)),
        ("odte_ratio", json!(0.988)),
        ("uptime_s", json!(8_765_432)),
        ("reasons", json!(["the ring of t1 holds more than half of its capacity"])),
    ] {
        overview.insert(member.to_owned(), value);
    }
    overview.insert("tick".to_owned(), json!({ "hz": 1_000_001, "planned_hz": 1_000_002, "p50_us": 1_000_003, "p99_us": 1_000_004, "max_us": 1_000_005, "overruns": 1_000_006, "missed": 1_000_007 }));
    look.latencies = json!([us(1), us(2), us(3)]);
    let name = |at: usize| format!("6f0e1c1e-8a5f-4b0e-9a57-{at:012}");
    let device = |at| json!({ "device": name(at), "sensors": 1_000_000 + at, "actuators": 2_000_000 + at, "outside": 3_000_000 + at, "worst_age_s": 4_000_000.5 });
    let session = |at| json!({ "remote": format!("192.168.100.{at}:44330"), "device": name(at), "epoch": 4_000_000_000_u64, "answers_commands": true, "age_s": 5_000_000.5, "closed": "peer:unauthorized" });
    look.devices =
        json!({ "items": (100..100 + devices).map(device).collect::<Vec<_>>(), "total": 100 });
    look.sessions =
        json!({ "items": (100..100 + devices).map(session).collect::<Vec<_>>(), "total": 100 });
    look
}

/// Everything in a picture that begins with a digit, or has one behind letters.
fn numbers(picture: &str) -> BTreeSet<&str> {
    let words = picture.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '.');
    words.filter(|word| word.contains(|sign: char| sign.is_ascii_digit())).collect()
}

#[test]
fn on_a_narrow_screen_every_number_is_one_of_the_look() {
    for page in Page::ALL {
        let screen = screen(large(9), page);
        let wide = drawn(&screen, 400, 60);
        let known = numbers(&wide);
        for width in [80, 100, 120] {
            let picture = drawn(&screen, width, 60);
            for number in numbers(&picture) {
                assert!(known.contains(number), "{number} at {width} in\n{picture}");
            }
            for part in ["residual 7654321", "1029384 sessions", "missed 1000007"] {
                assert!(picture.contains(part), "{part} at {width} in\n{picture}");
            }
        }
    }
}

#[test]
fn what_has_no_room_is_left_out_as_a_whole_and_named() {
    let screen = screen(large(9), Page::Engine);
    let wide = drawn(&screen, 120, 60);
    for member in 1..=8 {
        for tier in 7..=9 {
            let count = (tier * 1_000_000 + member * 100_000 + 12_340 + member).to_string();
            assert!(numbers(&wide).contains(&*count), "{count} in\n{wide}");
        }
    }
    assert!(!wide.contains("no room for"), "{wide}");
    let narrow = drawn(&screen, 80, 24);
    assert!(narrow.contains("tiers; no room for ring, duplicate"), "{narrow}");
    for part in ["7112341", "9812348", "7612346", "busy  12.3 %", "backpressure  45.6 %"] {
        assert!(narrow.contains(part), "{part} in\n{narrow}");
    }
    assert!(!narrow.contains("7312343"), "{narrow}");
}

#[test]
fn a_page_that_is_drawn_once_takes_the_room_that_it_needs() {
    let screen = screen(large(9), Page::Engine);
    let (width, height) = screen.room();
    let (once, wide) = (drawn(&screen, width, height), drawn(&screen, 400, 100));
    assert_eq!(numbers(&once), numbers(&wide), "{once}");
    assert!(!once.contains("no room for"), "{once}");
}

#[test]
fn a_list_says_how_many_of_its_items_are_seen() {
    for (page, rows) in [(Page::Devices, 9), (Page::Sessions, 9)] {
        let screen = screen(large(60), page);
        let picture = drawn(&screen, 120, 24);
        let seen = picture.matches("6f0e1c1e-8a5f").count();
        assert!(seen >= rows, "{picture}");
        assert!(picture.contains(&format!(" {seen} of 100 ")), "{seen} of 100 in\n{picture}");
    }
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
