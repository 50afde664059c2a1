//! Whether the cores are those of a machine, or what a hypervisor lends to a guest.
//!
//! Cores of x86 name a hypervisor in their flags; those of ARM do not, and there the board has to say what it is. A board that
//! nobody here knows is evidence of nothing.

use super::reading::judge;
use super::{Needs, Reading, Root};

const DMI: &str = "sys/class/dmi/id";
const TREE: &str = "proc/device-tree";
/// What boards of guests are called, by firmware (DMI) or device tree, in small letters. `linux,dummy-virt` is the board that
/// QEMU, Firecracker, crosvm and Cloud Hypervisor make for ARM. Google and Microsoft build machines as well, so that these
/// two are known by their products.
const GUESTS: [&str; 22] = [
    "linux,dummy-virt",
    "qemu",
    "kvm",
    "firecracker",
    "cloud hypervisor",
    "xen,xenvm",
    "hvm domu",
    "vmware",
    "innotek",
    "virtualbox",
    "virtual machine",
    "parallels",
    "bochs",
    "bhyve",
    "apple virtualization",
    "google compute engine",
    "openstack",
    "kubevirt",
    "alibaba cloud",
    "digitalocean",
    "vserver",
    "nutanix ahv",
];
/// Whose machines are named after their kind: `c7g.large` is a guest, `c7g.metal` is none.
const AMAZON: &str = "amazon ec2";
const AMAZON_MACHINE: &str = ".metal";

pub(super) fn bare_metal(root: &Root, _: &Needs) -> Reading {
    if let Some(kind) = root.text("sys/hypervisor/type") {
        return Reading::Unmet(format!("a virtual machine ({kind})"));
    }
    let cpus = root.text("proc/cpuinfo").unwrap_or_default();
    // Only x86 calls them so, and only there would a hypervisor be among them.
    let flags = cpus.lines().find(|line| line.starts_with("flags"));
    let flagged =
        flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    if flagged || root.exists(&format!("{TREE}/hypervisor")) {
        return Reading::Unmet("a virtual machine".to_owned());
    }
    let firmware =
        ["sys_vendor", "product_name", "board_vendor"].map(|name| format!("{DMI}/{name}"));
    let firmware = firmware.iter().filter_map(|path| root.text(path)).collect::<Vec<_>>().join(" ");
    let model = root.text(&format!("{TREE}/model"));
    let compatible = root.text(&format!("{TREE}/compatible")).unwrap_or_default();
    let all = format!("{firmware} {} {compatible}", model.as_deref().unwrap_or("")).to_lowercase();
    if let Some(guest) = GUESTS.iter().find(|guest| all.contains(**guest)) {
        return Reading::Unmet(format!("a virtual machine (its board is {guest})"));
    }
    if all.contains(AMAZON) {
        let machine = all.contains(AMAZON_MACHINE);
        let found = if machine { firmware } else { format!("a virtual machine ({firmware})") };
        return judge(machine, found);
    }
    match (flags, model) {
        (Some(_), _) => Reading::Met("no hypervisor in the flags of the cores".to_owned()),
        (None, Some(model)) => Reading::Met(model),
        (None, None) if firmware.is_empty() => {
            Reading::Unknown("no board says what it is".to_owned())
        }
        (None, None) => Reading::Unknown(format!("{firmware} may be a machine or a guest")),
    }
}
