//! The kernel: preemption, groups of the scheduler, watchdogs, clocks.

use super::reading::{judge, silent};
use super::{Needs, Reading, Root};

const CLOCK: &str = "sys/devices/system/clocksource/clocksource0/current_clocksource";
/// All modes of preemption, the one in force in brackets: `none voluntary (full)`.
const MODES: &str = "sys/kernel/debug/sched/preempt";
/// Sources that a program reads without entering the kernel.
const QUICK_CLOCKS: [&str; 3] = ["tsc", "arch_sys_counter", "kvm-clock"];
/// Programs that discipline the clock.
const TIME_SERVICES: [&str; 5] = ["chronyd", "ntpd", "ptp4l", "phc2sys", "ntpd-rs"];
/// The first version of Linux that keeps a slice for each thread.
const SLICES_SINCE: (u32, u32) = (6, 12);
/// systemd-timesyncd touches it at each adjustment.
const TIMESYNCD: &str = "run/systemd/timesync/synchronized";

/// A kernel that is preemptible in one mode of several (PREEMPT_DYNAMIC) tells the one in force only to root; else the
/// command line may have chosen it. What the kernel was built to begin with is not told at all.
pub(super) fn preemption(root: &Root, _: &Needs) -> Reading {
    let path = "proc/version";
    let version = root.text(path);
    let built = |word: &str| {
        version.as_ref().is_some_and(|text| text.split_whitespace().any(|found| found == word))
    };
    if root.number("sys/kernel/realtime") == Some(1) || built("PREEMPT_RT") {
        return Reading::Met("PREEMPT_RT".to_owned());
    }
    if version.is_none() {
        return silent(path);
    }
    if !built("PREEMPT_DYNAMIC") {
        let met = built("PREEMPT");
        return judge(met, if met { "preemptible" } else { "not preemptible" });
    }
    match preemption_mode(root) {
        // The others, lazy too, let a thread that wakes wait for a tick of the kernel.
        Some(mode) => judge(mode == "full", format!("preempt={mode}")),
        None => Reading::Unknown(format!("PREEMPT_DYNAMIC; root reads the mode in /{MODES}")),
    }
}

fn preemption_mode(root: &Root) -> Option<String> {
    if let Some(modes) = root.text(MODES) {
        let in_force = modes.split_once('(')?.1.split_once(')')?.0;
        return Some(in_force.to_owned());
    }
    let line = root.text("proc/cmdline")?;
    line.split_whitespace().rev().find_map(|word| Some(word.strip_prefix("preempt=")?.to_owned()))
}

pub(super) fn autogroup(root: &Root, needs: &Needs) -> Reading {
    let path = "proc/sys/kernel/sched_autogroup_enabled";
    match root.number(path) {
        _ if !needs.ranked => Reading::Exempt("host.priority is normal".to_owned()),
        Some(enabled) => judge(enabled == 0, if enabled == 0 { "off" } else { "on" }),
        None => Reading::Exempt("the kernel has none".to_owned()),
    }
}

/// Whether threads may choose their slices, which `netloop::set_slice` asks for.
pub(super) fn slices(root: &Root, needs: &Needs) -> Reading {
    if !needs.ranked {
        return Reading::Exempt("host.priority is normal".to_owned());
    }
    let path = "proc/sys/kernel/osrelease";
    let Some(release) = root.text(path) else { return silent(path) };
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => {
            judge((major, minor) >= SLICES_SINCE, format!("Linux {major}.{minor}"))
        }
        _ => silent(path),
    }
}

pub(super) fn watchdog(root: &Root, _: &Needs) -> Reading {
    match root.number("proc/sys/kernel/nmi_watchdog") {
        Some(enabled) => judge(enabled == 0, if enabled == 0 { "off" } else { "on" }),
        None => Reading::Exempt("the kernel has none".to_owned()),
    }
}

pub(super) fn clock(root: &Root, _: &Needs) -> Reading {
    match root.text(CLOCK) {
        Some(source) => judge(QUICK_CLOCKS.contains(&source.as_str()), source),
        None => silent(CLOCK),
    }
}

pub(super) fn time_sync(root: &Root, _: &Needs) -> Reading {
    if root.exists(TIMESYNCD) {
        return Reading::Met("systemd-timesyncd is synchronised".to_owned());
    }
    match root.process(&TIME_SERVICES) {
        Some(name) => Reading::Met(format!("{name} runs")),
        None => Reading::Unmet("nothing disciplines the clock".to_owned()),
    }
}
