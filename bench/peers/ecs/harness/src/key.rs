//! The name of a sensor, and the random numbers that the cases draw.

use std::hash::{Hash, Hasher};

use bytemuck::{Pod, Zeroable};

/// The name of a sensor: its device, and its number within the device. The key of every index in the comparison.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Key {
    /// The sixteen bytes that name the device.
    pub device: [u8; 16],
    /// The number of the sensor within its device.
    pub sensor: u16,
}

/// Two whole words and the number: what somebody writes who knows that the derived form hashes a slice of bytes.
impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let [low, high] = bytemuck::cast::<_, [u64; 2]>(self.device);
        hasher.write_u64(low);
        hasher.write_u64(high);
        hasher.write_u16(self.sensor);
    }
}

/// SplitMix64: the same numbers in every run and every library.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) const fn below(&mut self, limit: usize) -> usize {
        ((self.next() as u128 * limit as u128) >> 64) as usize
    }
}

/// Numbers below `count` in a random order that is always the same.
pub(crate) fn shuffled(count: usize) -> Vec<u32> {
    let mut random = Random(0x706f_6c6c_7578);
    let mut numbers: Vec<u32> = (0..count as u32).collect();
    for place in (1..count).rev() {
        numbers.swap(place, random.below(place + 1));
    }
    numbers
}
