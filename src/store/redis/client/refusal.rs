use std::fmt;

use redis::RedisError;

/// An error that Redis answers, by its first word. The library has kinds for some of the words only, and for none in a
/// pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Memory,
    Disk,
    Replicas,
    Replica,
    NoMaster,
    Loading,
    Busy,
    Permission,
    Password,
    Other(String),
}

/// The words that this module knows.
const KNOWN: [(&str, Refusal); 10] = [
    ("OOM", Refusal::Memory),
    ("MISCONF", Refusal::Disk),
    ("NOREPLICAS", Refusal::Replicas),
    ("READONLY", Refusal::Replica),
    ("MASTERDOWN", Refusal::NoMaster),
    ("LOADING", Refusal::Loading),
    ("BUSY", Refusal::Busy),
    ("NOPERM", Refusal::Permission),
    ("NOAUTH", Refusal::Password),
    ("WRONGPASS", Refusal::Password),
];

impl Refusal {
    /// `None`: the error is no answer of the server.
    pub fn of(error: &RedisError) -> Option<Self> {
        let errors = error.clone().into_server_errors()?;
        let (_, error) = errors.first()?;
        Some(Self::parse(error.code(), error.details().unwrap_or_default()))
    }

    /// In a script, Redis 7 answers the word of the refused command. Redis 6 answers `ERR`, with the word in the text.
    fn parse(code: &str, detail: &str) -> Self {
        let in_script = detail.strip_prefix("Error running script").filter(|_| code == "ERR");
        let inner = in_script.and_then(|text| text.split(": -").nth(1)?.split(' ').next());
        let word = inner.unwrap_or(code);
        let known = KNOWN.into_iter().find(|(known, _)| *known == word);
        known.map_or_else(|| Self::Other(word.to_owned()), |(_, refusal)| refusal)
    }

    fn word(&self) -> &str {
        match self {
            Self::Other(word) => word,
            known => KNOWN.iter().find(|(_, refusal)| refusal == known).map_or("", |(word, _)| word),
        }
    }

    /// The server is not, or not yet, the master: the next connection may lead to another one.
    pub fn is_no_master(&self) -> bool {
        matches!(self, Self::Replica | Self::NoMaster | Self::Loading)
    }

    /// The server answers reads and refuses writes.
    pub fn is_of_writes(&self) -> bool {
        match self {
            Self::Memory | Self::Disk | Self::Replicas | Self::Permission | Self::Other(_) => true,
            Self::Replica | Self::NoMaster | Self::Loading | Self::Busy | Self::Password => false,
        }
    }

    /// What happens to the links, and what the operator has to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Memory => {
                "links stay, no account can be linked: raise maxmemory, or remove other data from this redis"
            }
            Self::Disk => "links end until it can save its data again: look at its log, and free or repair its disk",
            Self::Replicas => {
                "links end until as many replicas follow it as min-replicas-to-write says: bring them back"
            }
            Self::Replica | Self::NoMaster => "it follows another redis: make REDIS_URL lead to the master",
            Self::Loading => "it reads its data after a start: wait",
            Self::Busy => {
                "a script of another client runs for seconds: SCRIPT KILL ends it, unless it has written already"
            }
            Self::Permission => "its user lacks a right: docs/redis.md has the ACL rule",
            Self::Password => "it refuses the user or the password of REDIS_URL",
            Self::Other(_) => "links end until it takes writes again: the documentation of redis explains the word",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_known_and_shown_as_redis_says_it() {
        for word in KNOWN.map(|(word, _)| word).into_iter().filter(|word| *word != "WRONGPASS") {
            assert_eq!(Refusal::parse(word, "and a text").to_string(), word);
        }
        assert_eq!(Refusal::parse("WRONGPASS", ""), Refusal::Password);
        assert_eq!(Refusal::parse("NEW", "OOM"), Refusal::Other("NEW".to_owned()));
    }

    #[test]
    fn word_inside_a_script_is_found_in_the_text_of_redis_6() {
        let text = |word| {
            format!("Error running script (call to f_76a1): @user_script:1: @user_script: 1: -{word} not now: -NO")
        };
        for (word, refusal) in [("OOM", Refusal::Memory), ("MISCONF", Refusal::Disk), ("READONLY", Refusal::Replica)] {
            assert_eq!(Refusal::parse("ERR", &text(word)), refusal);
        }
        assert_eq!(Refusal::parse("ERR", "unknown command 'OOM: -OOM '"), Refusal::Other("ERR".to_owned()));
    }

    #[test]
    fn error_that_no_server_answered_is_no_refusal() {
        let gone: RedisError = std::io::Error::from(std::io::ErrorKind::BrokenPipe).into();
        assert_eq!(Refusal::of(&gone), None);
    }
}
