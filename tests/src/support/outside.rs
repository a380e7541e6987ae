//! The world beyond the cluster: a name server and an image registry in the outside namespace.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

use super::addresses::{Families, OUTSIDE, REGISTRY_PORT};
use super::layout::Layout;

/// Name that the upstream name server knows, and which the cluster's own does not.
pub const UPSTREAM_NAME: &str = "world.example";
/// Its address.
pub const UPSTREAM_ADDRESS: &str = "203.0.113.7";

/// The upstream name server: answers [`UPSTREAM_NAME`], refuses the rest, asks nobody.
pub fn name_server(families: Families) -> Vec<OsString> {
    let fixed = [
        "--keep-in-foreground".to_owned(),
        "--no-resolv".into(),
        "--no-hosts".into(),
        "--no-daemon".into(),
        "--log-facility=-".into(),
        "--conf-file=/dev/null".into(),
        "--user=root".into(),
        "--pid-file=".into(),
        "--bind-interfaces".into(),
        format!("--host-record={UPSTREAM_NAME},{UPSTREAM_ADDRESS}"),
        "--local=/example/".into(),
    ];
    let own = families.of(OUTSIDE).into_iter();
    let listen = own.map(|own| format!("--listen-address={own}"));
    line("dnsmasq".into(), fixed.into_iter().chain(listen))
}

/// The image registry.
///
/// # Errors
/// When its configuration can't be written.
pub fn registry(layout: &Layout, families: Families) -> Result<Vec<OsString>> {
    let dir = layout.member("outside");
    fs::create_dir_all(dir.join("registry"))?;
    let config = dir.join("registry.json");
    fs::write(&config, registry_config(&dir.join("registry"), families))?;
    let fixed = ["serve".to_owned(), config.to_string_lossy().into_owned()];
    Ok(line(layout.tool("docker-registry"), fixed))
}

/// JSON is YAML, which is what the registry reads.
fn registry_config(storage: &std::path::Path, families: Families) -> String {
    let own = SocketAddr::from((families.first(OUTSIDE), REGISTRY_PORT));
    serde_json::json!({
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": storage}},
        "http": {"addr": own.to_string()},
    })
    .to_string()
}

fn line(program: PathBuf, args: impl IntoIterator<Item = String>) -> Vec<OsString> {
    std::iter::once(program.into())
        .chain(args.into_iter().map(OsString::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_server_asks_nobody() {
        let line = name_server(Families::Both);
        assert!(
            line.contains(&"--no-resolv".into())
                && line.contains(&"--listen-address=192.168.77.2".into())
        );
    }
}
