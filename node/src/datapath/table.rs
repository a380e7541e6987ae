//! Typed maps, and the difference between what is in one and what should be.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use aya::Pod;
use aya::maps::lpm_trie::{Key as LpmKey, LpmTrie};
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use naru_ebpf_common::Addr;
use parking_lot::Mutex;

use super::error::DatapathError;
use super::held::Held;
use super::pins::Pins;

pub(super) fn pinned(pins: &Pins, name: &'static str) -> Result<MapData, DatapathError> {
    MapData::from_pin(pins.map(name)).map_err(DatapathError::map(name, "open"))
}

/// Reads every entry. Entries that vanish meanwhile are left out: the programs change LRU maps.
pub(super) fn collect<K, V>(
    name: &'static str,
    entries: impl Iterator<Item = Result<(K, V), MapError>>,
) -> Result<Vec<(K, V)>, DatapathError> {
    let present = entries.filter(|entry| !matches!(entry, Err(MapError::KeyNotFound)));
    present
        .collect::<Result<_, _>>()
        .map_err(DatapathError::map(name, "read"))
}

/// Deleting what is gone already is what was wanted.
pub(super) fn gone_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        other => other,
    }
}

/// A hash map.
pub struct Table<K: Pod, V: Pod> {
    name: &'static str,
    map: Mutex<Held<K, V>>,
}

impl<K: Pod, V: Pod> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}

impl<K: Pod + Eq + Hash, V: Pod + PartialEq> Table<K, V> {
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        let held = Held::new(name, pinned(pins, name)?)?;
        Ok(Self {
            name,
            map: Mutex::new(held),
        })
    }

    /// Goes over to the map that is pinned under the name now.
    pub(super) fn reopen(&self, pins: &Pins) -> Result<(), DatapathError> {
        let held = Held::new(self.name, pinned(pins, self.name)?)?;
        *self.map.lock() = held;
        Ok(())
    }

    /// How many entries the map has room for.
    pub fn capacity(&self) -> u32 {
        self.map.lock().capacity()
    }

    /// The map's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// One entry.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn get(&self, key: &K) -> Result<Option<V>, DatapathError> {
        match self.map.lock().get(key) {
            Ok(value) => Ok(Some(value)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(DatapathError::map(self.name, "read")(error)),
        }
    }

    /// Shows every entry to `each`, in no order: for maps that are too large to be held in memory.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn for_each(&self, each: impl FnMut(K, V)) -> Result<(), DatapathError> {
        self.map.lock().walk(self.name, each)
    }

    /// Every entry, in no order.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn entries(&self) -> Result<Vec<(K, V)>, DatapathError> {
        let mut entries = Vec::new();
        self.for_each(|key, value| entries.push((key, value)))?;
        Ok(entries)
    }

    /// Deletes what is stale. An entry whose `stamp` has changed since it was looked at stays. Returns
    /// how many are left.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sweep(
        &self,
        stamp: impl Fn(&V) -> u64,
        is_stale: impl Fn(&K, &V) -> bool,
    ) -> Result<u64, DatapathError> {
        let (mut left, mut stale) = (0, Vec::new());
        self.for_each(|key, value| {
            left += 1;
            if is_stale(&key, &value) {
                stale.push((key, stamp(&value)));
            }
        })?;
        for (key, before) in stale {
            if self.get(&key)?.is_some_and(|now| stamp(&now) == before) {
                self.delete(&key)?;
                left -= 1;
            }
        }
        Ok(left)
    }

    /// Every key, in no order.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn keys(&self) -> Result<Vec<K>, DatapathError> {
        let mut keys = Vec::new();
        self.for_each(|key, _| keys.push(key))?;
        Ok(keys)
    }

    /// Name, number of entries and capacity.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn fill(&self) -> Result<(&'static str, u64, u64), DatapathError> {
        let mut entries = 0;
        let held = self.map.lock();
        held.walk(self.name, |_, _| entries += 1)?;
        Ok((self.name, entries, held.capacity().into()))
    }

    /// Writes one entry.
    ///
    /// # Errors
    /// [`DatapathError::Full`], or when the kernel refuses.
    pub fn put(&self, key: &K, value: &V) -> Result<(), DatapathError> {
        let written = self.map.lock().put(key, value);
        written.map_err(DatapathError::map(self.name, "write"))
    }

    /// Deletes one entry; one that does not exist is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete(&self, key: &K) -> Result<(), DatapathError> {
        gone_is_fine(self.map.lock().remove(key))
            .map_err(DatapathError::map(self.name, "delete from"))
    }

    /// Writes many entries.
    ///
    /// # Errors
    /// At the first that fails.
    pub fn put_all<'a>(
        &self,
        entries: impl IntoIterator<Item = (&'a K, &'a V)>,
    ) -> Result<(), DatapathError>
    where
        K: 'a,
        V: 'a,
    {
        entries
            .into_iter()
            .try_for_each(|(key, value)| self.put(key, value))
    }

    /// Deletes many entries.
    ///
    /// # Errors
    /// At the first that fails.
    pub fn delete_all<'a>(&self, keys: impl IntoIterator<Item = &'a K>) -> Result<(), DatapathError>
    where
        K: 'a,
    {
        keys.into_iter().try_for_each(|key| self.delete(key))
    }
}

/// The key of a prefix map: length in bits (0 to 128, IPv4 counted from 96) and address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Length in bits.
    pub length: u32,
    /// Address; bits beyond the length are zero.
    pub addr: Addr,
}

