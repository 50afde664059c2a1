//! X25519, the most expensive step of a handshake, by routines of s2n-bignum that are proven to compute what they should.
//!
//! They take half of the time of ring's, and ask for instructions that ring does not (x86-64: ADX and AVX2, AArch64: the
//! cryptography extension); a processor without them has ring's. The key of an exchange serves once, and is wiped after it.

use graviola::key_agreement::x25519::{PrivateKey, PublicKey};
use graviola::util::is_cpu_supported;
use rustls::crypto::ring::kx_group;
use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};

/// The groups that both ends offer, the preferred one first.
pub(crate) fn groups() -> Vec<&'static dyn SupportedKxGroup> {
    let x25519 = if is_cpu_supported() { &X25519 } else { kx_group::X25519 };
    vec![x25519, kx_group::SECP256R1, kx_group::SECP384R1]
}

/// The group. RFC 7748; RFC 8446, section 7.4.2.
#[derive(Debug)]
struct X25519;

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let key = PrivateKey::new_random().map_err(|_| Error::from(GetRandomFailed))?;
        let share = key.public_key().as_bytes();
        Ok(Box::new(Exchange { key, share }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// One exchange that has begun.
struct Exchange {
    key: PrivateKey,
    share: [u8; 32],
}

impl ActiveKeyExchange for Exchange {
    /// A share of another length, and one of small order, by which the secret would be known to all, are refused.
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let agreed =
            PublicKey::try_from_slice(peer).and_then(|peer| self.key.diffie_hellman(&peer));
        let secret = agreed.map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        Ok(SharedSecret::from(&secret.0[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of this host and ring's.
    fn begun() -> (Box<dyn ActiveKeyExchange>, Box<dyn ActiveKeyExchange>) {
        (groups()[0].start().unwrap(), kx_group::X25519.start().unwrap())
    }

    #[test]
    fn both_implementations_agree_on_a_secret_and_no_two_exchanges_have_one() {
        let secrets: Vec<_> = (0..32)
            .map(|_| {
                let (ours, theirs) = begun();
                let (our_share, their_share) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
                let secret = ours.complete(&their_share).unwrap();
                assert_eq!(
                    secret.secret_bytes(),
                    theirs.complete(&our_share).unwrap().secret_bytes()
                );
                secret.secret_bytes().to_vec()
            })
            .collect();
        let mut distinct = secrets.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), secrets.len());
    }

    #[test]
    fn shares_of_small_order_and_of_another_length_are_refused() {
        let mut order_four = [0; 32];
        order_four[0] = 1;
        for share in [&[0; 32][..], &order_four, &[9; 31], &[9; 33], &[]] {
            let (ours, theirs) = begun();
            assert!(ours.complete(share).is_err(), "{share:?}");
            assert!(theirs.complete(share).is_err(), "ring thinks so too: {share:?}");
        }
    }
}
