//! Application error codes: why a stream was reset or stopped, or a session closed. PROTOCOL.md#codes.

/// A code that an end puts into RESET_STREAM, STOP_SENDING or CONNECTION_CLOSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CloseCode {
    /// Nothing is wrong: the work is done.
    Done = 0x00,
    /// A record on the stream broke a rule of its layout.
    BadRecord = 0x01,
    /// The stream ended inside a record, or carried more than its form allows.
    Ragged = 0x02,
    /// Nothing here answers this command.
    NoHandler = 0x03,
    /// The command ring is full: try again later.
    Busy = 0x04,
    /// The control stream broke its form.
    BadControl = 0x05,
    /// The version in the hello is not served.
    BadVersion = 0x06,
    /// A limit of the configuration is reached.
    Limit = 0x07,
    /// The twin is shutting down.
    Shutdown = 0x08,
    /// The peer has not proved who it is, or its proof holds no longer.
    Unauthorized = 0x09,
    /// The session may not speak for this device.
    Forbidden = 0x0a,
    /// The certificate of the session was revoked.
    Revoked = 0x0b,
}

impl CloseCode {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Done,
        Self::BadRecord,
        Self::Ragged,
        Self::NoHandler,
        Self::Busy,
        Self::BadControl,
        Self::BadVersion,
        Self::Limit,
        Self::Shutdown,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Revoked,
    ];

    /// The code with this number, if it is assigned.
    #[must_use]
    pub fn from_u64(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|code| u64::from(*code as u32) == number)
    }

    /// Lower-case name, as in metrics and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::BadRecord => "bad_record",
            Self::Ragged => "ragged",
            Self::NoHandler => "no_handler",
            Self::Busy => "busy",
            Self::BadControl => "bad_control",
            Self::BadVersion => "bad_version",
            Self::Limit => "limit",
            Self::Shutdown => "shutdown",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Revoked => "revoked",
        }
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
