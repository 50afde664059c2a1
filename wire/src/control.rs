//! The control stream: the hello that opens a session, and the totals that close it. PROTOCOL.md#control.
//!
//! It is the first unidirectional stream that the device opens, and begins with [`MAGIC`]. After the hello come frames of
//! a kind, a length and a payload; a kind that this version does not know is skipped by its length.

use crate::DeviceId;

/// The first eight bytes of a control stream. No device id may begin with them.
pub const MAGIC: [u8; 8] = *b"pollux\x01\n";
/// The version of the protocol that this crate speaks.
pub const VERSION: u16 = 1;
/// Size of a version 1 hello, in bytes.
pub const HELLO_BYTES: usize = 40;
/// Size of a totals frame with its header, in bytes.
pub const TOTALS_BYTES: usize = FRAME_HEADER_BYTES + 24;

const FRAME_HEADER_BYTES: usize = 4;
const KIND_TOTALS: u16 = 1;
/// A longer hello or frame is refused: nothing in this version needs more, and the reader keeps the bytes.
const LENGTH_MAX: usize = 256;
/// Where the length of a hello stands in it.
const LENGTH_AT: usize = 10;
/// Where the length of the token stands in a hello.
const TOKEN_LENGTH_AT: usize = 36;

/// Capability bits of a hello. Unknown bits are ignored.
pub mod capability {
    /// The device answers commands that the twin opens.
    pub const COMMANDS: u32 = 1 << 0;
    /// The device sends its totals before an orderly close.
    pub const TOTALS: u32 = 1 << 1;
}

/// How a session opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Bits of [`capability`].
    pub capabilities: u32,
    /// Changes with every boot of the device; sequence numbers start anew with it.
    pub epoch: u32,
    /// The device or gateway at the other end.
    pub device: DeviceId,
}

/// A secret that proves who a device without a certificate is. It follows the fixed part of the hello.
#[derive(Clone, Copy)]
pub struct Token {
    bytes: [u8; Token::BYTES_MAX],
    length: u8,
}

/// What a device has offered in the whole session, for each tier, in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Records offered, indexed by tier.
    pub offered: [u64; 3],
}

/// One unit of the control stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlFrame {
    /// The opening, always first.
    Hello(Hello),
    /// The totals, before an orderly close.
    Totals(Totals),
    /// A kind of a later version, skipped.
    Unknown(u16),
}

/// Why a control stream is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The stream does not begin with [`MAGIC`].
    #[error("the stream does not begin with the magic")]
    Magic,
    /// The version is not served.
    #[error("version {0} is not served, only {VERSION}")]
    Version(u16),
    /// A length is below what its kind needs, or above what any kind may have.
    #[error("a length of {0} bytes is not allowed here")]
    Length(usize),
}

impl Hello {
    /// The 40 bytes of the hello.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(HELLO_BYTES as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.capabilities.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[20..36].copy_from_slice(&self.device.0);
        bytes
    }

    /// The hello with a token behind it: a buffer, and how many of its bytes are the hello.
    #[must_use]
    pub fn encode_with_token(&self, token: &Token) -> ([u8; LENGTH_MAX], usize) {
        let secret = token.as_bytes();
        let length = HELLO_BYTES + secret.len();
        let mut bytes = [0; LENGTH_MAX];
        bytes[..HELLO_BYTES].copy_from_slice(&self.encode());
        bytes[10..12].copy_from_slice(&(length as u16).to_le_bytes());
        bytes[TOKEN_LENGTH_AT..][..2].copy_from_slice(&(secret.len() as u16).to_le_bytes());
        bytes[HELLO_BYTES..length].copy_from_slice(secret);
        (bytes, length)
    }

    /// Reads a hello from the front of `bytes`; `None` when more are needed, else the hello and how many it took. Its
    /// token, if any, is [`Token::of_hello`] of what it took.
    ///
    /// # Errors
    /// Not a hello, of a version that is not served, or of a length that is not allowed, be it its own or its token's.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, ControlError> {
        let seen = bytes.len().min(MAGIC.len());
        if bytes[..seen] != MAGIC[..seen] {
            return Err(ControlError::Magic);
        }
        let Some(field) = bytes[seen..].first_chunk() else { return Ok(None) };
        let version = u16::from_le_bytes(*field);
        if version != VERSION {
            return Err(ControlError::Version(version));
        }
        let Some(field) = bytes[LENGTH_AT.min(bytes.len())..].first_chunk() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_le_bytes(*field));
        if !(HELLO_BYTES..=LENGTH_MAX).contains(&length) {
            return Err(ControlError::Length(length));
        }
        if let Some(field) = bytes[TOKEN_LENGTH_AT.min(bytes.len())..].first_chunk() {
            let token = usize::from(u16::from_le_bytes(*field));
            if token != 0 && (!Token::allows(token) || HELLO_BYTES + token > length) {
                return Err(ControlError::Length(token));
            }
        }
        if bytes.len() < length {
            return Ok(None);
        }
        let hello = Self {
            capabilities: u32::from_le_bytes(array(bytes, 12)),
            epoch: u32::from_le_bytes(array(bytes, 16)),
            device: DeviceId(array(bytes, 20)),
        };
        Ok(Some((hello, length)))
    }
}

