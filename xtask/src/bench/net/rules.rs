//! Rule sets with the shape that kube-proxy gives them, for any number of services.
//!
//! iptables: one chain of services that is walked from the top, a chain per service that
//! picks an endpoint by chance, a chain per endpoint that translates. nftables: one verdict map from
//! address, protocol and port to the service's chain, and a numgen map in it.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::end::PORT;
use super::plain::{Plain, SERVERS};

/// How long a rule set may take to load.
pub(super) const LOAD_LIMIT: Duration = Duration::from_secs(120);

/// Port of every service.
pub(super) const SERVICE_PORT: u16 = 80;

/// Which of the kernel's means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Iptables,
    Nftables,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Iptables, Self::Nftables];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }

    /// Loads the rules of `services` services into the bed; false if that takes longer than
    /// [`LOAD_LIMIT`], and then nothing is loaded.
    ///
    /// # Errors
    /// When the program refuses them.
    pub(super) fn load(self, plain: &Plain, services: usize) -> Result<bool> {
        let text = match self {
            Self::Iptables => iptables(services, &SERVERS),
            Self::Nftables => nftables(services, &SERVERS),
        };
        let begin = Instant::now();
        match self.feed(plain, &text) {
            Err(_) if begin.elapsed() >= LOAD_LIMIT => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// Says why there is no figure.
    pub(super) fn too_slow(self, services: usize) -> String {
        let seconds = LOAD_LIMIT.as_secs();
        format!(
            "{} left out: {services} services take it longer than {seconds} s to load",
            self.name()
        )
    }

    /// Removes them.
    ///
    /// # Errors
    /// When the program fails.
    pub(super) fn unload(self, plain: &Plain) -> Result<()> {
        self.feed(
            plain,
            match self {
                Self::Iptables => "*nat\nCOMMIT\n",
                Self::Nftables => "delete table ip kube-proxy\n",
            },
        )
    }

    fn feed(self, plain: &Plain, text: &str) -> Result<()> {
        match self {
            Self::Iptables => plain.load("iptables-restore", &[], text),
            Self::Nftables => plain.load("nft", &["-f", "-"], text),
        }
    }
}

/// Address and port of the last of so many services.
pub(super) fn last(services: usize) -> String {
    format!("{}:{SERVICE_PORT}", address(services - 1))
}

/// Address of service `index`, from 0; 10.97.0.0/16 holds them all.
pub(super) fn address(index: usize) -> String {
    format!("10.97.{}.{}", index / 250, index % 250 + 1)
}

/// Input for `iptables-restore`.
pub(super) fn iptables(services: usize, endpoints: &[&str]) -> String {
    let mut text = String::from("*nat\n:KUBE-SERVICES - [0:0]\n");
    for service in 0..services {
        let _ = writeln!(text, ":KUBE-SVC-{service} - [0:0]");
        for endpoint in 0..endpoints.len() {
            let _ = writeln!(text, ":KUBE-SEP-{service}-{endpoint} - [0:0]");
        }
    }
    text.push_str("-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n");
    for service in 0..services {
        iptables_service(&mut text, service, endpoints);
    }
    text + "COMMIT\n"
}

fn iptables_service(text: &mut String, service: usize, endpoints: &[&str]) {
    let address = address(service);
    let _ = writeln!(
        text,
        "-A KUBE-SERVICES -d {address}/32 -p tcp -m tcp --dport {SERVICE_PORT} -j KUBE-SVC-{service}"
    );
    for (at, endpoint) in endpoints.iter().enumerate() {
        let left = endpoints.len() - at;
        let chance = match left {
            1 => String::new(),
            _ => format!(
                "-m statistic --mode random --probability {:.5} ",
                1.0 / left as f64
            ),
        };
        let _ = writeln!(
            text,
            "-A KUBE-SVC-{service} {chance}-j KUBE-SEP-{service}-{at}"
        );
        let _ = writeln!(
            text,
            "-A KUBE-SEP-{service}-{at} -p tcp -m tcp -j DNAT --to-destination {endpoint}:{PORT}"
        );
    }
}

/// Input for `nft -f -`; replaces what an earlier one made.
pub(super) fn nftables(services: usize, endpoints: &[&str]) -> String {
    let mut text =
        String::from("table ip kube-proxy\ndelete table ip kube-proxy\ntable ip kube-proxy {\n");
    for service in 0..services {
        let picks: Vec<_> = endpoints
            .iter()
            .enumerate()
            .map(|(at, _)| format!("{at} : goto endpoint-{service}-{at}"))
            .collect();
        for (at, endpoint) in endpoints.iter().enumerate() {
            let _ = writeln!(
                text,
                "chain endpoint-{service}-{at} {{ meta l4proto tcp dnat to {endpoint}:{PORT}; }}"
            );
        }
        let _ = writeln!(
            text,
            "chain service-{service} {{ numgen random mod {} vmap {{ {} }}; }}",
            endpoints.len(),
            picks.join(", ")
        );
    }
    let elements: Vec<_> = (0..services)
        .map(|service| {
            format!(
                "{} . tcp . {SERVICE_PORT} : goto service-{service}",
                address(service)
            )
        })
        .collect();
    let _ = writeln!(
        text,
        "map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; elements = {{ {} }}; }}",
        elements.join(",\n")
    );
    for (name, hook) in [("pre", "prerouting"), ("out", "output")] {
        let _ = writeln!(
            text,
            "chain nat-{name} {{ type nat hook {hook} priority -100; ip daddr . meta l4proto . th dport vmap @service-ips; }}"
        );
    }
    text + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_distinct_up_to_fifty_thousand() {
        let all: std::collections::HashSet<_> = (0..50_000).map(address).collect();
        assert_eq!(all.len(), 50_000);
    }

    #[test]
    fn every_endpoint_has_an_equal_chance() {
        let text = iptables(1, &["10.0.0.1", "10.0.0.2"]);
        assert!(text.contains(
            "-A KUBE-SVC-0 -m statistic --mode random --probability 0.50000 -j KUBE-SEP-0-0\n"
        ));
        assert!(text.contains("-A KUBE-SVC-0 -j KUBE-SEP-0-1\n"));
    }

    #[test]
    fn a_service_is_one_element_of_the_map() {
        let text = nftables(2, &["10.0.0.1"]);
        assert!(
            text.contains("10.97.0.2 . tcp . 80 : goto service-1"),
            "{text}"
        );
        assert!(
            text.contains(
                "chain service-1 { numgen random mod 1 vmap { 0 : goto endpoint-1-0 }; }"
            )
        );
    }
}
