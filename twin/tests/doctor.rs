//! The doctor on hosts made of files: each condition met, each broken by the one file that it reads, and none guessed.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use twin::doctor::{CHECKS, Needs, Root, Verdict, Weight, examine};

/// A four-core board on which everything is right, hot cores 2 and 3.
const BOARD: &[(&str, &str)] = &[
    ("sys/devices/system/cpu/online", "0-3\n"),
    ("sys/devices/system/cpu/isolated", "2-3\n"),
    ("sys/devices/system/cpu/nohz_full", "2-3\n"),
    ("sys/devices/system/cpu/smt/active", "0\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state0/latency", "1\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "300\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "1\n"),
    ("sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "0\n"),
    ("sys/class/thermal/thermal_zone0/temp", "51234\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "arch_sys_counter\n"),
    ("sys/devices/system/node/node0/cpulist", "0-1\n"),
    ("sys/devices/system/node/node1/cpulist", "2-3\n"),
    ("sys/kernel/realtime", "1\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("sys/class/net/eth0/device/vendor", "0x1\n"),
    ("sys/class/net/eth0/carrier", "1\n"),
    ("sys/class/net/eth0/speed", "1000\n"),
    ("sys/class/net/eth0/duplex", "full\n"),
    ("sys/class/net/eth0/statistics/rx_errors", "0\n"),
    ("sys/class/net/eth0/statistics/rx_missed_errors", "0\n"),
    ("sys/class/net/eth0/statistics/rx_packets", "900000\n"),
    ("ethtool/--show-eee/eth0", "EEE settings for eth0:\n\tEEE status: disabled\n"),
    (
        "ethtool/--show-ring/eth0",
        "maximums:\nRX:\t8192\nTX:\t4096\nCurrent:\nRX:\t4096\nTX:\t512\n",
    ),
    ("proc/device-tree/model", "Raspberry Pi Compute Module 5 Rev 1.0\0"),
    ("proc/device-tree/compatible", "raspberrypi,5-compute-module\0brcm,bcm2712\0"),
    ("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd aes pmull crc32\n"),
    ("proc/stat", "cpu  100 0 100 9000 0 0 0 0 0 0\ncpu0 1 0 1 90 0 0 0 0 0 0\n"),
    ("proc/loadavg", "0.25 0.10 0.05 1/100 4711\n"),
    ("proc/version", "Linux version 6.12 SMP\n"),
    ("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\n"),
    ("proc/swaps", "Filename\t\tType\t\tSize\n"),
    ("proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
    ("proc/pressure/io", "some avg10=4.00 avg60=0.00 avg300=0.00 total=0\n"),
    ("proc/irq/24/effective_affinity_list", "0\n"),
    ("proc/irq/25/effective_affinity_list", "2\n"),
    ("proc/interrupts", "   CPU0 CPU1\n 24: 12 0 eth0\n 25: 0 0 unused\n"),
    ("proc/1/comm", "systemd\n"),
    ("proc/77/comm", "chronyd\n"),
    ("proc/self/status", "CapEff:\t0000000000000000\n"),
    ("proc/self/limits", "Max nice priority         30                   30\n"),
    ("proc/sys/kernel/sched_autogroup_enabled", "0\n"),
    ("proc/sys/kernel/osrelease", "6.12.34+rpt-rpi-2712\n"),
    ("proc/sys/kernel/nmi_watchdog", "0\n"),
    ("proc/sys/kernel/numa_balancing", "0\n"),
    ("proc/sys/net/core/rmem_max", "4194304\n"),
    ("proc/sys/net/core/wmem_max", "4194304\n"),
    ("proc/sys/net/core/netdev_max_backlog", "1000\n"),
    ("proc/net/snmp", "Udp: InDatagrams RcvbufErrors SndbufErrors\nUdp: 900 0 7\n"),
    ("proc/net/softnet_stat", "0000ff00 00000000 0\n0000ff00 00000000 0\n"),
];

/// The one file that breaks each condition.
const FAULTS: &[(&str, &str, &str)] = &[
    ("cpu.count", "sys/devices/system/cpu/online", "0-2"),
    ("cpu.bare_metal", "sys/hypervisor/type", "xen"),
    ("cpu.steal", "proc/stat", "cpu  100 0 100 9000 0 0 0 10 0 0"),
    ("cpu.load", "proc/loadavg", "1.01 0 0 1/1 1"),
    ("cpu.governor", "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "ondemand"),
    (
        "cpu.throttling",
        "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled",
        "50000",
    ),
    ("cpu.temperature", "sys/class/thermal/thermal_zone1/temp", "76000"),
    ("cpu.aes", "proc/cpuinfo", "Features\t: fp asimd crc32"),
    ("cpu.idle_states", "sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "0"),
    ("cpu.siblings", "sys/devices/system/cpu/smt/active", "1"),
    ("isolation.domains", "sys/devices/system/cpu/isolated", "3"),
    ("isolation.timer", "sys/devices/system/cpu/nohz_full", ""),
    ("isolation.interrupts", "proc/irq/24/effective_affinity_list", "0,3"),
    ("isolation.irqbalance", "proc/78/comm", "irqbalance"),
    ("isolation.nice", "proc/self/limits", "Max nice priority 0 0"),
    ("kernel.preemption", "sys/kernel/realtime", "0"),
    ("kernel.autogroup", "proc/sys/kernel/sched_autogroup_enabled", "1"),
    ("kernel.slices", "proc/sys/kernel/osrelease", "6.6.31-v8+"),
    ("kernel.watchdog", "proc/sys/kernel/nmi_watchdog", "1"),
    ("time.clock", "sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
    ("time.sync", "proc/77/comm", "cron"),
    ("memory.available", "proc/meminfo", "MemAvailable: 524287 kB"),
    ("memory.swap", "proc/swaps", "Filename Type\n/dev/zram0 partition"),
    ("memory.pressure", "proc/pressure/memory", "some avg10=1.01 avg60=0.00"),
    ("memory.huge_pages", "sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
    ("memory.numa", "proc/sys/kernel/numa_balancing", "1"),
    ("disk.pressure", "proc/pressure/io", "some avg10=5.01 avg60=0.00"),
    ("net.receive_buffer", "proc/sys/net/core/rmem_max", "212992"),
    ("net.send_buffer", "proc/sys/net/core/wmem_max", "212992"),
    ("net.backlog", "proc/sys/net/core/netdev_max_backlog", "999"),
    ("net.card_ring", "ethtool/--show-ring/eth0", "RX: 8192\nRX Mini: n/a\nRX:\t\t512\n"),
    ("net.socket_drops", "proc/net/snmp", "Udp: A RcvbufErrors\nUdp: 9 3"),
    ("net.backlog_drops", "proc/net/softnet_stat", "00000001 0000000a 0"),
    ("net.link", "sys/class/net/eth0/speed", "100"),
    ("net.card_errors", "sys/class/net/eth0/statistics/rx_missed_errors", "17"),
    ("net.energy_saving", "ethtool/--show-eee/eth0", "\tEEE status: enabled - active"),
];

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn board() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in BOARD {
        put(folder.path(), path, text);
    }
    folder
}

fn needs() -> Needs {
    Needs {
        hot_cores: vec![2, 3],
        recv_buffer_bytes: 4 << 20,
        send_buffer_bytes: 4 << 20,
        ranked: true,
    }
}

/// A board without some of its files.
fn board_without(paths: &[&str]) -> TempDir {
    let board = board();
    for path in paths {
        fs::remove_file(board.path().join(path)).unwrap();
    }
    board
}

/// The outcome of one check on a board without some of its files and with others.
fn outcome(id: &str, without: &[&str], with: &[(&str, &str)]) -> (&'static str, String) {
    let board = board_without(without);
    with.iter().for_each(|(path, text)| put(board.path(), path, text));
    let verdict = examine(&Root::folder(board.path()), &needs());
    let finding = verdict.checks.into_iter().find(|finding| finding.id == id).unwrap();
    (finding.outcome, finding.found)
}

/// The checks with an outcome.
fn with(verdict: &Verdict, outcome: &str) -> Vec<&'static str> {
    let found = verdict.checks.iter().filter(|finding| finding.outcome == outcome);
    found.map(|finding| finding.id).collect()
}

#[test]
fn a_tuned_board_meets_every_condition() {
    let board = board();
    let verdict = examine(&Root::folder(board.path()), &needs());
    assert_eq!(with(&verdict, "met").len(), CHECKS.len(), "{verdict}");
    assert!(verdict.qualifies && verdict.unknown.is_empty());
    assert!(verdict.to_string().ends_with("this host qualifies"));
}

#[test]
fn each_condition_is_broken_by_the_file_that_it_reads_and_by_no_other() {
    let broken: Vec<&str> = FAULTS.iter().map(|(id, ..)| *id).collect();
    assert_eq!(broken, CHECKS.iter().map(|check| check.id).collect::<Vec<_>>());
    for (id, path, text) in FAULTS {
        let board = board();
        put(board.path(), path, text);
        let verdict = examine(&Root::folder(board.path()), &needs());
        assert_eq!(with(&verdict, "unmet"), [*id], "{verdict}");
        let weight = CHECKS.iter().find(|check| check.id == *id).unwrap().weight;
        assert_eq!(verdict.qualifies, weight == Weight::Advised, "{id}");
    }
}

#[test]
fn a_host_that_says_nothing_meets_nothing_that_is_required() {
    let empty = tempfile::tempdir().unwrap();
    let verdict = examine(&Root::folder(empty.path()), &needs());
    let met: BTreeSet<_> = with(&verdict, "met").into_iter().collect();
    let required = verdict.checks.iter().filter(|finding| finding.weight == Weight::Required);
    for finding in required {
        assert!(!met.contains(finding.id), "{}: {}", finding.id, finding.found);
        assert!(verdict.unknown.contains(&finding.id), "{}: {}", finding.id, finding.outcome);
    }
}

#[test]
fn a_virtual_machine_is_known_by_the_flag_of_its_cores() {
    let board = board();
    put(board.path(), "proc/cpuinfo", "flags\t\t: fpu aes hypervisor lahf_lm\n");
    let verdict = examine(&Root::folder(board.path()), &needs());
    assert_eq!(verdict.disqualified_by, ["cpu.bare_metal"]);
}

/// What a board says of itself, which a guest does not have.
const TREE: [&str; 2] = ["proc/device-tree/model", "proc/device-tree/compatible"];

#[test]
fn a_guest_whose_cores_say_nothing_is_known_by_its_board() {
    let vendor = "sys/class/dmi/id/sys_vendor";
    let product = "sys/class/dmi/id/product_name";
    let arm: [(&[(&str, &str)], &str); 9] = [
        (&[("proc/device-tree/compatible", "linux,dummy-virt\0")], "unmet"),
        (&[("proc/device-tree/compatible", "xen,xenvm-4.17\0xen,xenvm\0")], "unmet"),
        (&[("proc/device-tree/model", "QEMU ARM Virtual Machine\0")], "unmet"),
        (&[(vendor, "QEMU"), (product, "KVM Virtual Machine")], "unmet"),
        (&[(vendor, "Google"), (product, "Google Compute Engine")], "unmet"),
        (&[(vendor, "Amazon EC2"), (product, "c7g.large")], "unmet"),
        (&[(vendor, "Amazon EC2"), (product, "c7g.metal")], "met"),
        (&[(vendor, "Somebody"), (product, "Something")], "unknown"),
        (&[], "unknown"),
    ];
    for (files, expected) in arm {
        let (found, said) = outcome("cpu.bare_metal", &TREE, files);
        assert_eq!(found, expected, "{files:?}: {said}");
    }
}

#[test]
fn cores_that_would_name_a_hypervisor_and_do_not_are_evidence() {
    let cpus = ("proc/cpuinfo", "flags\t\t: fpu aes lahf_lm\n");
    assert_eq!(outcome("cpu.bare_metal", &TREE, &[cpus]).0, "met");
    let hidden = ("sys/class/dmi/id/sys_vendor", "VMware, Inc.");
    assert_eq!(outcome("cpu.bare_metal", &TREE, &[cpus, hidden]).0, "unmet");
}

#[test]
fn throttling_is_found_wherever_the_firmware_tells_of_it() {
    let newer = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled";
    let older = "sys/devices/platform/soc/soc:firmware/get_throttled";
    let alarm = "sys/class/hwmon/hwmon3/in0_lcrit_alarm";
    let name = ("sys/class/hwmon/hwmon3/name", "rpi_volt");
    let command = "vcgencmd/get_throttled";
    let told = |files: &[(&str, &str)]| outcome("cpu.throttling", &[newer], files);
    assert_eq!(told(&[(older, "0")]).0, "met");
    assert_eq!(told(&[(older, "50000")]).0, "unmet");
    assert_eq!(told(&[(command, "throttled=0x0\n")]).0, "met");
    assert_eq!(told(&[(command, "throttled=0x50005\n")]).0, "unmet");
    assert_eq!(told(&[(command, "error=1\n")]).0, "unknown");
    assert_eq!(told(&[name, (alarm, "1")]).0, "unmet");
    // The alarm knows of the voltage alone, and only of now.
    let (found, said) = told(&[name, (alarm, "0")]);
    assert!(found == "unknown" && said.contains("vcgencmd get_throttled"), "{found}: {said}");
}

#[test]
fn an_interrupt_whose_core_is_not_told_is_where_it_was_counted() {
    let told = ("proc/irq/106/effective_affinity_list", "\n");
    let anywhere = ("proc/irq/106/smp_affinity_list", "0-3\n");
    let cold = ("proc/irq/106/smp_affinity_list", "0-1\n");
    let counts = |line: &'static str| ("proc/interrupts", line);
    let first = counts("  CPU0 CPU1 CPU2 CPU3\n106: 9 0 0 0 rp1_irq_chip eth0\n");
    let hot = counts("  CPU0 CPU1 CPU2 CPU3\n106: 9 0 0 4 rp1_irq_chip eth0\n");
    let fourth = counts("  CPU0 CPU3\n106: 0 4 rp1_irq_chip eth0\n");
    let nobody = counts("  CPU0 CPU1 CPU2 CPU3\n24: 9 0 0 0 GIC timer\n");
    // The timer of each core is a numbered interrupt on ARM.
    let timer = counts("  CPU0 CPU1 CPU2 CPU3\n106: 9 9 9 9 GICv2 26 Level arch_timer\n");
    let device = counts("  CPU0 CPU1 CPU2 CPU3\n106: 9 9 9 9 GICv2 137 Level mmc0\n");
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[told, anywhere, timer], "met"),
        (&[told, anywhere, device], "unmet"),
        (&[told, anywhere, first], "met"),
        (&[told, anywhere, hot], "unmet"),
        (&[told, anywhere, fourth], "unmet"),
        (&[told, hot], "unmet"),
        (&[told, cold, hot], "met"),
        (&[told, anywhere, nobody], "met"),
    ];
    for (files, expected) in cases {
        let others = ["proc/irq/25/effective_affinity_list"];
        let (found, said) = outcome("isolation.interrupts", &others, files);
        assert_eq!(found, expected, "{files:?}: {said}");
    }
}

#[test]
fn a_card_with_all_the_places_that_it_can_have_is_met() {
    let ring = |text| outcome("net.card_ring", &[], &[("ethtool/--show-ring/eth0", text)]).0;
    assert_eq!(ring("RX:\t\t1024\nRX:\t\t1024\n"), "met");
    assert_eq!(ring("RX:\t\t1024\nRX:\t\t512\n"), "unmet");
    assert_eq!(ring("RX:\t\tn/a\nRX:\t\t512\n"), "unknown");
    assert_eq!(outcome("net.card_ring", &["ethtool/--show-ring/eth0"], &[]).0, "unknown");
}

#[test]
fn a_kernel_that_cannot_is_told_from_one_that_is_not_asked() {
    let timer = outcome("isolation.timer", &["sys/devices/system/cpu/nohz_full"], &[]);
    assert!(timer.0 == "unmet" && timer.1.contains("NO_HZ_FULL"), "{timer:?}");
    for (id, path) in [("memory.pressure", "memory"), ("disk.pressure", "io")] {
        let path = format!("proc/pressure/{path}");
        let (found, said) = outcome(id, &[&path], &[]);
        assert!(found == "unknown" && said.contains("psi=1"), "{found}: {said}");
    }
}

#[test]
fn a_kernel_that_could_be_preemptible_is_not_taken_for_one_that_is() {
    let dynamic = ("proc/version", "Linux version 6.12.34 #1 SMP PREEMPT_DYNAMIC Debian");
    let mode = "sys/kernel/debug/sched/preempt";
    let line = "proc/cmdline";
    let cases: [(&[(&str, &str)], &str); 10] = [
        (&[("proc/version", "Linux 6.12.34 #1 SMP PREEMPT Debian")], "met"),
        (&[("proc/version", "Linux 6.12.34 #1 SMP PREEMPT_RT Debian")], "met"),
        (&[("proc/version", "Linux 6.12.34 #1 SMP Debian")], "unmet"),
        (&[dynamic], "unknown"),
        (&[dynamic, (line, "root=/dev/sda1 quiet")], "unknown"),
        (&[dynamic, (line, "root=/dev/sda1 preempt=full quiet")], "met"),
        (&[dynamic, (line, "preempt=full preempt=voluntary")], "unmet"),
        (&[dynamic, (mode, "none (voluntary) full"), (line, "preempt=full")], "unmet"),
        (&[dynamic, (mode, "none voluntary (full)")], "met"),
        (&[dynamic, (mode, "full (lazy)")], "unmet"),
    ];
    for (files, expected) in cases {
        let (found, said) = outcome("kernel.preemption", &["sys/kernel/realtime"], files);
        assert_eq!(found, expected, "{files:?}: {said}");
    }
}

#[test]
fn nothing_is_asked_of_cores_that_no_thread_is_pinned_to() {
    let board = board();
    let needs = Needs { hot_cores: Vec::new(), ranked: false, ..needs() };
    let verdict = examine(&Root::folder(board.path()), &needs);
    let exempt = [
        "isolation.domains",
        "isolation.timer",
        "isolation.interrupts",
        "isolation.irqbalance",
        "isolation.nice",
        "kernel.autogroup",
        "kernel.slices",
    ];
    assert_eq!(with(&verdict, "exempt"), exempt);
}

#[test]
fn ids_are_unique_and_every_text_is_there() {
    let ids: BTreeSet<_> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(ids.len(), CHECKS.len());
    for check in CHECKS {
        let texts = [check.wanted, check.why, check.fix];
        assert!(texts.iter().all(|text| text.len() > 5), "{}", check.id);
    }
}

#[test]
fn the_exit_code_and_the_object_follow_the_verdict() {
    let board = board();
    let run = |args: &[&str]| {
        let root = ["--root", board.path().to_str().unwrap()];
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollux"));
        command.arg("doctor").args(root).args(args).output().unwrap()
    };
    assert_eq!(run(&["--set", "net.core=2", "--set", "tick.core=3"]).status.code(), Some(0));
    put(board.path(), "proc/loadavg", "9.00 0 0 1/1 1");
    let refused = run(&["-o", "json"]);
    assert_eq!(refused.status.code(), Some(3));
    let told: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(told["doctor"]["qualifies"], false);
    assert_eq!(told["doctor"]["disqualified_by"], serde_json::json!(["cpu.load"]));
    assert_eq!(told["doctor"]["checks"].as_array().unwrap().len(), CHECKS.len());
    assert_eq!(run(&["--set", "tick.hertz=1"]).status.code(), Some(78));
}
