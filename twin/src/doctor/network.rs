//! The network: room for what arrives, what was dropped, and the card.
//!
//! Cards are the interfaces with a device behind them and a carrier; a virtual link has neither speed nor interrupts.

use super::reading::{judge, silent};
use super::{Needs, Reading, Root};

const CLASS: &str = "sys/class/net";
/// A burst of 12 ms at line rate; see deploy/90-pollux-sysctl.conf.
const BACKLOG_MIN: i64 = 1000;
/// A burst of 50 ms at line rate, 81,274 packets a second.
const CARD_RING_MIN: u64 = 4096;
/// The design point, in Mbit/s.
const SPEED_MIN_MBIT: i64 = 1000;
/// Errors of a card over what it received: more is a cable, a port or a driver.
const ERROR_MAX_SHARE: f64 = 1e-6;

/// The first interface with hardware and a carrier.
fn card(root: &Root) -> Option<String> {
    let mut names = root.names(CLASS).into_iter();
    names.find(|name| {
        root.exists(&format!("{CLASS}/{name}/device"))
            && root.number(&format!("{CLASS}/{name}/carrier")) == Some(1)
    })
}

fn no_card() -> Reading {
    Reading::Exempt("no card has a carrier".to_owned())
}

fn at_least(root: &Root, path: &str, min: i64) -> Reading {
    match root.number(path) {
        Some(value) => judge(value >= min, format!("{value} of {min}")),
        None => silent(path),
    }
}

pub(super) fn receive_buffer(root: &Root, needs: &Needs) -> Reading {
    at_least(
        root,
        "proc/sys/net/core/rmem_max",
        i64::try_from(needs.recv_buffer_bytes).unwrap_or(i64::MAX),
    )
}

pub(super) fn send_buffer(root: &Root, needs: &Needs) -> Reading {
    at_least(
        root,
        "proc/sys/net/core/wmem_max",
        i64::try_from(needs.send_buffer_bytes).unwrap_or(i64::MAX),
    )
}

pub(super) fn backlog(root: &Root, _: &Needs) -> Reading {
    at_least(root, "proc/sys/net/core/netdev_max_backlog", BACKLOG_MIN)
}

/// Packets that found a socket buffer full, by the column names of the line above the values.
pub(super) fn socket_drops(root: &Root, _: &Needs) -> Reading {
    let text = root.text("proc/net/snmp").unwrap_or_default();
    let mut udp = text.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, values) = (udp.next().unwrap_or(""), udp.next().unwrap_or(""));
    let column = names.split_whitespace().position(|name| name == "RcvbufErrors");
    let drops = column.and_then(|index| values.split_whitespace().nth(index)?.parse::<u64>().ok());
    match drops {
        Some(drops) => judge(drops == 0, format!("{drops} packets since the start")),
        None => silent("proc/net/snmp"),
    }
}

/// The second column of each core: packets that the queue between driver and protocol dropped.
pub(super) fn backlog_drops(root: &Root, _: &Needs) -> Reading {
    let Some(text) = root.text("proc/net/softnet_stat") else {
        return silent("proc/net/softnet_stat");
    };
    let dropped = text
        .lines()
        .filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok());
    let drops: u64 = dropped.sum();
    judge(drops == 0, format!("{drops} packets since the start"))
}

pub(super) fn link(root: &Root, _: &Needs) -> Reading {
    let Some(name) = card(root) else { return no_card() };
    let duplex = root.text(&format!("{CLASS}/{name}/duplex")).unwrap_or_default();
    match root.number(&format!("{CLASS}/{name}/speed")) {
        Some(speed) if speed > 0 => judge(
            speed >= SPEED_MIN_MBIT && duplex == "full",
            format!("{name}: {speed} Mbit/s, {duplex} duplex"),
        ),
        _ => Reading::Unknown(format!("{name} does not tell its speed")),
    }
}

pub(super) fn card_errors(root: &Root, _: &Needs) -> Reading {
    let Some(name) = card(root) else { return no_card() };
    let count = |kind: &str| root.number(&format!("{CLASS}/{name}/statistics/{kind}"));
    let (Some(errors), Some(dropped), Some(packets)) =
        (count("rx_errors"), count("rx_missed_errors"), count("rx_packets"))
    else {
        return Reading::Unknown(format!("{name} does not count"));
    };
    let bad = errors + dropped;
    judge(
        bad as f64 <= packets as f64 * ERROR_MAX_SHARE,
        format!("{name}: {bad} of {packets} packets"),
    )
}

/// Places for received packets: what the card may have stands first in ethtool's answer, what it has second.
pub(super) fn card_ring(root: &Root, _: &Needs) -> Reading {
    let Some(name) = card(root) else { return no_card() };
    let said = root.ethtool("--show-ring", &name).unwrap_or_default();
    let lines = said.lines().filter_map(|line| line.trim().strip_prefix("RX:"));
    let mut places = lines.map_while(|places| places.trim().parse::<u64>().ok());
    match (places.next(), places.next()) {
        (Some(most), Some(has)) => {
            judge(has >= CARD_RING_MIN.min(most), format!("{name}: {has} places, at most {most}"))
        }
        _ => Reading::Unknown(format!("{name}: ethtool is missing or the card does not say")),
    }
}

pub(super) fn energy_saving(root: &Root, _: &Needs) -> Reading {
    let Some(name) = card(root) else { return no_card() };
    let Some(said) = root.ethtool("--show-eee", &name) else {
        return Reading::Unknown(format!("{name}: ethtool is missing or the card does not say"));
    };
    let status = said.lines().find_map(|line| line.trim().strip_prefix("EEE status:"));
    let status = status.unwrap_or("not supported").trim();
    judge(!status.starts_with("enabled"), format!("{name}: {status}"))
}
