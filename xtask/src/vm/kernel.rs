//! A Debian kernel: which package, and what lies where in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};
use naru_tests::support::layout::target_dir;

use crate::packages;
use crate::progress::detail;

const PREFIX: &str = "linux-image-";
const SUFFIX: &str = "-cloud-amd64";

/// An unpacked kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As `uname -r` says.
    pub(super) release: String,
    root: PathBuf,
}

impl Kernel {
    /// The newest package of a version, unpacked unless it is already.
    pub(super) fn newest(version: &str) -> Result<Self> {
        let pattern = format!("^{PREFIX}{}\\..*{SUFFIX}$", version.replace('.', "\\."));
        let names = packages::search(&pattern)?;
        let package = newest(&names, version)
            .ok_or_else(|| anyhow!("apt knows no {PREFIX}{version}…{SUFFIX}"))?;
        let kernel = Self {
            release: package.trim_start_matches(PREFIX).to_owned(),
            root: target_dir().join("vm").join(package),
        };
        if kernel.image().is_err() {
            detail(&format!("{package} (unpacked, not installed)"));
            packages::download(package, &kernel.root)?;
        }
        Ok(kernel)
    }

    /// The image to boot.
    pub(super) fn image(&self) -> Result<PathBuf> {
        let image = self
            .root
            .join("boot")
            .join(format!("vmlinuz-{}", self.release));
        ensure!(image.is_file(), "{} is missing", image.display());
        Ok(image)
    }

    fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }

    /// The modules called `names` and what they depend on, decompressed, in the order in which they
    /// are loaded; without those that are built in.
    pub(super) fn with_dependencies(
        &self,
        names: &[&str],
        busybox: &Path,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        let builtin = fs::read_to_string(self.modules().join("modules.builtin"))
            .context("modules.builtin")?;
        let mut loaded = Vec::new();
        for name in names {
            self.add(name, &builtin, busybox, &mut loaded)?;
        }
        Ok(loaded)
    }

    fn add(
        &self,
        name: &str,
        builtin: &str,
        busybox: &Path,
        loaded: &mut Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        if is_builtin(builtin, name) || loaded.iter().any(|(n, _)| n == name) {
            return Ok(());
        }
        let path = find(&self.modules().join("kernel"), name)?
            .ok_or_else(|| anyhow!("{} has no module {name}", self.release))?;
        let bytes = read(&path, busybox)?;
        for dependency in depends(&bytes) {
            self.add(&dependency, builtin, busybox, loaded)?;
        }
        loaded.push((name.to_owned(), bytes));
        Ok(())
    }
}

/// The newest of the packages of `version`.
fn newest<'a>(names: &'a [String], version: &str) -> Option<&'a str> {
    let of_version = |name: &&str| {
        let rest = name
            .strip_prefix(PREFIX)
            .and_then(|n| n.strip_prefix(version));
        rest.is_some_and(|r| r.starts_with('.') && r.ends_with(SUFFIX))
    };
    let names = names.iter().map(String::as_str).filter(of_version);
    names.max_by_key(|n| numbers(n))
}

/// The numbers in a name, in their order.
fn numbers(name: &str) -> Vec<u64> {
    let name = name.trim_end_matches(SUFFIX);
    let digits = name.split(|c: char| !c.is_ascii_digit());
    digits.filter_map(|d| d.parse().ok()).collect()
}

/// A module's name as the kernel writes it: files may have dashes where it has underscores.
fn stem(file_name: &str) -> Option<String> {
    let (stem, _) = file_name.split_once(".ko")?;
    Some(stem.replace('-', "_"))
}

fn is_builtin(list: &str, name: &str) -> bool {
    let mut files = list.lines().filter_map(|l| l.rsplit('/').next());
    files.any(|f| stem(f).as_deref() == Some(name))
}

fn find(dir: &Path, name: &str) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    for entry in entries.flatten() {
        let path = entry.path();
        let found = if path.is_dir() {
            find(&path, name)?
        } else {
            let file = entry.file_name();
            (stem(&file.to_string_lossy()).as_deref() == Some(name)).then_some(path)
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn read(module: &Path, busybox: &Path) -> Result<Vec<u8>> {
    let unpack = match module.extension().and_then(|e| e.to_str()) {
        Some("ko") => return fs::read(module).with_context(|| module.display().to_string()),
        Some("xz") => "unxz",
        Some("gz") => "gunzip",
        _ => bail!("{}: unknown compression", module.display()),
    };
    let mut command = Command::new(busybox);
    let output = command.args([unpack, "-c"]).arg(module).output();
    let output = output.with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(output.stdout)
}

/// The modules that a module's `.modinfo` names as its dependencies.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|w| w == KEY) else {
        return Vec::new();
    };
    let value = &module[at + KEY.len()..];
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    let value = String::from_utf8_lossy(&value[..end]);
    let names = value.split(',').filter(|n| !n.is_empty());
    names.map(|n| n.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_is_chosen_by_its_numbers() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.12.9+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12.200+deb12-cloud-amd64-unsigned",
        ];
        let names = names.map(str::to_owned);
        assert_eq!(
            newest(&names, "6.1"),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(
            newest(&names, "6.12"),
            Some("linux-image-6.12.117+deb12-cloud-amd64")
        );
        assert_eq!(newest(&names, "6.13"), None);
    }

    #[test]
    fn dependencies_stand_in_the_modules_own_section() {
        let module = b"\x7fELF\0license=GPL\0depends=udp_tunnel,ip6-udp-tunnel\0name=vxlan\0";
        assert_eq!(depends(module), ["udp_tunnel", "ip6_udp_tunnel"]);
        assert!(depends(b"\0depends=\0name=veth\0").is_empty());
        assert!(depends(b"").is_empty());
    }

    #[test]
    fn a_built_in_module_is_recognised_however_it_is_written() {
        let list = "kernel/net/sched/cls_bpf.ko\nkernel/net/ipv4/ip-tunnel.ko\n";
        assert!(is_builtin(list, "cls_bpf") && is_builtin(list, "ip_tunnel"));
        assert!(!is_builtin(list, "bpf"));
        assert_eq!(stem("veth.ko.xz").as_deref(), Some("veth"));
    }
}
