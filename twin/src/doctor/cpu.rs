//! Cores: how many, how fast, how steadily, and who else takes of them.

use super::reading::{cores, judge, silent};
use super::{Needs, Reading, Root};

const CPUS: &str = "sys/devices/system/cpu";
const PLATFORM: &str = "sys/devices/platform";
const HWMON: &str = "sys/class/hwmon";
/// Exit from a deeper sleep than this takes longer than the tick spins ahead.
const IDLE_EXIT_MAX_US: i64 = 50;
/// Boards slow down from 80 degrees.
const TEMPERATURE_MAX_C: i64 = 75;
/// Stolen time that no tail up to p99.9 shows.
const STEAL_MAX_PERCENT: f64 = 0.1;

/// Worker, tick, interrupts and the rest.
pub(super) fn count(root: &Root, _: &Needs) -> Reading {
    let path = format!("{CPUS}/online");
    let Some(online) = root.text(&path) else { return silent(&path) };
    let count = cores(&online).len();
    judge(count >= 4, format!("{count} cores"))
}

pub(super) fn governor(root: &Root, _: &Needs) -> Reading {
    let governors = root.each(CPUS, "cpu", "cpufreq/scaling_governor");
    if governors.is_empty() {
        return Reading::Unknown("the kernel does not set the clock of these cores".to_owned());
    }
    let slow = governors.iter().find(|(_, governor)| governor != "performance");
    match slow {
        Some((core, governor)) => Reading::Unmet(format!("{core}: {governor}")),
        None => Reading::Met(format!("performance on {} cores", governors.len())),
    }
}

pub(super) fn throttling(root: &Root, _: &Needs) -> Reading {
    if let Some(mask) = pi_throttled(root).or_else(|| root.vcgencmd("get_throttled")) {
        let digits = mask.trim_start_matches("throttled=").trim_start_matches("0x");
        if let Ok(bits) = u32::from_str_radix(digits, 16) {
            return judge(bits == 0, format!("firmware says 0x{digits}"));
        }
    }
    let counts = root.each(CPUS, "cpu", "thermal_throttle/core_throttle_count");
    if !counts.is_empty() {
        let total: u64 = counts.iter().filter_map(|(_, count)| count.parse::<u64>().ok()).sum();
        return judge(total == 0, format!("{total} times since the start"));
    }
    match pi_under_voltage(root) {
        Some(true) => Reading::Unmet("under voltage".to_owned()),
        Some(false) => Reading::Unknown(
            "not under voltage now; vcgencmd get_throttled says what has been".to_owned(),
        ),
        None => Reading::Unknown("neither firmware nor cores count throttling".to_owned()),
    }
}

/// What the firmware of a Raspberry Pi says, as a mask: low bits now, bits from 16 on since the start. The node of the
/// chip has its address in its name where the device tree gives it one, as that of a CM5 does (`soc@107c000000`).
fn pi_throttled(root: &Root) -> Option<String> {
    let chips = root.names(PLATFORM).into_iter().filter(|name| name.starts_with("soc"));
    let mut firmware = chips.flat_map(|chip| {
        let chip = format!("{PLATFORM}/{chip}");
        let names = root.names(&chip).into_iter().filter(|name| name.ends_with(":firmware"));
        names.map(move |name| format!("{chip}/{name}/get_throttled"))
    });
    firmware.find_map(|path| root.text(&path))
}

/// Whether the driver of a Raspberry Pi has seen too low a voltage when it last looked. It does not tell of heat.
fn pi_under_voltage(root: &Root) -> Option<bool> {
    let sensors = root.each(HWMON, "hwmon", "name");
    let (voltage, _) = sensors.into_iter().find(|(_, name)| name == "rpi_volt")?;
    Some(root.number(&format!("{HWMON}/{voltage}/in0_lcrit_alarm"))? != 0)
}

pub(super) fn temperature(root: &Root, _: &Needs) -> Reading {
    let zones = root.each("sys/class/thermal", "thermal_zone", "temp");
    let hottest = zones.iter().filter_map(|(_, text)| text.parse::<i64>().ok()).max();
    match hottest.map(|milli| milli / 1000) {
        Some(degrees) => judge(degrees <= TEMPERATURE_MAX_C, format!("{degrees} degrees Celsius")),
        None => Reading::Unknown("no thermal zone".to_owned()),
    }
}

pub(super) fn steal(root: &Root, _: &Needs) -> Reading {
    let stat = root.text("proc/stat").unwrap_or_default();
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let times: Vec<u64> =
        all.unwrap_or("").split_whitespace().filter_map(|time| time.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what follows is contained in user and nice.
    let Some(times) = times.get(..8) else { return silent("proc/stat") };
    let percent = 100.0 * times[7] as f64 / times.iter().sum::<u64>().max(1) as f64;
    judge(percent <= STEAL_MAX_PERCENT, format!("{percent:.2} % since the start"))
}

pub(super) fn idle_states(root: &Root, _: &Needs) -> Reading {
    let folder = format!("{CPUS}/cpu0/cpuidle");
    let latencies = root.each(&folder, "state", "latency");
    if latencies.is_empty() {
        return Reading::Unknown("the kernel shows no idle states".to_owned());
    }
    let enabled = latencies
        .iter()
        .filter(|(state, _)| root.number(&format!("{folder}/{state}/disable")) != Some(1));
    let deepest = enabled.filter_map(|(_, text)| text.parse::<i64>().ok()).max().unwrap_or(0);
    judge(deepest <= IDLE_EXIT_MAX_US, format!("up to {deepest} us to wake"))
}

pub(super) fn siblings(root: &Root, _: &Needs) -> Reading {
    let path = format!("{CPUS}/smt/active");
    match root.number(&path) {
        Some(active) => {
            judge(active == 0, if active == 0 { "no siblings" } else { "siblings share cores" })
        }
        None => Reading::Exempt("these cores have no threads".to_owned()),
    }
}

pub(super) fn load(root: &Root, _: &Needs) -> Reading {
    let average = root.text("proc/loadavg").unwrap_or_default();
    let minute = average.split_whitespace().next().and_then(|text| text.parse::<f64>().ok());
    let count = cores(&root.text(&format!("{CPUS}/online")).unwrap_or_default()).len().max(1);
    match minute {
        Some(load) => judge(load <= count as f64 / 4.0, format!("{load:.2} on {count} cores")),
        None => silent("proc/loadavg"),
    }
}

pub(super) fn aes(root: &Root, _: &Needs) -> Reading {
    let Some(cpus) = root.text("proc/cpuinfo") else { return silent("proc/cpuinfo") };
    let flags = cpus.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
    match flags {
        Some(flags) => {
            let has = flags.split_whitespace().any(|flag| flag == "aes");
            judge(has, if has { "AES instructions" } else { "no AES instructions" })
        }
        None => Reading::Unknown("/proc/cpuinfo lists no features".to_owned()),
    }
}
