//! Lookup tables to be filled.
//!
//! Filling is left to who writes them: all tables at once would take more memory than the daemon has
//! otherwise. The addresses of a Service's port lead to the same backends, so that they follow each
//! other in a plan and share what was filled.

use naru_ebpf_common::{Backend, MaglevBlock, MaglevKey, TableSize};
use naru_ebpf_logic::maglev::table;

/// A lookup table to be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupTable {
    /// How many slots it has.
    pub size: TableSize,
    /// The backends of the service.
    pub backends: Vec<Backend>,
}

/// Fills tables, and keeps the last one.
#[derive(Debug, Default)]
pub struct Filler<'a> {
    last: Option<(&'a LookupTable, Vec<u16>)>,
}

impl<'a> Filler<'a> {
    /// The table's entries in the map, for this revision of the service.
    pub fn blocks(
        &mut self,
        table: &'a LookupTable,
        revision: u32,
    ) -> impl Iterator<Item = (MaglevKey, MaglevBlock)> {
        let kept = self.last.take().filter(|(last, _)| *last == table);
        let fill = || (table, table::fill(&table.backends, table.size));
        let (_, slots) = self.last.insert(kept.unwrap_or_else(fill));
        table::blocks(revision, slots)
    }
}

#[cfg(test)]
mod tests {
    use naru_ebpf_common::{Addr, Port};

    use super::*;

    fn table(ends: &[u8]) -> LookupTable {
        let backend = |end: &u8| Backend {
            addr: Addr::v4([10, 244, 0, *end]),
            port: Port::new(80),
            ..Backend::default()
        };
        LookupTable {
            size: "1021".parse().expect("a size"),
            backends: ends.iter().map(backend).collect(),
        }
    }

    #[test]
    fn a_kept_table_is_that_of_its_backends() {
        let (one, same, other) = (table(&[1, 2]), table(&[1, 2]), table(&[1, 3, 4]));
        let mut filler = Filler::default();
        for (table, revision) in [(&one, 1), (&same, 2), (&other, 3), (&one, 4)] {
            let blocks: Vec<_> = filler.blocks(table, revision).collect();
            let slots = table::fill(&table.backends, table.size);
            let fresh: Vec<_> = table::blocks(revision, &slots).collect();
            assert_eq!(blocks, fresh);
        }
    }
}
