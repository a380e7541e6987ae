//! How pods of different nodes reach each other, as `naru-node --routing` takes it.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, bail};
use serde::{Deserialize, Serialize};

/// A way between nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Routing {
    /// Routes on the fabric.
    #[default]
    Native,
    /// An overlay.
    Vxlan,
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Vxlan => "vxlan",
        })
    }
}

impl FromStr for Routing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "native" => Ok(Self::Native),
            "vxlan" => Ok(Self::Vxlan),
            other => bail!("{other:?} is neither native nor vxlan"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_are_read_as_they_are_written() {
        for routing in [Routing::Native, Routing::Vxlan] {
            assert_eq!(routing.to_string().parse::<Routing>().unwrap(), routing);
        }
        assert!("geneve".parse::<Routing>().is_err());
    }
}
