//! `GET /metrics`: the node's data path in the text format of Prometheus.
//!
//! Only what the kernel counts anyway, read when it is asked for. Names of pods and Services are not
//! in it: there are too many for labels, and `netctl` knows them.

use std::fmt::{Display, Write};

use naru_ebpf_common::{Reason, counter};

use crate::Shared;
use crate::datapath::{Datapath, DatapathError};

/// The media type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything there is to tell. A node whose data path is not open tells its faults alone.
///
/// # Errors
/// When a map cannot be read.
pub(super) fn metrics(shared: &Shared) -> Result<String, DatapathError> {
    let mut page = Page::default();
    page.family(
        "naru_fault",
        "gauge",
        "Components that are degraded; netctl status says why.",
    );
    for component in shared.health.faults().keys() {
        page.sample("naru_fault", &[("component", component)], 1);
    }
    if let Some(network) = shared.network.get() {
        let pods = network.attachments().len();
        page.family("naru_pods", "gauge", "Pods that are attached.");
        page.sample("naru_pods", &[], pods);
        maps(&mut page, &network.datapath)?;
        packets(&mut page, &network.datapath)?;
    }
    Ok(page.0)
}

/// A gauge that every map has: its name, its help, and its value by entries and room.
type Gauge = (&'static str, &'static str, fn(f64, f64) -> f64);

fn maps(page: &mut Page, datapath: &Datapath) -> Result<(), DatapathError> {
    let fill = datapath.fill()?;
    let families: [Gauge; 3] = [
        ("naru_map_entries", "Entries in a map.", |entries, _| {
            entries
        }),
        (
            "naru_map_capacity",
            "Entries that a map has room for.",
            |_, capacity| capacity,
        ),
        (
            "naru_map_pressure",
            "Entries of a map by its room, 0 to 1.",
            |entries, capacity| entries / capacity.max(1.0),
        ),
    ];
    for (name, help, value) in families {
        page.family(name, "gauge", help);
        for (map, entries, capacity) in &fill {
            page.sample(
                name,
                &[("map", map)],
                value(*entries as f64, *capacity as f64),
            );
        }
    }
    page.family(
        "naru_flows_opened_total",
        "counter",
        "Flows that were opened.",
    );
    page.sample("naru_flows_opened_total", &[], datapath.flows_opened()?);
    Ok(())
}

fn packets(page: &mut Page, datapath: &Datapath) -> Result<(), DatapathError> {
    let mut counts = Vec::new();
    for hook in counter::hooks() {
        for reason in Reason::ALL {
            let count = datapath.counter(counter::index(hook, *reason))?;
            if count.packets > 0 || *reason == Reason::FORWARDED {
                counts.push((counter::hook_name(hook), reason.name(), count));
            }
        }
    }
    let families = [
        (
            "naru_packets_total",
            "Packets by hook and what became of them.",
        ),
        ("naru_bytes_total", "Their bytes."),
    ];
    for (bytes, (name, help)) in families.into_iter().enumerate() {
        page.family(name, "counter", help);
        for (hook, reason, count) in &counts {
            let value = [count.packets, count.bytes][bytes];
            page.sample(name, &[("hook", hook), ("reason", reason)], value);
        }
    }
    Ok(())
}

/// A page that grows. Labels are names of ours: nothing in them has to be escaped.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // A string takes whatever is written to it.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_explained_and_its_samples_are_labelled() {
        let mut page = Page::default();
        page.family(
            "naru_map_pressure",
            "gauge",
            "Entries of a map by its room, 0 to 1.",
        );
        page.sample("naru_map_pressure", &[("map", "NAT"), ("of", "a")], 0.25);
        page.sample("naru_pods", &[], 3);
        let expected = "# HELP naru_map_pressure Entries of a map by its room, 0 to 1.\n\
                        # TYPE naru_map_pressure gauge\n\
                        naru_map_pressure{map=\"NAT\",of=\"a\"} 0.25\n\
                        naru_pods 3\n";
        assert_eq!(page.0, expected);
    }
}
