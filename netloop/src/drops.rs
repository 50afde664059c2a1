//! What the kernel discarded before anybody could read it, because a socket's buffer was full.
//!
//! The buffer covers the time in which a worker does not run. What comes beyond it is gone without a packet to count: this
//! counter of the kernel is the only trace, and it tells a stall of this host from a loss on the network.

use std::io;
use std::net::SocketAddr;

/// Datagrams that were discarded at all UDP sockets of this network namespace that are bound to the port of `addr`, in its family.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn socket_drops(addr: SocketAddr) -> io::Result<u64> {
    let table = if addr.is_ipv4() { "/proc/net/udp" } else { "/proc/net/udp6" };
    Ok(drops(&std::fs::read_to_string(table)?, addr.port()))
}

/// The columns are as in Linux' `udp4_seq_show`: slot, local address and port, …, and the drops as the last.
fn drops(table: &str, port: u16) -> u64 {
    let of_line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (_, local) = fields.nth(1)?.rsplit_once(':')?;
        let bound = u16::from_str_radix(local, 16).ok()? == port;
        let drops = fields.last()?.parse::<u64>().ok()?;
        bound.then_some(drops)
    };
    table.lines().filter_map(of_line).sum()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_full_buffer_shows_as_drops_of_its_port_alone() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (addr, other) = (socket.local_addr().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        assert_eq!(socket_drops(addr).unwrap(), 0);
        // The kernel's default buffer holds some hundreds of these.
        (0..5_000).for_each(|_| drop(other.send_to(&[0; 1200], addr)));
        assert!(socket_drops(addr).unwrap() > 1_000);
        assert_eq!(socket_drops(other.local_addr().unwrap()).unwrap(), 0);
    }

    #[test]
    fn sockets_that_share_a_port_are_added_up() {
        let table =
            "  sl  local_address rem_address st tx rx tr tm uid timeout inode ref pointer drops
   1: 0100007F:1151 00000000:0000 07 0:0 00:0 0 0 0 11 2 ff 7
   2: 0100007F:1151 00000000:0000 07 0:0 00:0 0 0 0 12 2 ff 5
   3: 0100007F:1152 00000000:0000 07 0:0 00:0 0 0 0 13 2 ff 100
";
        assert_eq!((drops(table, 0x1151), drops(table, 0x1153)), (12, 0));
    }
}
