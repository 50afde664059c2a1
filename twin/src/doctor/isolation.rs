//! Hot cores: whether interrupts, timers and other processes keep off them.
//!
//! They are those of `net.core` and `tick.core`; where nothing is pinned, there is nothing to keep free.

use super::reading::{cores, judge, silent};
use super::{Needs, Reading, Root};

/// `host.priority = hot` asks for it; the kernel writes a limit of 20 for nice 0, and one more for each step below.
const NICE_LIMIT: i64 = 20 + 10;

fn unpinned() -> Reading {
    Reading::Exempt("no core is set (net.core, tick.core)".to_owned())
}

/// Met where every hot core is in a list of the kernel.
fn within(root: &Root, needs: &Needs, paths: &[&str]) -> Reading {
    if needs.hot_cores.is_empty() {
        return unpinned();
    }
    let lists = paths.iter().filter_map(|path| root.text(path));
    let listed: Vec<usize> = lists.flat_map(|list| cores(&list)).collect();
    let bare: Vec<_> = needs.hot_cores.iter().filter(|core| !listed.contains(core)).collect();
    judge(
        bare.is_empty(),
        if bare.is_empty() { "all hot cores".to_owned() } else { format!("not core {bare:?}") },
    )
}

pub(super) fn domains(root: &Root, needs: &Needs) -> Reading {
    within(root, needs, &["sys/devices/system/cpu/isolated", "sys/fs/cgroup/cpuset.cpus.isolated"])
}

pub(super) fn timer(root: &Root, needs: &Needs) -> Reading {
    within(root, needs, &["sys/devices/system/cpu/nohz_full"])
}

pub(super) fn interrupts(root: &Root, needs: &Needs) -> Reading {
    if needs.hot_cores.is_empty() {
        return unpinned();
    }
    let routes = root.each("proc/irq", "", "effective_affinity_list");
    if routes.is_empty() {
        return silent("proc/irq/N/effective_affinity_list");
    }
    let counts = root.text("proc/interrupts").unwrap_or_default();
    let on_hot = |list: &str| cores(list).iter().any(|core| needs.hot_cores.contains(core));
    let on: Vec<&str> = routes
        .iter()
        .filter(|(irq, list)| on_hot(list) && fires(&counts, irq))
        .map(|(irq, _)| irq.as_str())
        .collect();
    judge(
        on.is_empty(),
        if on.is_empty() {
            "none on a hot core".to_owned()
        } else {
            format!("interrupts {}", on.join(", "))
        },
    )
}

/// Whether an interrupt was ever counted: the kernel routes many that no device raises.
fn fires(counts: &str, irq: &str) -> bool {
    let line = counts.lines().find(|line| line.trim_start().starts_with(&format!("{irq}:")));
    line.is_none_or(|line| {
        let fields = line.split_whitespace().skip(1).map_while(|field| field.parse::<u64>().ok());
        fields.sum::<u64>() > 0
    })
}

pub(super) fn irqbalance(root: &Root, needs: &Needs) -> Reading {
    if needs.hot_cores.is_empty() {
        return unpinned();
    }
    match root.process(&["irqbalance"]) {
        Some(_) => Reading::Unmet("irqbalance runs".to_owned()),
        None => Reading::Met("nothing moves interrupts".to_owned()),
    }
}

pub(super) fn nice(root: &Root, needs: &Needs) -> Reading {
    if !needs.ranked {
        return Reading::Exempt("host.priority is normal".to_owned());
    }
    if root.text("proc/self/status").is_some_and(|status| can_rank(&status)) {
        return Reading::Met("the process may rank its threads".to_owned());
    }
    let limits = root.text("proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max nice priority"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok());
    match soft {
        Some(limit) => judge(limit >= NICE_LIMIT, format!("down to nice {}", 20 - limit)),
        None => silent("proc/self/limits"),
    }
}

/// Whether the effective capabilities hold number 23, `CAP_SYS_NICE`.
fn can_rank(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> 23 & 1 == 1)
}
