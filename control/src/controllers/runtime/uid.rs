//! A uid in few bytes: there is one for every object of the cluster.

use std::fmt;

use uuid::Uuid;

/// The uid of an object. Ours are UUIDs in their usual spelling, which take sixteen bytes; what else
/// an owner reference may hold is kept as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Uid {
    /// A UUID that is spelled with hyphens and small letters.
    Uuid(Uuid),
    /// Anything else.
    Text(Box<str>),
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        let usual = |uuid: &Uuid| {
            let mut buffer = Uuid::encode_buffer();
            *uuid.hyphenated().encode_lower(&mut buffer) == *text
        };
        match Uuid::try_parse(text).ok().filter(usual) {
            Some(uuid) => Uid::Uuid(uuid),
            None => Uid::Text(text.into()),
        }
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uid::Uuid(uuid) => write!(formatter, "{}", uuid.hyphenated()),
            Uid::Text(text) => formatter.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_uid_reads_as_it_was_written() {
        let usual = "6f1f7a0a-8f0e-4b43-a3bd-9e9d5ac0a1b2";
        assert!(matches!(Uid::from(usual), Uid::Uuid(_)));
        for text in [
            usual,
            &usual.to_uppercase(),
            &usual.replace('-', ""),
            "x",
            "",
        ] {
            assert_eq!(Uid::from(text).to_string(), text);
        }
        assert_ne!(Uid::from(usual), Uid::from(usual.to_uppercase().as_str()));
    }
}
