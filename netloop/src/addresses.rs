//! What each address holds and how fast it sends, for the limits that count by address.
//!
//! An entry begins with the first session of an address that has proved that it is there, and ends with the last: a
//! source that anybody can write into a packet never makes one. The table therefore holds at most as many entries as there
//! are sessions, whatever arrives. Its hash is keyed by a secret of the engine.
//!
//! An address is an IPv4 address, or the first 64 bits of an IPv6 address, because a host may choose the rest.

use std::{net::IpAddr, time::Instant};

use crate::{
    AddressLimits,
    rate::{Rate, RateLimit},
};

/// Names an entry for as long as it holds anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressId(u32);

/// What one address holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) sessions: u32,
    pub(crate) handshakes: u32,
    pub(crate) streams: u32,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    /// The next entry of the same bucket, or of the free ones.
    next: u32,
    held: Held,
    datagrams: Rate,
    bytes: Rate,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Addresses {
    heads: Box<[u32]>,
    entries: Vec<Entry>,
    free: u32,
    seed: u64,
    datagrams: RateLimit,
    bytes: RateLimit,
    begin: Instant,
}

const NONE: u32 = u32::MAX;
/// A rate lets through at once what comes in a hundredth of a second: a receive buffer that was not looked at for a while.
const BURST_PARTS: u64 = 100;

impl Addresses {
    /// A table for as many addresses as there may be sessions.
    pub(crate) fn new(
        limits: &AddressLimits,
        sessions_max: usize,
        seed: u64,
        begin: Instant,
    ) -> Self {
        let rate = |units: u64| RateLimit::new(units, units.div_ceil(BURST_PARTS));
        Self {
            heads: vec![NONE; sessions_max.next_power_of_two()].into_boxed_slice(),
            entries: Vec::new(),
            free: NONE,
            seed,
            datagrams: rate(limits.datagrams_per_s),
            bytes: rate(limits.bytes_per_s),
            begin,
        }
    }

    /// What the address holds; nothing when it is not known.
    pub(crate) fn held(&self, address: IpAddr) -> Held {
        let (_, found) = self.find(self.key(address));
        found.map_or_else(Held::default, |at| self.entries[at as usize].held)
    }

    /// The entry of the address, made if there is none. Whoever enters adds to what it holds, and takes it back later.
    pub(crate) fn enter(&mut self, address: IpAddr) -> AddressId {
        let key = self.key(address);
        let (bucket, found) = self.find(key);
        if let Some(at) = found {
            return AddressId(at);
        }
        let new = Rate::new(self.begin);
        let next = self.heads[bucket];
        let entry = Entry { key, next, held: Held::default(), datagrams: new, bytes: new };
        let at = self.free;
        let at = if at == NONE {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        } else {
            self.free = self.entries[at as usize].next;
            self.entries[at as usize] = entry;
            at
        };
        self.heads[bucket] = at;
        AddressId(at)
    }

    /// What an entry holds.
    pub(crate) fn held_of(&self, id: AddressId) -> Held {
        self.entries[id.0 as usize].held
    }

    /// What an entry holds, to be changed.
    pub(crate) fn held_mut(&mut self, id: AddressId) -> &mut Held {
        &mut self.entries[id.0 as usize].held
    }

    /// Ends an entry that holds nothing any longer.
    pub(crate) fn leave(&mut self, id: AddressId) {
        let Entry { key, next, held, .. } = self.entries[id.0 as usize];
        if held.sessions + held.handshakes > 0 {
            return;
        }
        let bucket = self.bucket(key);
        if self.heads[bucket] == id.0 {
            self.heads[bucket] = next;
        } else {
            let mut at = self.heads[bucket];
            while self.entries[at as usize].next != id.0 {
                at = self.entries[at as usize].next;
            }
            self.entries[at as usize].next = next;
        }
        self.entries[id.0 as usize].next = self.free;
        self.free = id.0;
    }

    /// True when the address may send a datagram of so many bytes now.
    pub(crate) fn admit_datagram(&mut self, id: AddressId, now: Instant, bytes: usize) -> bool {
        let (datagrams, limit) = (self.datagrams, self.bytes);
        let entry = &mut self.entries[id.0 as usize];
        entry.datagrams.take(now, 1, &datagrams) && entry.bytes.take(now, bytes as u64, &limit)
    }

