//! The arguments of `certs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::Output;

/// Arguments of `certs`.
#[derive(Clone, Debug, Args)]
pub struct CertsArgs {
    /// What to make.
    #[command(subcommand)]
    pub command: CertsCommand,
}

/// Subcommands of `certs`.
#[derive(Clone, Debug, Subcommand)]
pub enum CertsCommand {
    /// Make an authority, a server and devices; or add devices to an authority that is there.
    Init(CertsInitArgs),
    /// Give certificates to devices and gateways.
    Enroll(CertsEnrollArgs),
    /// Replace keys and certificates by new ones for the same names.
    Rotate(CertsRotateArgs),
    /// Revoke every certificate of a device or gateway.
    Revoke(CertsRevokeArgs),
    /// Show certificates: names, validity, and whether they are revoked.
    Show(CertsShowArgs),
    /// Make a token for a device without a certificate.
    Token(CertsTokenArgs),
}

/// Arguments of `certs init`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Writes ca.pem, ca.key, crl.pem, server.pem, server.key, and device-UUID.pem and .key or
gateway-NAME.pem and .key; keys are readable by their owner only. ECDSA P-256; ten years for the
authority, 825 days for all others.

Examples:
  pollux certs init
  pollux certs init --gateway plant
  pollux certs init --name twin.local --name 192.168.1.20
  pollux certs init --device 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10")]
pub struct CertsInitArgs {
    /// The folder.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub dir: PathBuf,
    /// A name or address of the server, beside localhost, 127.0.0.1 and ::1.
    #[arg(long, value_name = "HOST")]
    pub name: Vec<String>,
    /// A device that gets a certificate.
    #[arg(long, value_name = "UUID")]
    pub device: Vec<Uuid>,
    /// A gateway that gets a certificate for every device.
    #[arg(long, value_name = "NAME")]
    pub gateway: Vec<String>,
    /// Replaces an authority that is there, and what it signed.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `certs enroll`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  pollux certs enroll --device 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10
  pollux certs enroll --gateway hall-3 --prefix 6f0e --behind 7a1e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10
  pollux certs enroll --gateway plant --all")]
pub struct CertsEnrollArgs {
    /// The folder of the authority.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub dir: PathBuf,
    /// A device that gets a certificate.
    #[arg(long, value_name = "UUID", required_unless_present = "gateway")]
    pub device: Vec<Uuid>,
    /// A gateway that gets a certificate.
    #[arg(long, value_name = "NAME", requires = "grant")]
    pub gateway: Option<String>,
    /// A device behind the gateway.
    #[arg(long, value_name = "UUID", group = "grant", requires = "gateway")]
    pub behind: Vec<Uuid>,
    /// First hexadecimal digits of the UUIDs of devices behind the gateway.
    #[arg(long, value_name = "HEX", group = "grant", requires = "gateway")]
    pub prefix: Vec<String>,
    /// Every device is behind the gateway.
    #[arg(long, group = "grant", requires = "gateway", conflicts_with_all = ["behind", "prefix"])]
    pub all: bool,
}

/// Whose certificates a command is about.
#[derive(Clone, Debug, Default, Args)]
pub struct HolderArgs {
    /// The folder of the authority.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub dir: PathBuf,
    /// A device.
    #[arg(long, value_name = "UUID", group = "holder")]
    pub device: Vec<Uuid>,
    /// A gateway.
    #[arg(long, value_name = "NAME", group = "holder")]
    pub gateway: Vec<String>,
}

/// Arguments of `certs rotate`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("holder").required(true).multiple(true), after_help = "\
A running twin takes its new certificate within a second. The old ones stay valid until they run
out, unless --revoke.

Examples:
  pollux certs rotate --server
  pollux certs rotate --gateway plant --revoke")]
pub struct CertsRotateArgs {
    /// Whose.
    #[command(flatten)]
    pub holders: HolderArgs,
    /// The twin.
    #[arg(long, group = "holder")]
    pub server: bool,
    /// Revokes the certificates that are replaced.
    #[arg(long)]
    pub revoke: bool,
}

/// Arguments of `certs revoke`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("holder").required(true).multiple(true), after_help = "\
A running twin that reads crl.pem closes their sessions within a second.

Examples:
  pollux certs revoke --device 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10
  pollux certs revoke --serial 3fa2c8d91b")]
pub struct CertsRevokeArgs {
    /// Whose.
    #[command(flatten)]
    pub holders: HolderArgs,
    /// The serial number of one certificate, as `show` prints it.
    #[arg(long, value_name = "HEX", group = "holder")]
    pub serial: Vec<String>,
}

/// Arguments of `certs show`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Held against the ca.pem and crl.pem that lie beside a certificate, or in the folder above it.

Examples:
  pollux certs show
  pollux certs show certs/server.pem -o json")]
pub struct CertsShowArgs {
    /// Certificates (PEM), or folders of them.
    #[arg(value_name = "PATH", default_value = "certs")]
    pub paths: Vec<PathBuf>,
    /// Form of the result.
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: Output,
}

/// Arguments of `certs token`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The token is printed once; the list holds its SHA-256. A new token takes the place of the device's
old one.

Examples:
  pollux certs token --device 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10 --tokens certs/tokens")]
pub struct CertsTokenArgs {
    /// The device.
    #[arg(long, value_name = "UUID")]
    pub device: Uuid,
    /// The list, which `tls.tokens` of the twin names; created if it is not there.
    #[arg(long, value_name = "FILE")]
    pub tokens: PathBuf,
}
