//! What probes have in common: from a number or a word of a file to a reading.

use super::Reading;

/// Met or unmet, with what was found.
pub(super) fn judge(met: bool, found: impl Into<String>) -> Reading {
    if met { Reading::Met(found.into()) } else { Reading::Unmet(found.into()) }
}

/// The host does not tell, and where it would.
pub(super) fn silent(path: &str) -> Reading {
    Reading::Unknown(format!("/{path} says nothing"))
}

/// The third field of `TIME avg10=0.00 …` lines: share of the last ten seconds that somebody waited, in percent.
pub(super) fn pressure_percent(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

/// A list of cores as the kernel writes it: `0,2-3`.
pub(super) fn cores(list: &str) -> Vec<usize> {
    let mut cores = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cores.extend(first..=last);
        }
    }
    cores
}

#[test]
fn a_list_of_cores_is_read_as_the_kernel_writes_it() {
    assert_eq!(cores("0,2-4\n"), [0, 2, 3, 4]);
    assert_eq!(cores(""), [0; 0]);
    assert_eq!(cores("(null)"), [0; 0]);
}

#[test]
fn pressure_is_that_of_the_last_ten_seconds() {
    let text = "some avg10=2.50 avg60=1.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00";
    assert_eq!(pressure_percent(text), Some(2.5));
    assert_eq!(pressure_percent("full avg10=0.00"), None);
}
