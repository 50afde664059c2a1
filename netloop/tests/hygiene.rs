//! What the host is asked for: memory that stays, threads that can do no more than they need, and what the kernel did.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::thread;

use netloop::{LockError, ThreadUsage, confine, lock_memory, locked_bytes};

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
