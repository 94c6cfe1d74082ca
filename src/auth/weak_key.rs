use std::ops::RangeInclusive;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

/// Below, a signature can be forged with enough machines (NIST SP 800-131A); above, the library checks none.
const RSA_BITS: RangeInclusive<usize> = 2048..=4096;

/// The beginnings of public keys whose private keys were published: those of jwt.io and of RFC 7515, 7517 and 8037. An
/// RSA key's modulus, another key's x, as a JSON Web Key writes it.
const PUBLISHED: &[&str] = &[
    "u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6",
    "EVs_o5-uQbTjL3chynL4wXgUg2R9q9UU8I5mEovU",
    "C1uWSXj2czCDwMTLWV5BFmwxdM6PX9p-Pk9Yf9rI",
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQ",
    "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvR",
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiA",
    "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv",
    "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcH",
];

/// Why a public key must not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakKey {
    /// The RSA key has so many bits; 2048 to 4096 are accepted.
    #[error("has {0} bits; an RSA key has 2048 to 4096")]
    RsaBits(usize),
    /// Is a well-known example whose private key is published.
    #[error("is a well-known example whose private key is published")]
    WellKnown,
    /// Repeats one byte.
    #[error("repeats one byte")]
    Repeats,
    /// Has not the length that keys of its kind have.
    #[error("has not the length that keys of its kind have")]
    Length,
}

pub fn check(key: &DecodingKey, algorithm: Algorithm) -> Result<(), WeakKey> {
    let number = match (key.kind(), algorithm) {
        (DecodingKeyKind::RsaModulusExponent { n, .. }, _) => modulus_checked(n)?,
        // An uncompressed point: one byte of form and two coordinates.
        (DecodingKeyKind::SecretOrDer(point), Algorithm::ES256) if point.len() == 65 => &point[1..33],
        (DecodingKeyKind::SecretOrDer(point), Algorithm::ES384) if point.len() == 97 => &point[1..49],
        // The library's check of a signature panics over a shorter one.
        (DecodingKeyKind::SecretOrDer(x), Algorithm::EdDSA) if x.len() == 32 => x,
        (DecodingKeyKind::SecretOrDer(_), Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA) => {
            return Err(WeakKey::Length);
        }
        (DecodingKeyKind::SecretOrDer(der), _) => modulus_checked(modulus(der).ok_or(WeakKey::Length)?)?,
    };
    if number.iter().all(|byte| *byte == number[0]) {
        return Err(WeakKey::Repeats);
    }
    let text = BASE64_URL_SAFE_NO_PAD.encode(number);
    if PUBLISHED.iter().any(|known| text.starts_with(known)) { Err(WeakKey::WellKnown) } else { Ok(()) }
}

fn modulus_checked(n: &[u8]) -> Result<&[u8], WeakKey> {
    let zeros = n.iter().take_while(|byte| **byte == 0).count();
    let n = &n[zeros..];
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if RSA_BITS.contains(&bits) { Ok(n) } else { Err(WeakKey::RsaBits(bits)) }
}

/// The modulus of an `RSAPublicKey` in DER (RFC 8017 appendix A.1.1): the first number of a sequence.
fn modulus(der: &[u8]) -> Option<&[u8]> {
    let (sequence, _) = element(der, 0x30)?;
    element(sequence, 0x02).map(|(number, _)| number)
}

/// The contents of an element with this tag, and the bytes after it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // So many bytes of length follow.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modulus_is_read_from_der_and_from_nothing_else() {
        let long =
            [&[0x30, 0x82, 0x01, 0x07, 0x02, 0x82, 0x01, 0x01][..], &[0x00], &[0xc5; 256], &[0x02, 0x01]].concat();
        assert_eq!(modulus(&long).map(<[u8]>::len), Some(257));
        assert_eq!(modulus(&[0x30, 0x06, 0x02, 0x01, 0x11, 0x02, 0x01, 0x03]), Some(&[0x11][..]));
        for bad in [&[][..], &[0x30], &[0x30, 0x80], &[0x31, 0x03, 0x02, 0x01, 0x11], &[0x30, 0x03, 0x02, 0x02, 0x11]] {
            assert_eq!(modulus(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn rsa_key_is_weak_below_2048_bits_without_leading_zeros() {
        for (n, expected) in [
            (vec![0xc5; 256], Ok(())),
            ([&[0; 8][..], &[0xc5; 256]].concat(), Ok(())),
            (vec![0x45; 256], Err(WeakKey::RsaBits(2047))),
            ([&[0; 128][..], &[0xc5; 128]].concat(), Err(WeakKey::RsaBits(1024))),
            (vec![0xc5; 513], Err(WeakKey::RsaBits(4104))),
            (vec![], Err(WeakKey::RsaBits(0))),
        ] {
            assert_eq!(modulus_checked(&n).map(drop), expected);
        }
    }
}
