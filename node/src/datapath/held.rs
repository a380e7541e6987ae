//! A hash map of the kernel's as aya has it, with the calls that aya lacks.

use std::hash::Hash;
use std::os::fd::{AsFd, OwnedFd};

use aya::Pod;
use aya::maps::{HashMap as BpfHashMap, Map, MapData, MapError};
use aya::sys::SyscallError;

use super::error::DatapathError;
use super::sys;

/// A hash map of the kernel's, which another may take the place of ([`super::growth`]).
pub(super) struct Held<K: Pod, V: Pod> {
    map: BpfHashMap<MapData, K, V>,
    /// The same for calls that aya does not have.
    fd: OwnedFd,
    capacity: u32,
}

/// `BPF_NOEXIST` of linux/bpf.h.
const ONLY_NEW: u64 = 1;

impl<K: Pod + Eq + Hash, V: Pod> Held<K, V> {
    pub(super) fn new(name: &'static str, data: MapData) -> Result<Self, DatapathError> {
        let info = data.info().map_err(DatapathError::map(name, "examine"))?;
        let fd = data.fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(failed(name, "open", "dup"))?;
        let lru = matches!(info.map_type(), Ok(aya::maps::MapType::LruHash));
        let map = if lru {
            Map::LruHashMap(data)
        } else {
            Map::HashMap(data)
        };
        let map = BpfHashMap::try_from(map).map_err(DatapathError::map(name, "open"))?;
        Ok(Self {
            map,
            fd,
            capacity: info.max_entries(),
        })
    }

    pub(super) fn walk(
        &self,
        name: &'static str,
        each: impl FnMut(K, V),
    ) -> Result<(), DatapathError> {
        sys::walk(self.fd.as_fd(), each).map_err(failed(name, "read", "BPF_MAP_LOOKUP_BATCH"))
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(super) fn get(&self, key: &K) -> Result<V, MapError> {
        self.map.get(key, 0)
    }

    pub(super) fn put(&mut self, key: &K, value: &V) -> Result<(), MapError> {
        self.map.insert(key, value, 0)
    }

    pub(super) fn remove(&mut self, key: &K) -> Result<(), MapError> {
        self.map.remove(key)
    }

    /// Writes an entry unless there is one. Whether it did.
    pub(super) fn put_new(
        &mut self,
        name: &'static str,
        key: &K,
        value: &V,
    ) -> Result<bool, DatapathError> {
        match self.map.insert(key, value, ONLY_NEW) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::AlreadyExists =>
            {
                Ok(false)
            }
            Err(error) => Err(DatapathError::map(name, "write")(error)),
        }
    }
}

/// An error of a call that aya does not have.
pub(super) fn failed(
    name: &'static str,
    operation: &'static str,
    call: &'static str,
) -> impl FnOnce(std::io::Error) -> DatapathError {
    move |io_error| {
        let error = SyscallError { call, io_error };
        DatapathError::map(name, operation)(MapError::SyscallError(error))
    }
}