impl Token {
    /// Fewer bytes could be guessed.
    pub const BYTES_MIN: usize = 16;
    /// More bytes prove nothing more.
    pub const BYTES_MAX: usize = 128;

    /// A token of these bytes; `None` when there are fewer than [`Self::BYTES_MIN`] or more than [`Self::BYTES_MAX`].
    #[must_use]
    pub fn new(secret: &[u8]) -> Option<Self> {
        if !Self::allows(secret.len()) {
            return None;
        }
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..secret.len()].copy_from_slice(secret);
        Some(Self { bytes, length: secret.len() as u8 })
    }

    /// The secret itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The token in the bytes that [`Hello::decode`] took; empty when the device shows none.
    #[must_use]
    pub fn of_hello(hello: &[u8]) -> &[u8] {
        let field = hello[TOKEN_LENGTH_AT.min(hello.len())..].first_chunk();
        let length = field.map_or(0, |field| usize::from(u16::from_le_bytes(*field)));
        hello.get(HELLO_BYTES..HELLO_BYTES + length).unwrap_or_default()
    }

    const fn allows(length: usize) -> bool {
        Self::BYTES_MIN <= length && length <= Self::BYTES_MAX
    }
}

/// A secret does not go into a log by accident.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({} bytes)", self.length)
    }
}

impl Totals {
    /// The totals frame with its header.
    #[must_use]
    pub fn encode(&self) -> [u8; TOTALS_BYTES] {
        let mut bytes = [0; TOTALS_BYTES];
        bytes[0..2].copy_from_slice(&KIND_TOTALS.to_le_bytes());
        bytes[2..4].copy_from_slice(&((TOTALS_BYTES - FRAME_HEADER_BYTES) as u16).to_le_bytes());
        for (field, offered) in bytes[FRAME_HEADER_BYTES..].chunks_exact_mut(8).zip(self.offered) {
            field.copy_from_slice(&offered.to_le_bytes());
        }
        bytes
    }
}

impl ControlFrame {
    /// Reads one frame after the hello from the front of `bytes`; `None` when more are needed, else the frame and how
    /// many bytes it took.
    ///
    /// # Errors
    /// A length that is not allowed for its kind.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, ControlError> {
        let Some(head) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let kind = u16::from_le_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
        if length > LENGTH_MAX || (kind == KIND_TOTALS && length < 24) {
            return Err(ControlError::Length(length));
        }
        let end = FRAME_HEADER_BYTES + length;
        if bytes.len() < end {
            return Ok(None);
        }
        let frame = if kind == KIND_TOTALS {
            let offered = [4, 12, 20].map(|start| u64::from_le_bytes(array(bytes, start)));
            Self::Totals(Totals { offered })
        } else {
            Self::Unknown(kind)
        };
        Ok(Some((frame, end)))
    }
}

fn array<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    *bytes[start..].first_chunk().expect("the field fits because the length was checked")
}
