//! The table of source ranges: prefixes of a service's number and a client's address.

use std::fmt;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Map, MapData};
use naru_ebpf_common::{Addr, RangeKey, names};
use parking_lot::Mutex;

use super::error::DatapathError;
use super::pins::Pins;
use super::table::{collect, gone_is_fine, pinned};

/// Bits of the service's number, which every prefix holds.
const SERVICE_BITS: u32 = 32;

/// One range: number of the service port, network, prefix length (0 to 128).
type Range = (u32, Addr, u32);

/// Source ranges.
pub struct RangeTable(Mutex<LpmTrie<MapData, RangeKey, u32>>);

impl fmt::Debug for RangeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RangeTable")
    }
}

fn key((service, client, length): Range) -> Key<RangeKey> {
    let service = service.to_be();
    Key::new(SERVICE_BITS + length, RangeKey { service, client })
}

impl RangeTable {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let map = LpmTrie::try_from(Map::LpmTrie(pinned(pins, names::RANGES)?));
        let map = map.map_err(DatapathError::map(names::RANGES, "open"))?;
        Ok(Self(Mutex::new(map)))
    }

    /// Every range, in no order.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn entries(&self) -> Result<Vec<Range>, DatapathError> {
        let entries = collect(names::RANGES, self.0.lock().iter())?;
        let range = |(key, _): (Key<RangeKey>, u32)| {
            let RangeKey { service, client } = key.data();
            let length = key.prefix_len().saturating_sub(SERVICE_BITS);
            (u32::from_be(service), client, length)
        };
        Ok(entries.into_iter().map(range).collect())
    }

    /// Writes a range.
    ///
    /// # Errors
    /// [`DatapathError::Full`], or when the kernel refuses.
    pub fn put(&self, range: Range) -> Result<(), DatapathError> {
        let written = self.0.lock().insert(&key(range), 1, 0);
        written.map_err(DatapathError::map(names::RANGES, "write"))
    }

    /// Deletes a range; one that does not exist is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete(&self, range: Range) -> Result<(), DatapathError> {
        let deleted = gone_is_fine(self.0.lock().remove(&key(range)));
        deleted.map_err(DatapathError::map(names::RANGES, "delete from"))
    }

    /// Name, number of ranges and capacity.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn fill(&self) -> Result<(&'static str, u64, u64), DatapathError> {
        let count = self.entries()?.len() as u64;
        Ok((names::RANGES, count, names::RANGES_SIZE.into()))
    }
}