    /// True when rates are limited at all.
    pub(crate) const fn limits_rates(&self) -> bool {
        self.datagrams.is_set() || self.bytes.is_set()
    }

    fn find(&self, key: u64) -> (usize, Option<u32>) {
        let bucket = self.bucket(key);
        let mut at = self.heads[bucket];
        while at != NONE && self.entries[at as usize].key != key {
            at = self.entries[at as usize].next;
        }
        (bucket, (at != NONE).then_some(at))
    }

    fn bucket(&self, key: u64) -> usize {
        (fold(key ^ self.seed, 0x9e37_79b9_7f4a_7c15) as usize) & (self.heads.len() - 1)
    }

    /// 64 bits that tell addresses apart. The tag keeps IPv4 apart from all of IPv6 that is routed.
    #[expect(clippy::unused_self, reason = "it belongs to the table, whose entries keep it")]
    fn key(&self, address: IpAddr) -> u64 {
        match address.to_canonical() {
            IpAddr::V4(v4) => u64::from(u32::from(v4)) | 0xffff << 48,
            IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64,
        }
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::Now;

    fn table(limits: &AddressLimits) -> (Addresses, Instant) {
        let now = Now::simulated().instant;
        (Addresses::new(limits, 16, 7, now), now)
    }

    #[test]
    fn the_table_agrees_with_a_map_through_ten_thousand_sessions() {
        let (mut table, _) = table(&AddressLimits::default());
        let mut oracle: HashMap<IpAddr, u32> = HashMap::new();
        let mut open: Vec<(IpAddr, AddressId)> = Vec::new();
        let mut dice = 42_u64;
        for step in 0..10_000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let address = IpAddr::from([10, 0, 0, (dice >> 40) as u8 % 40]);
            if open.len() < 16 && dice >> 63 == 0 {
                let id = table.enter(address);
                table.held_mut(id).sessions += 1;
                *oracle.entry(address).or_default() += 1;
                open.push((address, id));
            } else if !open.is_empty() {
                let (address, id) = open.swap_remove((dice >> 20) as usize % open.len());
                table.held_mut(id).sessions -= 1;
                table.leave(id);
                *oracle.get_mut(&address).unwrap() -= 1;
            }
            let known = oracle.get(&address).copied().unwrap_or_default();
            assert_eq!(table.held(address).sessions, known, "seed 42, step {step}");
        }
        assert!(table.entries.len() <= 16, "no more entries than sessions were ever open");
    }

    #[test]
    fn one_host_is_one_address_whatever_its_last_bits() {
        let (mut table, _) = table(&AddressLimits::default());
        let id = table.enter("2001:db8::1".parse().unwrap());
        table.held_mut(id).sessions = 3;
        assert_eq!(table.held("2001:db8::ffff".parse().unwrap()).sessions, 3);
        assert_eq!(table.held("2001:db8:0:1::1".parse().unwrap()).sessions, 0);
        let id = table.enter("192.0.2.1".parse().unwrap());
        table.held_mut(id).sessions = 5;
        assert_eq!(table.held("::ffff:192.0.2.1".parse().unwrap()).sessions, 5);
        assert_eq!(table.held("192.0.2.2".parse().unwrap()).sessions, 0);
    }

    #[test]
    fn an_address_sends_at_its_rate_and_does_not_slow_another() {
        let limits =
            AddressLimits { datagrams_per_s: 1000, bytes_per_s: 0, ..AddressLimits::default() };
        let (mut table, now) = table(&limits);
        assert!(table.limits_rates());
        let (loud, calm) = (table.enter([10, 0, 0, 1].into()), table.enter([10, 0, 0, 2].into()));
        let (mut taken, mut others) = (0, 0);
        for us in (0..1_000_000).step_by(10) {
            let now = now + std::time::Duration::from_micros(us);
            taken += u32::from(table.admit_datagram(loud, now, 1200));
            others += u32::from(us % 2000 == 0 && table.admit_datagram(calm, now, 1200));
        }
        assert!((1000..=1011).contains(&taken), "{taken}");
        assert_eq!(others, 500);
    }
}