impl From<Prefix> for LpmKey<Addr> {
    fn from(prefix: Prefix) -> Self {
        Self::new(prefix.length, prefix.addr)
    }
}

/// A map of longest prefixes.
pub struct PrefixTable<V: Pod> {
    name: &'static str,
    map: Mutex<LpmTrie<MapData, Addr, V>>,
}

impl<V: Pod> fmt::Debug for PrefixTable<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrefixTable").field(&self.name).finish()
    }
}

impl<V: Pod> PrefixTable<V> {
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        let map = LpmTrie::try_from(Map::LpmTrie(pinned(pins, name)?));
        Ok(Self {
            name,
            map: Mutex::new(map.map_err(DatapathError::map(name, "open"))?),
        })
    }

    /// The value of the longest prefix that holds `addr`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn lookup(&self, addr: Addr) -> Result<Option<V>, DatapathError> {
        match self.map.lock().get(&LpmKey::new(128, addr), 0) {
            Ok(value) => Ok(Some(value)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(DatapathError::map(self.name, "read")(error)),
        }
    }

    /// Every prefix, in no order.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn entries(&self) -> Result<Vec<(Prefix, V)>, DatapathError> {
        let prefix = |key: LpmKey<Addr>| Prefix {
            length: key.prefix_len(),
            addr: key.data(),
        };
        let entries = collect(self.name, self.map.lock().iter())?;
        Ok(entries
            .into_iter()
            .map(|(key, value)| (prefix(key), value))
            .collect())
    }

    /// Name, number of prefixes and capacity.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn fill(&self, capacity: u32) -> Result<(&'static str, u64, u64), DatapathError> {
        Ok((self.name, self.entries()?.len() as u64, capacity.into()))
    }

    /// Writes one prefix.
    ///
    /// # Errors
    /// [`DatapathError::Full`], or when the kernel refuses.
    pub fn put(&self, prefix: Prefix, value: &V) -> Result<(), DatapathError> {
        let written = self.map.lock().insert(&prefix.into(), value, 0);
        written.map_err(DatapathError::map(self.name, "write"))
    }

    /// Deletes one prefix; one that does not exist is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete(&self, prefix: Prefix) -> Result<(), DatapathError> {
        let deleted = gone_is_fine(self.map.lock().remove(&prefix.into()));
        deleted.map_err(DatapathError::map(self.name, "delete from"))
    }
}

/// An array of one.
pub(super) struct One<V: Pod> {
    name: &'static str,
    map: Mutex<Array<MapData, V>>,
}

impl<V: Pod> fmt::Debug for One<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("One").field(&self.name).finish()
    }
}

impl<V: Pod> One<V> {
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        let map = Array::try_from(Map::Array(pinned(pins, name)?));
        Ok(Self {
            name,
            map: Mutex::new(map.map_err(DatapathError::map(name, "open"))?),
        })
    }

    pub(super) fn get(&self) -> Result<V, DatapathError> {
        self.map
            .lock()
            .get(&0, 0)
            .map_err(DatapathError::map(self.name, "read"))
    }

    pub(super) fn set(&self, value: V) -> Result<(), DatapathError> {
        self.map
            .lock()
            .set(0, value, 0)
            .map_err(DatapathError::map(self.name, "write"))
    }
}

/// An array with a value per processor.
pub(super) struct PerCpu<V: Pod> {
    name: &'static str,
    map: PerCpuArray<MapData, V>,
}

impl<V: Pod> fmt::Debug for PerCpu<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PerCpu").field(&self.name).finish()
    }
}

impl<V: Pod> PerCpu<V> {
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        let map = PerCpuArray::try_from(Map::PerCpuArray(pinned(pins, name)?));
        Ok(Self {
            name,
            map: map.map_err(DatapathError::map(name, "open"))?,
        })
    }

    pub(super) fn get(&self, index: u32) -> Result<PerCpuValues<V>, DatapathError> {
        self.map
            .get(&index, 0)
            .map_err(DatapathError::map(self.name, "read"))
    }
}

/// What turns one map's contents into another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes<K, V> {
    /// Entries to write: new ones and changed ones.
    pub put: Vec<(K, V)>,
    /// Keys to delete.
    pub delete: Vec<K>,
}

impl<K, V> Changes<K, V> {
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }
}

/// The least that makes `live` equal to `desired`.
pub fn changes<K, V, S>(live: &HashMap<K, V, S>, desired: &HashMap<K, V, S>) -> Changes<K, V>
where
    K: Copy + Eq + Hash,
    V: Copy + PartialEq,
    S: BuildHasher,
{
    let differs = |(key, value): &(&K, &V)| live.get(key) != Some(value);
    Changes {
        put: desired
            .iter()
            .filter(differs)
            .map(|(key, value)| (*key, *value))
            .collect(),
        delete: live
            .keys()
            .filter(|key| !desired.contains_key(key))
            .copied()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_written() {
        let live = HashMap::from([(1, 'a'), (2, 'b'), (3, 'c')]);
        let desired = HashMap::from([(1, 'a'), (2, 'x'), (4, 'd')]);
        let mut changes = changes(&live, &desired);
        changes.put.sort_unstable();
        assert_eq!(
            changes,
            Changes {
                put: vec![(2, 'x'), (4, 'd')],
                delete: vec![3]
            }
        );
    }
}
