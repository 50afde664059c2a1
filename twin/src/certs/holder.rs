//! Whom a certificate is for, and what it grants. PROTOCOL.md#identity.

use std::fmt;
use std::net::IpAddr;

use rcgen::SanType;
use uuid::Uuid;

use super::CertsError;

/// Names every server certificate holds.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The twin.
    Server,
    /// A device.
    Device(Uuid),
    /// A gateway in front of several devices.
    Gateway(String),
}

impl Holder {
    /// A gateway of this name.
    ///
    /// # Errors
    ///
    /// No file can have the name.
    pub fn gateway(name: &str) -> Result<Self, CertsError> {
        let letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if !(1..=64).contains(&name.len()) || !name.bytes().all(letter) {
            return Err(CertsError::Gateway { name: name.to_owned() });
        }
        Ok(Self::Gateway(name.to_owned()))
    }

    /// The common name of its certificate.
    pub(super) fn common_name(&self) -> String {
        match self {
            Self::Server => "Pollux twin".to_owned(),
            Self::Device(device) => device.to_string(),
            Self::Gateway(name) => name.clone(),
        }
    }
}

/// What its files are called.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Device(device) => write!(f, "device-{device}"),
            Self::Gateway(name) => write!(f, "gateway-{name}"),
        }
    }
}

/// Whom a certificate is for, and the names in it.
#[derive(Clone, Debug)]
pub struct Grant {
    pub(super) holder: Holder,
    pub(super) names: Vec<SanType>,
}

impl Grant {
    /// A server at this machine, and at further names and addresses.
    ///
    /// # Errors
    ///
    /// A name is none.
    pub fn server(names: &[String]) -> Result<Self, CertsError> {
        let further = names.iter().map(String::as_str).filter(|name| !LOCAL_NAMES.contains(name));
        let names = LOCAL_NAMES.into_iter().chain(further).map(server_name);
        Ok(Self { holder: Holder::Server, names: names.collect::<Result<_, _>>()? })
    }

    /// A device that writes for itself.
    #[must_use]
    pub fn device(device: Uuid) -> Self {
        Self { holder: Holder::Device(device), names: vec![device_name(device)] }
    }

    /// A gateway that writes for every device.
    ///
    /// # Errors
    ///
    /// No file can have its name.
    pub fn gateway_of_all(name: &str) -> Result<Self, CertsError> {
        let all = uri("urn:pollux:gateway:*".to_owned());
        Ok(Self { holder: Holder::gateway(name)?, names: vec![all] })
    }

    /// A gateway that writes for these devices, and for those whose UUID begins with one of the prefixes.
    ///
    /// # Errors
    ///
    /// No file can have its name, or a prefix is none.
    pub fn gateway(name: &str, devices: &[Uuid], prefixes: &[String]) -> Result<Self, CertsError> {
        let mut names: Vec<SanType> = devices.iter().map(|device| device_name(*device)).collect();
        for digits in prefixes {
            let right = (1..=32).contains(&digits.len())
                && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            if !right {
                return Err(CertsError::Prefix { digits: digits.clone() });
            }
            names.push(uri(format!("urn:pollux:prefix:{}", digits.to_lowercase())));
        }
        Ok(Self { holder: Holder::gateway(name)?, names })
    }
}

fn device_name(device: Uuid) -> SanType {
    uri(device.urn().to_string())
}

fn uri(text: String) -> SanType {
    SanType::URI(text.try_into().expect("ASCII because it is made of digits and fixed text"))
}

fn server_name(name: &str) -> Result<SanType, CertsError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A wildcard stands for the whole first label, or for nothing.
    let rest = name.strip_prefix("*.").unwrap_or(name);
    if name.len() > 253 || !rest.split('.').all(label) {
        return Err(CertsError::Name { name: name.to_owned() });
    }
    Ok(SanType::DnsName(name.to_owned().try_into()?))
}
