//! The command line of each binary: runs the cases of its library and prints one line of JSON for each.
//!
//! Each form of a case has a process of its own, as a program has that does nothing else: what an earlier world left in
//! the heap would decide how the memory of the next one lies, and of which pages it is.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::json;

use crate::case::{BYTES_CASE, CASES, Form, Library, Scale};
use crate::twin::SENSORS_1M;
use crate::{allocator, clock, measure};

/// Runs before the checksum is taken.
const CHECKED_RUNS: u64 = 3;
/// CPU time for the samples of one case unless the command line says otherwise, in milliseconds.
const BUDGET_MS: u64 = 150;

/// What the command line asks for.
struct Options {
    budget_ns: u64,
    cases: Option<Vec<String>>,
    form: Option<String>,
    round: u64,
}

/// Runs the program of `library`.
///
/// # Errors
/// A wrong command line, or a host without the allocator settings.
pub fn main(library: &Library) -> anyhow::Result<()> {
    let options = parse(env::args().skip(1))?;
    allocator::settle()?;
    for name in CASES {
        for form in library.forms.iter().filter(|form| form.case == name && options.wants(form)) {
            match options.form {
                Some(_) => run(library, form, &options)?,
                None => run_apart(form, &options)?,
            }
        }
    }
    Ok(())
}

/// Runs a form here.
fn run(library: &Library, form: &Form, options: &Options) -> anyhow::Result<()> {
    let line = if form.case == BYTES_CASE { count_bytes(form)? } else { time(form, options) };
    allocator::prove()?;
    print(library.name, form, options.round, line);
    Ok(())
}

/// Runs a form in a process of its own, which prints its line.
fn run_apart(form: &Form, options: &Options) -> anyhow::Result<()> {
    let status = Command::new(env::current_exe()?)
        .args(["--cases", form.case, "--form", form.form])
        .args(["--round", &options.round.to_string()])
        .args(["--budget-ms", &(options.budget_ns / 1_000_000).to_string()])
        .status()?;
    ensure!(status.success(), "{} {}: {status}", form.case, form.form);
    Ok(())
}

impl Options {
    fn wants(&self, form: &Form) -> bool {
        self.cases.as_ref().is_none_or(|cases| cases.iter().any(|case| case == form.case))
            && self.form.as_ref().is_none_or(|name| name == form.form)
    }
}

/// The checksum of each form at the small scale, by case and form. What the tests of the adapters compare.
#[must_use]
pub fn checksums(library: &Library) -> BTreeMap<(&'static str, &'static str), u64> {
    let forms = library.forms.iter().filter(|form| form.case != BYTES_CASE);
    forms.map(|form| ((form.case, form.form), checked(form, Scale::Small).1)).collect()
}

/// Builds a form, runs it a few times, and takes the checksum.
fn checked(form: &Form, scale: Scale) -> (Box<dyn crate::Case>, u64) {
    let mut case = (form.build)(scale);
    case.run(CHECKED_RUNS);
    let checksum = case.checksum();
    (case, checksum)
}

fn time(form: &Form, options: &Options) -> serde_json::Value {
    let (mut case, checksum) = checked(form, Scale::Full);
    let times = measure::measure(case.as_mut(), options.budget_ns);
    json!({
        "median_ns": times.median_ns,
        "best_ns": times.best_ns,
        "samples": times.samples,
        "runs_per_sample": times.runs_per_sample,
        "checksum": format!("{checksum:016x}"),
    })
}

/// Resident memory that a world takes, of which nothing was made before in this process.
fn count_bytes(form: &Form) -> anyhow::Result<serde_json::Value> {
    let before = clock::resident_bytes()?;
    let mut case = (form.build)(Scale::Full);
    let bytes = clock::resident_bytes()?.saturating_sub(before);
    Ok(json!({
        "bytes": bytes as f64 / SENSORS_1M as f64,
        "checksum": format!("{:016x}", case.checksum()),
    }))
}

fn print(library: &str, form: &Form, round: u64, mut line: serde_json::Value) {
    line["library"] = library.into();
    line["case"] = form.case.into();
    line["form"] = form.form.into();
    line["round"] = round.into();
    println!("{line}");
}

fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let mut options =
        Options { budget_ns: BUDGET_MS * 1_000_000, cases: None, form: None, round: 1 };
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--budget-ms" => options.budget_ns = value.parse::<u64>()? * 1_000_000,
            "--round" => options.round = value.parse()?,
            "--form" => options.form = Some(value),
            "--cases" => {
                let cases: Vec<String> = value.split(',').map(str::to_owned).collect();
                let unknown = cases.iter().find(|case| !CASES.contains(&case.as_str()));
                ensure!(unknown.is_none(), "no case is named {unknown:?}; cases: {CASES:?}");
                options.cases = Some(cases);
            }
            _ => bail!("unknown option {name}; allowed: --budget-ms, --cases, --form, --round"),
        }
    }
    Ok(options)
}
