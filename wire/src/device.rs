//! The device id: a UUID in the order of its text form (RFC 9562, section 4).

use bytemuck::{Pod, Zeroable};

/// Sixteen bytes that name a device in the whole plant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct DeviceId(pub [u8; 16]);

/// The text is not a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device id is 32 hexadecimal digits, with or without hyphens")]
pub struct ParseDeviceError;

impl std::fmt::Display for DeviceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for DeviceId {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, ParseDeviceError> {
        let mut bytes = [0; 16];
        let mut digits = 0;
        for symbol in text.chars().filter(|&c| c != '-') {
            let digit = symbol.to_digit(16).ok_or(ParseDeviceError)?;
            let byte = bytes.get_mut(digits / 2).ok_or(ParseDeviceError)?;
            *byte = *byte << 4 | u8::try_from(digit).map_err(|_| ParseDeviceError)?;
            digits += 1;
        }
        if digits == 32 { Ok(Self(bytes)) } else { Err(ParseDeviceError) }
    }
}
