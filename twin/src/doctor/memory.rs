//! Memory and disk: whether a page that a hot thread touches may be away, and whether writers make others wait.

use super::reading::{judge, pressure_percent, silent};
use super::{Needs, Reading, Root};

/// A world of a million sensors takes about 300 bytes each, and rings, slabs and sessions as much again.
const AVAILABLE_MIN_MIB: i64 = 512;
/// Share of ten seconds that somebody may wait for memory, in percent.
const MEMORY_PRESSURE_MAX_PERCENT: f64 = 1.0;
/// The same for the disk.
const DISK_PRESSURE_MAX_PERCENT: f64 = 5.0;

pub(super) fn available(root: &Root, _: &Needs) -> Reading {
    let text = root.text("proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<i64>().ok());
    match kib.map(|kib| kib / 1024) {
        Some(mib) => judge(mib >= AVAILABLE_MIN_MIB, format!("{mib} MiB")),
        None => silent("proc/meminfo"),
    }
}

pub(super) fn swap(root: &Root, _: &Needs) -> Reading {
    let Some(text) = root.text("proc/swaps") else { return silent("proc/swaps") };
    let first = text.lines().nth(1).and_then(|line| line.split_whitespace().next());
    match first {
        Some(device) => Reading::Unmet(device.to_owned()),
        None => Reading::Met("none".to_owned()),
    }
}

pub(super) fn huge_pages(root: &Root, _: &Needs) -> Reading {
    let Some(text) = root.text("sys/kernel/mm/transparent_hugepage/enabled") else {
        return Reading::Exempt("the kernel has none".to_owned());
    };
    let chosen = text.split(['[', ']']).nth(1).unwrap_or(&text).to_owned();
    judge(chosen != "always", chosen)
}

pub(super) fn numa_balancing(root: &Root, _: &Needs) -> Reading {
    let nodes = root.each("sys/devices/system/node", "node", "cpulist").len();
    match root.number("proc/sys/kernel/numa_balancing") {
        _ if nodes < 2 => Reading::Exempt("one node".to_owned()),
        Some(mode) => judge(mode == 0, format!("{mode} on {nodes} nodes")),
        None => Reading::Exempt("the kernel has none".to_owned()),
    }
}

pub(super) fn memory_pressure(root: &Root, _: &Needs) -> Reading {
    pressure(root, "proc/pressure/memory", MEMORY_PRESSURE_MAX_PERCENT)
}

pub(super) fn disk_pressure(root: &Root, _: &Needs) -> Reading {
    pressure(root, "proc/pressure/io", DISK_PRESSURE_MAX_PERCENT)
}

fn pressure(root: &Root, path: &str, max_percent: f64) -> Reading {
    match root.text(path).as_deref().and_then(pressure_percent) {
        Some(percent) => judge(percent <= max_percent, format!("{percent:.1} % of the last 10 s")),
        // A kernel with PSI_DEFAULT_DISABLED tells it only where that is asked for, as that of a Raspberry Pi.
        None => Reading::Unknown(format!("/{path} says nothing; psi=1 makes the kernel tell")),
    }
}
