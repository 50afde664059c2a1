//! The kernel: preemption, groups of the scheduler, watchdogs, clocks.

use super::reading::{judge, silent};
use super::{Needs, Reading, Root};

const CLOCK: &str = "sys/devices/system/clocksource/clocksource0/current_clocksource";
/// Sources that a program reads without entering the kernel.
const QUICK_CLOCKS: [&str; 3] = ["tsc", "arch_sys_counter", "kvm-clock"];
/// Programs that discipline the clock.
const TIME_SERVICES: [&str; 5] = ["chronyd", "ntpd", "ptp4l", "phc2sys", "ntpd-rs"];
/// The first version of Linux that keeps a slice for each thread.
const SLICES_SINCE: (u32, u32) = (6, 12);
/// systemd-timesyncd touches it at each adjustment.
const TIMESYNCD: &str = "run/systemd/timesync/synchronized";

pub(super) fn preemption(root: &Root, _: &Needs) -> Reading {
    if root.number("sys/kernel/realtime") == Some(1) {
        return Reading::Met("PREEMPT_RT".to_owned());
    }
    match root.text("proc/version") {
        Some(version) if version.contains("PREEMPT") => Reading::Met("preemptible".to_owned()),
        Some(_) => Reading::Unmet("not preemptible".to_owned()),
        None => silent("proc/version"),
    }
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
