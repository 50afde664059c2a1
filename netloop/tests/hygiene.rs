//! What the host is asked for: memory that stays, threads that can do no more than they need, and what the kernel did.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::fs::File;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::thread;

use std::time::Duration;

use netloop::{Clock, LockError, ThreadUsage, confine, lock_memory, locked_bytes, wait_until};
use nix::errno::Errno;
use nix::libc;
use nix::time::{ClockId, clock_gettime};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

#[test]
fn confined_thread_exchanges_packets_and_memory_and_nothing_else() {
    let one = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = other.local_addr().unwrap();
    thread::spawn(move || {
        confine().unwrap();
        assert_eq!(one.send_to(b"still here", to).unwrap(), 10);
        let grown: Vec<u8> = vec![1; 64 << 20];
        assert_eq!(grown.iter().map(|&byte| u64::from(byte)).sum::<u64>(), 64 << 20);
        let refused = ErrorKind::PermissionDenied;
        assert_eq!(File::open("/etc/hostname").unwrap_err().kind(), refused);
        assert_eq!(UdpSocket::bind("127.0.0.1:0").unwrap_err().kind(), refused);
        assert_eq!(TcpListener::bind("127.0.0.1:0").unwrap_err().kind(), refused);
        assert_eq!(Command::new("/bin/true").spawn().unwrap_err().kind(), refused);
        // It ends by a panic as it would without: the join tells.
        assert!(thread::Builder::new().spawn(|| ()).is_err(), "no further thread");
        panic!("on purpose");
    })
    .join()
    .unwrap_err();
    // The others are as they were.
    assert_eq!(other.recv(&mut [0; 16]).unwrap(), 10);
    assert!(File::open("/proc/self/status").is_ok());
}

/// Refuses the calling thread to enter the kernel for a clock.
fn refuse_clock_calls() {
    let refused = SeccompAction::Errno(Errno::EPERM as u32);
    let rules = [(libc::SYS_clock_gettime, Vec::new())].into_iter().collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

#[test]
fn confined_thread_reads_the_clock_without_entering_the_kernel() {
    let waiting = thread::spawn(|| {
        // First, because a confined thread takes no further filter.
        refuse_clock_calls();
        confine().unwrap();
        if clock_gettime(ClockId::CLOCK_MONOTONIC).is_err() {
            eprintln!(
                "not checked: this host has no clock that is read without entering the kernel"
            );
            return;
        }
        let deadline = Clock::new().now().instant + Duration::from_millis(2);
        assert!(wait_until(deadline, Duration::ZERO) >= deadline);
    });
    waiting.join().unwrap();
}

#[test]
fn locked_memory_needs_no_page_later_and_a_limit_is_said() {
    const PAGES: u64 = 4096;
    let touch = |bytes: usize| {
        let mut memory: Vec<u8> = Vec::with_capacity(bytes);
        let before = ThreadUsage::of_this_thread();
        memory.resize(bytes, 1);
        std::hint::black_box(&memory);
        ThreadUsage::of_this_thread().minor_faults - before.minor_faults
    };
    assert!(touch(PAGES as usize * 4096) > PAGES / 600, "huge pages hold 512 of them");
    match lock_memory() {
        Ok(()) if locked_bytes().unwrap() == 0 => {
            eprintln!("not checked: the address sanitizer makes locking a call without effect");
        }
        Ok(()) => {
            assert!(touch(PAGES as usize * 4096) < 4, "its pages were there");
        }
        // What a process without privileges meets.
        Err(LockError::Limited(bytes)) => assert!(bytes < u64::MAX),
        Err(error @ LockError::Refused(_)) => panic!("{error}"),
    }
}
