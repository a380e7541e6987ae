//! Containers: what they ask for and where they listen.

use std::collections::BTreeMap;

use naru_core::Quantity;
use serde::{Deserialize, Deserializer};

use super::or_default;

/// What controllers read of a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub name: Box<str>,
    /// What it asks for.
    #[serde(rename = "resources", deserialize_with = "requests")]
    pub requests: Resources,
    /// Where it listens.
    #[serde(deserialize_with = "or_default")]
    pub ports: Box<[Port]>,
    /// Whether this init container runs as long as the pod.
    #[serde(rename = "restartPolicy", deserialize_with = "always")]
    pub is_sidecar: bool,
}

/// A port of a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// Its name, by which Services may ask for it.
    pub name: Option<Box<str>>,
    /// Its number, 1 to 65535.
    pub container_port: i32,
    /// `TCP`, which absence means, `UDP` or `SCTP`.
    pub protocol: Option<Box<str>>,
    /// The port of the node that leads here; zero for none.
    #[serde(deserialize_with = "or_default")]
    pub host_port: i32,
    /// The node's address for it; all if absent or empty.
    #[serde(rename = "hostIP")]
    pub host_ip: Option<Box<str>>,
}

impl Port {
    /// The protocol.
    pub fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or("TCP")
    }

    /// The host port, if it has one.
    pub fn on_host(&self) -> Option<HostPort> {
        let address = self.host_ip.as_deref().filter(|text| !text.is_empty());
        (self.host_port > 0).then(|| HostPort {
            address: address.unwrap_or("0.0.0.0").into(),
            protocol: self.protocol().into(),
            number: self.host_port,
        })
    }
}

/// A port of a node that is a pod's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The node's address; `0.0.0.0` and `::` are all.
    pub address: Box<str>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Box<str>,
    /// 1 to 65535.
    pub number: i32,
}

/// Amounts by resource name: CPU in thousandths of a core, everything else in whole units. Most pods
/// ask for CPU and memory alone, which therefore take no allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    cpu: Option<i64>,
    memory: Option<i64>,
    others: BTreeMap<Box<str>, i64>,
}

const CPU: &str = "cpu";
const MEMORY: &str = "memory";

impl Resources {
    /// Reads `resources.requests`, `allocatable` and the like; what does not parse is nothing.
    pub fn read<N: AsRef<str>, T: AsRef<str>>(texts: impl IntoIterator<Item = (N, T)>) -> Self {
        let mut read = Self::default();
        for (name, text) in texts {
            read.set(name.as_ref(), amount(name.as_ref(), text.as_ref()));
        }
        read
    }

    /// The amount of `name`, zero if it is not named.
    pub fn get(&self, name: &str) -> i64 {
        match name {
            CPU => self.cpu,
            MEMORY => self.memory,
            _ => self.others.get(name).copied(),
        }
        .unwrap_or(0)
    }

    /// Whether there is an amount of `name`, though it be zero.
    pub fn names(&self, name: &str) -> bool {
        match name {
            CPU => self.cpu.is_some(),
            MEMORY => self.memory.is_some(),
            _ => self.others.contains_key(name),
        }
    }

    /// All amounts: CPU, memory, then the others by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        let known = [(CPU, self.cpu), (MEMORY, self.memory)];
        let known = known.into_iter().filter_map(|(name, it)| Some((name, it?)));
        known.chain(
            self.others
                .iter()
                .map(|(name, amount)| (name.as_ref(), *amount)),
        )
    }

    /// Sets the amount of `name`.
    pub fn set(&mut self, name: &str, amount: i64) {
        match name {
            CPU => self.cpu = Some(amount),
            MEMORY => self.memory = Some(amount),
            _ => {
                self.others.insert(name.into(), amount);
            }
        }
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Resources) {
        self.merge(other, i64::saturating_add);
    }

    /// Takes `other` away.
    pub fn subtract(&mut self, other: &Resources) {
        self.merge(other, i64::saturating_sub);
    }

    /// Raises every amount to at least that of `other`.
    pub fn raise(&mut self, other: &Resources) {
        self.merge(other, i64::max);
    }

    fn merge(&mut self, other: &Resources, how: fn(i64, i64) -> i64) {
        for (name, amount) in other.iter() {
            self.set(name, how(self.get(name), amount));
        }
    }
}

impl<'de> Deserialize<'de> for Resources {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        /// A quantity, which clients may send as a number too.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Text {
            Text(String),
            Number(serde_json::Number),
        }
        let texts = BTreeMap::<String, Text>::deserialize(decoder)?;
        let text = |text| match text {
            Text::Text(text) => text,
            Text::Number(number) => number.to_string(),
        };
        Ok(Self::read(
            texts.into_iter().map(|(name, it)| (name, text(it))),
        ))
    }
}

fn amount(name: &str, text: &str) -> i64 {
    let quantity: Quantity = text.parse().unwrap_or(Quantity::ZERO);
    if name == CPU {
        quantity.milli_value()
    } else {
        quantity.value()
    }
}

pub(super) fn requests<'de, D: Deserializer<'de>>(decoder: D) -> Result<Resources, D::Error> {
    #[derive(Deserialize)]
    struct Requirements {
        #[serde(default, deserialize_with = "or_default")]
        requests: Resources,
    }
    let asked = Option::<Requirements>::deserialize(decoder)?;
    Ok(asked.map(|asked| asked.requests).unwrap_or_default())
}

fn always<'de, D: Deserializer<'de>>(decoder: D) -> Result<bool, D::Error> {
    let policy = Option::<Box<str>>::deserialize(decoder)?;
    Ok(policy.as_deref() == Some("Always"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(value: Value) -> Container {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn amounts_are_read_in_their_units() {
        let asked = json!({"resources": {"limits": {"cpu": "9"},
            "requests": {"cpu": "250m", "memory": "1Ki", "nvidia.com/gpu": 2}}});
        let requests = container(asked).requests;
        let all: Vec<_> = requests.iter().collect();
        assert_eq!(all, [("cpu", 250), ("memory", 1024), ("nvidia.com/gpu", 2)]);
        assert!(!requests.names("ephemeral-storage") && requests.names("memory"));
        assert_eq!(
            container(json!({"resources": {}})).requests,
            Resources::default()
        );
    }

    #[test]
    fn sums_and_differences_and_maxima_are_by_name() {
        let of = |cpu: i64, gpu: i64| {
            let mut all = Resources::default();
            all.set("cpu", cpu);
            all.set("gpu", gpu);
            all
        };
        let mut sum = of(100, 1);
        sum.add(&of(50, 2));
        assert_eq!(sum, of(150, 3));
        sum.raise(&of(200, 1));
        assert_eq!(sum, of(200, 3));
        sum.subtract(&of(1, 1));
        assert_eq!(sum, of(199, 2));
    }

    #[test]
    fn a_host_port_is_on_every_address_unless_one_is_named() {
        let port = |value: Value| serde_json::from_value::<Port>(value).unwrap().on_host();
        assert_eq!(port(json!({"containerPort": 80})), None);
        let everywhere = port(json!({"containerPort": 80, "hostPort": 81, "hostIP": ""})).unwrap();
        assert_eq!(
            (&*everywhere.address, &*everywhere.protocol),
            ("0.0.0.0", "TCP")
        );
        let one = port(json!({"hostPort": 81, "hostIP": "10.0.0.1", "protocol": "UDP"})).unwrap();
        assert_eq!((&*one.address, &*one.protocol), ("10.0.0.1", "UDP"));
    }
}
