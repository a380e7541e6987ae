//! The peer: two leaves behind one router, joined by the kernel's own routing over veth pairs.
//!
//! The same topology as two pods on a node, without any program of ours. The rule sets of kube-proxy
//! are loaded into the router.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use naru_tests::support::run;

use super::end::End;
use super::place::Place;
use super::rules::LOAD_LIMIT;

/// Addresses of the server's leaf that the rules lead to.
pub(super) const SERVERS: [&str; 2] = ["10.99.2.2", "10.99.2.3"];
/// Its address for connections without rules. With one of [`SERVERS`] they would leave ports in
/// TIME_WAIT, on which a translated connection has to wait: its time stamps are of another series.
pub(super) const UNRULED: &str = "10.99.2.4";

const ROUTER: &str = "naru-bench-router";
const CLIENT: &str = "naru-bench-client";
const SERVER: &str = "naru-bench-server";

/// The three namespaces; removed when dropped.
#[derive(Debug)]
pub(super) struct Plain {
    program: PathBuf,
    places: Ends,
}

/// Where the two ends' processes run.
#[derive(Debug, Clone, Default)]
pub(super) struct Ends {
    pub(super) client: Place,
    pub(super) server: Place,
}

impl Drop for Plain {
    fn drop(&mut self) {
        remove();
    }
}

impl Plain {
    /// Makes the namespaces and links, replacing those of a run that was killed.
    ///
    /// # Errors
    /// When `ip` fails.
    pub(super) fn create(program: PathBuf, places: Ends) -> Result<Self> {
        remove();
        let plain = Self { program, places };
        for name in [ROUTER, CLIENT, SERVER] {
            run::run("ip", &["netns", "add", name])?;
            inside(name, "sysctl -qw net.ipv4.ip_forward=1")?;
            run::run("ip", &["-n", name, "link", "set", "lo", "up"])?;
        }
        leaf(CLIENT, "client", "10.99.1", &["10.99.1.2"])?;
        let [first, second] = SERVERS;
        leaf(SERVER, "server", "10.99.2", &[first, second, UNRULED])?;
        Ok(plain)
    }

    /// The leaf that asks.
    pub(super) fn client(&self) -> End {
        self.end(CLIENT, &self.places.client)
    }

    /// The leaf that answers.
    pub(super) fn server(&self) -> End {
        self.end(SERVER, &self.places.server)
    }

    /// Feeds `input` to `program` in the router: `iptables-restore` or `nft -f -`.
    ///
    /// # Errors
    /// When the program refuses it, or is ended after [`LOAD_LIMIT`].
    pub(super) fn load(&self, program: &str, args: &[&str], input: &str) -> Result<()> {
        let mut command = Command::new("timeout");
        command
            .arg(LOAD_LIMIT.as_secs().to_string())
            .arg("nsenter")
            .arg(format!("--net=/run/netns/{ROUTER}"))
            .arg("--")
            .arg(program)
            .args(args);
        run::with_input(&mut command, input).map(drop)
    }

    fn end(&self, name: &str, place: &Place) -> End {
        End {
            program: self.program.clone(),
            netns: PathBuf::from("/run/netns").join(name),
            place: place.clone(),
        }
    }
}

fn leaf(namespace: &str, port: &str, net: &str, addresses: &[&str]) -> Result<()> {
    run::run(
        "ip",
        &[
            "link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", port,
            "netns", ROUTER,
        ],
    )?;
    let gateway = format!("{net}.1");
    run::run(
        "ip",
        &[
            "-n",
            ROUTER,
            "addr",
            "add",
            &format!("{gateway}/24"),
            "dev",
            port,
        ],
    )?;
    run::run("ip", &["-n", ROUTER, "link", "set", port, "up"])?;
    for address in addresses {
        run::run(
            "ip",
            &[
                "-n",
                namespace,
                "addr",
                "add",
                &format!("{address}/24"),
                "dev",
                "eth0",
            ],
        )?;
    }
    run::run("ip", &["-n", namespace, "link", "set", "eth0", "up"])?;
    run::run(
        "ip",
        &["-n", namespace, "route", "add", "default", "via", &gateway],
    )?;
    Ok(())
}

fn inside(namespace: &str, script: &str) -> Result<()> {
    run::run(
        "nsenter",
        &[
            &format!("--net=/run/netns/{namespace}"),
            "--",
            "sh",
            "-c",
            script,
        ],
    )
    .map(drop)
}

fn remove() {
    for name in [ROUTER, CLIENT, SERVER] {
        // Absent is what is wanted.
        run::run("ip", &["netns", "del", name]).ok();
    }
}
