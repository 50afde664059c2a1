//! The sensor type: what a value measures, and in which unit. PROTOCOL.md#sensor-types.

/// What a sensor measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SensorType {
    /// Anything without a type of its own; no unit.
    Generic = 0,
    /// Degrees Celsius.
    Temperature = 1,
    /// Relative humidity in percent.
    Humidity = 2,
    /// Kilopascal.
    Pressure = 3,
    /// Volt.
    Voltage = 4,
    /// Ampere.
    Current = 5,
}

impl SensorType {
    /// Number of assigned types; bytes from here on are reserved.
    pub const COUNT: usize = 6;
    /// All types, in the order of their bytes.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Generic,
        Self::Temperature,
        Self::Humidity,
        Self::Pressure,
        Self::Voltage,
        Self::Current,
    ];

    /// The type with this byte, if it is assigned.
    #[must_use]
    pub const fn from_u8(byte: u8) -> Option<Self> {
        if (byte as usize) < Self::COUNT { Some(Self::ALL[byte as usize]) } else { None }
    }

    /// Lower-case name, as in configuration, metrics and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Temperature => "temperature",
            Self::Humidity => "humidity",
            Self::Pressure => "pressure",
            Self::Voltage => "voltage",
            Self::Current => "current",
        }
    }

    /// Position in [`SensorType::ALL`].
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for SensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
