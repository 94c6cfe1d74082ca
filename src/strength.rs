//! Refuses keys that can be guessed: those that repeat a few bytes, and those that were published in documents,
//! tutorials and templates. An attacker tries them first, and could then sign any token or decrypt the store. Start
//! with [`check`].

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

/// Why a key can be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// Repeats a few bytes.
    #[error("repeats a few bytes")]
    Repeats,
    /// Is a well-known example, which attackers try first.
    #[error("is a well-known example, which attackers try first")]
    WellKnown,
}

/// The least number of different bytes in a key. 32 random bytes have about 30, and never fewer than 16; as hexadecimal
/// text they have 16 at most.
const VARIETY_MIN: usize = 8;

/// The beginnings of published keys, as text or in base64: from the documents of FastAPI, Hasura and NestJS, tutorials
/// of Spring, RFC 7515 and the standard for webhooks.
const PUBLISHED: &[&str] = &[
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4c",
    "3EK6FD+o0+c7tzBNVfjpMkNDi2yARAAKzQlk8O2IKoxQu4nF",
    "DO NOT USE THIS VALUE. INSTEAD, CREATE A COMPLEX SECRET",
    "404E635266556A586E3272357538782F413F4428472B4B62",
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T",
    "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
];

/// Words that examples, tutorials and templates use as a secret. Longer words come first: they are removed from the
/// text one after the other.
const PLACEHOLDERS: &[&str] = &[
    "abcdefghijklmnopqrstuvwxyz",
    "thisismysecuretoken",
    "replacethis",
    "placeholder",
    "development",
    "1234567890",
    "0123456789",
    "qwertyuiop",
    "changethis",
    "characters",
    "replaceme",
    "asdfghjkl",
    "changeit",
    "changeme",
    "password",
    "insecure",
    "atleast",
    "zxcvbnm",
    "default",
    "example",
    "123456",
    "abcdef",
    "fibidy",
    "tautan",
    "please",
    "secure",
    "secret",
    "string",
    "random",
    "fixme",
    "token",
    "super",
    "admin",
    "value",
    "local",
    "valid",
    "which",
    "your",
    "this",
    "that",
    "with",
    "test",
    "long",
    "very",
    "jwt",
    "key",
    "dev",
    "abc",
    "bit",
    "256",
    "512",
    "128",
    "123",
    "my",
    "is",
    "in",
    "a",
];
/// The least length of a text after those words are removed.
const REST_MIN: usize = 12;

/// Refuses a key that can be guessed.
pub fn check(key: &[u8]) -> Result<(), Weakness> {
    if variety(key) < VARIETY_MIN {
        return Err(Weakness::Repeats);
    }
    let text = std::str::from_utf8(key).ok().filter(|text| text.chars().all(|c| !c.is_control()));
    if counts(key) || is_published(key) || text.is_some_and(is_placeholder) {
        return Err(Weakness::WellKnown);
    }
    Ok(())
}

/// How many different bytes are in a key.
pub fn variety(key: &[u8]) -> usize {
    let mut seen = [false; 256];
    key.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    seen.iter().filter(|seen| **seen).count()
}

/// Whether the text consists of hardly more than placeholder words.
pub fn is_placeholder(text: &str) -> bool {
    let mut rest: String = text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    let familiar = PLACEHOLDERS.iter().any(|word| rest.contains(word));
    for word in PLACEHOLDERS {
        rest = rest.replace(word, "");
    }
    familiar && rest.len() < REST_MIN
}

/// Whether the bytes go up or down by the same step, as in test vectors.
fn counts(key: &[u8]) -> bool {
    let mut steps = key.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let first = steps.next();
    steps.all(|step| Some(step) == first)
}

fn is_published(key: &[u8]) -> bool {
    let texts = [
        String::from_utf8_lossy(key).into_owned(),
        BASE64_STANDARD_NO_PAD.encode(key),
        BASE64_URL_SAFE_NO_PAD.encode(key),
    ];
    let begins =
        |text: &str, known: &str| text.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known));
    texts.iter().any(|text| PUBLISHED.iter().any(|known| begins(text, known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_key_is_accepted_as_bytes_and_as_text() {
        for _ in 0..10_000 {
            let key: [u8; 32] = rand::random();
            let hexadecimal: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            for form in [&key[..], hexadecimal.as_bytes(), BASE64_STANDARD_NO_PAD.encode(key).as_bytes()] {
                assert_eq!(check(form), Ok(()), "{form:?}");
            }
        }
    }

    /// A word that stood twice, or behind one that is part of it, would do nothing.
    #[test]
    fn placeholders_stand_once_and_longer_ones_first() {
        assert!(PLACEHOLDERS.is_sorted_by(|a, b| a.len() >= b.len()), "{PLACEHOLDERS:?}");
        let different: std::collections::HashSet<_> = PLACEHOLDERS.iter().collect();
        assert_eq!(different.len(), PLACEHOLDERS.len());
    }

    #[test]
    fn key_that_repeats_or_counts_or_was_published_is_weak() {
        for repeats in [&[0; 32][..], &[7; 64], &[1, 2, 3, 4].repeat(8), b"passwordpasswordpasswordpassword", b""] {
            assert_eq!(check(repeats), Err(Weakness::Repeats), "{repeats:?}");
        }
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).map(|n: u8| 31_u8.wrapping_sub(n.wrapping_mul(3))).collect();
        let decoded = BASE64_STANDARD_NO_PAD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        for known in
            [&up[..], &down, &decoded, b"404e635266556a586e3272357538782f413f4428472b4b6250", b"0123456789abcdef"]
        {
            assert_eq!(check(known), Err(Weakness::WellKnown), "{known:?}");
        }
    }
}
