//! A copy of the live maps for a simulation: the decisions of the data path run over it, and what
//! they would write stays in it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use naru_ebpf_common::{MaglevBlock, MaglevKey, Port, Service, ServiceKey, TableSize};
use naru_ebpf_logic::host::Snapshot;

use crate::datapath::{Datapath, DatapathError, monotonic_ns};

/// Copies the maps.
///
/// Flow tables start empty: the question is about a new connection. Which backend a client keeps is
/// known, for that is how a new connection finds it. Of lookup tables only those are copied that a
/// packet to this port with this protocol may meet. Chance starts at 0, which is
/// always the first backend: an explanation that differs from call to call helps nobody.
///
/// # Errors
/// When one cannot be read.
pub(super) fn copy(datapath: &Datapath, to: (Port, u8)) -> Result<Snapshot, DatapathError> {
    let services = datapath.services.entries()?;
    let prefixes = datapath.ipcache.entries()?.into_iter();
    Ok(Snapshot {
        config: Some(datapath.node_config()?),
        endpoints: datapath.endpoints.entries()?.into_iter().collect(),
        ipcache: prefixes
            .map(|(prefix, info)| (prefix.addr, prefix.length, info))
            .collect(),
        policy: datapath.policy.entries()?.into_iter().collect(),
        tables: tables(datapath, &services, to)?,
        services: services.into_iter().collect(),
        backends: datapath.backends.entries()?.into_iter().collect(),
        affinity: RefCell::new(datapath.affinity.entries()?.into_iter().collect()),
        bandwidth: RefCell::new(datapath.bandwidth.entries()?.into_iter().collect()),
        members: datapath.members.entries()?.into_iter().collect(),
        namespaces: datapath.namespaces.entries()?.into_iter().collect(),
        ranges: datapath.ranges.entries()?,
        now_ns: Cell::new(monotonic_ns()),
        ..Snapshot::default()
    })
}

fn tables(
    datapath: &Datapath,
    services: &[(ServiceKey, Service)],
    (port, protocol): (Port, u8),
) -> Result<HashMap<MaglevKey, MaglevBlock>, DatapathError> {
    let mut tables = HashMap::new();
    for (key, service) in services {
        let size = TableSize::of(service.flags);
        let Some(size) = size.filter(|_| key.port == port && key.protocol == protocol) else {
            continue;
        };
        for block in 0..size.blocks() {
            let revision = service.revision;
            let key = MaglevKey { revision, block };
            // A service that has just changed has another table; the decision then finds none.
            tables.extend(datapath.tables.get(&key)?.map(|entry| (key, entry)));
        }
    }
    Ok(tables)
}
