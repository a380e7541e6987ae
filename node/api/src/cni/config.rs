//! The network configuration that arrives on standard input.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{CniError, code};

/// Where the daemon listens unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/naru-node/cni.sock";

/// A version of the CNI specification that the plugin speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Version {
    /// 0.3.0
    #[serde(rename = "0.3.0")]
    V0_3_0,
    /// 0.3.1
    #[serde(rename = "0.3.1")]
    V0_3_1,
    /// 0.4.0
    #[serde(rename = "0.4.0")]
    V0_4_0,
    /// 1.0.0
    #[serde(rename = "1.0.0")]
    V1_0_0,
    /// 1.1.0
    #[serde(rename = "1.1.0")]
    V1_1_0,
}

/// Every supported version, oldest first.
pub const SUPPORTED_VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

impl Version {
    /// The newest version.
    pub const NEWEST: Self = Self::V1_1_0;

    /// Reads a version number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_value(Value::from(text)).ok()
    }

    /// The version number.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        SUPPORTED_VERSIONS[self as usize]
    }
}

/// A container's interface that the runtime still knows (`cni.dev/valid-attachments`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// Container id.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Name of the interface in the container.
    pub ifname: String,
}

/// The configuration, reduced to what matters here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// Version in which the result is wanted.
    pub version: Version,
    /// Name of the network.
    pub name: String,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The result of the ADD, given back for CHECK and DEL.
    pub previous: Option<Value>,
    /// For GC: everything else may be released.
    pub valid_attachments: Option<Vec<Attachment>>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "cniVersion")]
    version: Option<String>,
    name: Option<String>,
    #[serde(rename = "type")]
    plugin: Option<String>,
    socket: Option<Value>,
    #[serde(rename = "prevResult")]
    previous: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Attachment>>,
    #[serde(rename = "ipMasq")]
    masquerade: Option<Value>,
    ipam: Option<Value>,
}

impl NetworkConfig {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Code 6 for what is not JSON of the expected shape, 1 for an unsupported version, 2 for
    /// fields of other plugins that would be ignored in silence, 7 for a wrong value.
    pub fn parse(bytes: &[u8]) -> Result<Self, CniError> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| {
            CniError::new(
                code::DECODING_FAILURE,
                "the network configuration is not valid",
            )
            .with_details(error.to_string())
        })?;
        let version = version(raw.version.as_deref())?;
        for (field, value) in [("ipam", &raw.ipam), ("ipMasq", &raw.masquerade)] {
            if value.is_some() {
                let msg = format!("field {field:?} is not supported: the node's daemon decides");
                return Err(CniError::new(code::UNSUPPORTED_FIELD, msg));
            }
        }
        Ok(Self {
            version,
            name: name(raw.name)?,
            socket: socket(raw.socket, raw.plugin)?,
            previous: raw.previous,
            valid_attachments: raw.valid_attachments,
        })
    }
}

/// Reads the version alone, for VERSION and for errors about the rest.
///
/// # Errors
/// Code 1 if the version is not one of [`SUPPORTED_VERSIONS`]. An absent version is 0.1.0 by the
/// specification, which is not supported either.
fn version(text: Option<&str>) -> Result<Version, CniError> {
    let text = text.unwrap_or("0.1.0");
    Version::parse(text).ok_or_else(|| {
        let msg = format!("CNI version {text:?} is not supported");
        CniError::new(code::INCOMPATIBLE_VERSION, msg)
            .with_details(format!("supported: {}", SUPPORTED_VERSIONS.join(", ")))
    })
}

fn name(name: Option<String>) -> Result<String, CniError> {
    let valid = |name: &String| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    name.filter(valid)
        .ok_or_else(|| CniError::new(code::INVALID_CONFIG, "field \"name\" is missing or invalid"))
}

fn socket(socket: Option<Value>, plugin: Option<String>) -> Result<PathBuf, CniError> {
    if plugin.as_deref().is_none_or(str::is_empty) {
        return Err(CniError::new(
            code::INVALID_CONFIG,
            "field \"type\" is missing",
        ));
    }
    let socket = match socket {
        None => DEFAULT_SOCKET.into(),
        Some(Value::String(path)) => PathBuf::from(path),
        Some(other) => {
            let msg = format!("field \"socket\" is not a path: {other}");
            return Err(CniError::new(code::INVALID_CONFIG, msg));
        }
    };
    if !socket.is_absolute() {
        let msg = format!(
            "field \"socket\" is not an absolute path: {}",
            socket.display()
        );
        return Err(CniError::new(code::INVALID_CONFIG, msg));
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NetworkConfig, u32> {
        NetworkConfig::parse(text.as_bytes()).map_err(|error| error.code)
    }

    #[test]
    fn every_supported_version_is_accepted_and_named() {
        for text in SUPPORTED_VERSIONS {
            let config = format!(r#"{{"cniVersion":"{text}","name":"naru","type":"naru-cni"}}"#);
            let config = parse(&config).unwrap();
            assert_eq!(config.version.as_str(), text);
            assert_eq!(config.socket, PathBuf::from(DEFAULT_SOCKET));
        }
    }

    #[test]
    fn each_fault_has_its_code() {
        assert_eq!(parse("{"), Err(code::DECODING_FAILURE));
        assert_eq!(parse(r#"{"name":1}"#), Err(code::DECODING_FAILURE));
        assert_eq!(
            parse(r#"{"name":"n","type":"t"}"#),
            Err(code::INCOMPATIBLE_VERSION)
        );
        let with = |rest: &str| parse(&format!(r#"{{"cniVersion":"1.1.0",{rest}}}"#));
        assert_eq!(with(r#""type":"t""#), Err(code::INVALID_CONFIG));
        assert_eq!(with(r#""name":"n""#), Err(code::INVALID_CONFIG));
        assert_eq!(
            with(r#""name":"n","type":"t","socket":"x""#),
            Err(code::INVALID_CONFIG)
        );
        assert_eq!(
            with(r#""name":"n","type":"t","socket":7"#),
            Err(code::INVALID_CONFIG)
        );
        assert_eq!(
            with(r#""name":"n","type":"t","ipam":{}"#),
            Err(code::UNSUPPORTED_FIELD)
        );
    }
}
