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
    let path = "sys/devices/system/cpu/nohz_full";
    if !needs.hot_cores.is_empty() && !root.exists(path) {
        return Reading::Unmet("this kernel cannot: it is built without NO_HZ_FULL".to_owned());
    }
    within(root, needs, &[path])
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
    let on_hot = |(irq, told): &&(String, String)| {
        goes_to(root, irq, told, &counts).iter().any(|core| needs.hot_cores.contains(core))
    };
    let on: Vec<&str> = routes.iter().filter(on_hot).map(|(irq, _)| irq.as_str()).collect();
    judge(
        on.is_empty(),
        if on.is_empty() {
            "none on a hot core".to_owned()
        } else {
            format!("interrupts {}", on.join(", "))
        },
    )
}

/// The cores that an interrupt goes to; none if no device raises it. Where the kernel is not told, as by the driver of a
/// CM5's network, its list is empty: then they are those that it was counted on, and may still go to.
fn goes_to(root: &Root, irq: &str, told: &str, counts: &str) -> Vec<usize> {
    match counted_on(counts, irq) {
        Some(counted) if counted.is_empty() => counted,
        Some(mut counted) if told.is_empty() => {
            if let Some(may) = root.text(&format!("proc/irq/{irq}/smp_affinity_list")) {
                let may = cores(&may);
                counted.retain(|core| may.contains(core));
            }
            counted
        }
        _ => cores(told),
    }
}

/// The cores that took an interrupt of a device since the start: often none, as the kernel routes many that no device raises.
/// `None` where it does not count it.
fn counted_on(counts: &str, irq: &str) -> Option<Vec<usize>> {
    let mut lines = counts.lines();
    // Cores that are offline have no column.
    let names = lines.next().unwrap_or_default().split_whitespace();
    let online = names.filter_map(|name| name.strip_prefix("CPU")?.parse().ok());
    let line = lines.find(|line| line.trim_start().starts_with(&format!("{irq}:")))?;
    if is_of_the_core(line) {
        return Some(Vec::new());
    }
    let fields = line.split_whitespace().skip(1).map_while(|field| field.parse::<u64>().ok());
    Some(online.zip(fields).filter(|(_, count)| *count > 0).map(|(core, _)| core).collect())
}

/// Whether each core raises it for itself, as its timer does on ARM (`13: 9 9 GICv2 26 Level arch_timer`): it counts as a
/// numbered interrupt there, and cannot be moved. The controller's first 32 lines are of this kind.
fn is_of_the_core(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.any(|word| word.starts_with("GIC"))
        && words.next().and_then(|number| number.parse::<u32>().ok()).is_some_and(|line| line < 32)
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
