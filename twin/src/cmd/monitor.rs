//! `pollux monitor`: a running twin in the terminal.
//!
//! One thread asks the twin, twice a second; this one draws and listens to keys, so that a twin that does not answer holds no
//! key up.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::Context;
use netloop::{Clock, wait_until};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::args::{MonitorArgs, Output};
use crate::client::Client;
use crate::monitor::{Look, Page, Screen};
use crate::say::print_line;

/// How often the twin is asked.
const LOOK: Duration = Duration::from_millis(500);
/// What is said where there is nothing to draw on.
const NO_TERMINAL: &str = "monitor needs a terminal; `pollux monitor --once` prints one look";
/// How long a key may wait to be heard.
const LISTEN: Duration = Duration::from_millis(50);

/// Watches until it is told to end.
///
/// # Errors
/// Nobody answers (with `--once`), or there is no terminal.
pub fn run(args: &MonitorArgs) -> anyhow::Result<ExitCode> {
    let client = args.surface.client()?;
    if args.once {
        let look = Look::take(&client)?;
        print(&look, args.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::ensure!(std::io::stdout().is_terminal(), NO_TERMINAL);
    let (looks, seen) = channel();
    // It ends when nobody takes its looks any more.
    drop(
        std::thread::Builder::new()
            .name("look".to_owned())
            .spawn(move || watch(&client, &looks))?,
    );
    let mut terminal = ratatui::try_init().context(NO_TERMINAL)?;
    let ended = show(&mut terminal, &seen);
    ratatui::restore();
    ended?;
    Ok(ExitCode::SUCCESS)
}

fn watch(client: &Client, looks: &Sender<Result<Look, String>>) {
    let clock = Clock::new();
    loop {
        let next = clock.now().instant + LOOK;
        let look = Look::take(client).map_err(|error| error.to_string());
        if looks.send(look).is_err() {
            return;
        }
        wait_until(next, Duration::ZERO);
    }
}

fn show(
    terminal: &mut DefaultTerminal,
    seen: &Receiver<Result<Look, String>>,
) -> std::io::Result<()> {
    let mut screen = Screen::default();
    loop {
        seen.try_iter().for_each(|look| screen.show(look));
        terminal.draw(|frame| screen.draw(frame))?;
        if event::poll(LISTEN)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
            && !handle_key(&mut screen, key)
        {
            return Ok(());
        }
    }
}

/// Does what a key asks for; false when it asks for the end.
fn handle_key(screen: &mut Screen, key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Tab => screen.page = screen.page.next(),
        KeyCode::Char('p') => screen.paused = !screen.paused,
        KeyCode::Char('?') => screen.help = !screen.help,
        KeyCode::Char(digit @ '1'..='4') => {
            screen.page = Page::ALL[digit as usize - '1' as usize];
        }
        _ => {}
    }
    true
}

fn print(look: &Look, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        print_line(look.to_json())?;
        return Ok(());
    }
    let mut screen = Screen::default();
    screen.show(Ok(look.clone()));
    let (width, height) = screen.room();
    let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(width, height))?;
    terminal.draw(|frame| screen.draw(frame))?;
    let cells = terminal.backend().buffer();
    for row in cells.content().chunks(usize::from(cells.area().width)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        print_line(line.trim_end())?;
    }
    Ok(())
}
