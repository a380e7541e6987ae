//! What a machine needs besides cargo: Debian packages, each with its reason.
//!
//! Two ways: *installed*, for programs and libraries that are harmless on any machine; *unpacked*
//! below `target/tools`, for packages that would start a service, replace a program of the user's,
//! or of which one file is wanted. A machine that has everything is recognised without apt.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use naru_tests::support::layout::target_dir;
use naru_tests::support::run;

use crate::progress::{detail, step};

/// A package that is installed when its witness is absent.
struct Installed {
    package: &'static str,
    /// A program on the path, or an absolute path that must exist.
    witness: &'static str,
    why: &'static str,
}

/// A package of which one file is unpacked.
struct Unpacked {
    package: &'static str,
    file: &'static str,
    /// Name below `target/tools/bin`.
    tool: &'static str,
    why: &'static str,
}

const INSTALLED: &[Installed] = &[
    Installed {
        package: "build-essential",
        witness: "cc",
        why: "links programs and builds the C parts of the TLS library",
    },
    Installed {
        package: "containerd",
        witness: "containerd",
        why: "runs the containers of every node",
    },
    Installed {
        package: "runc",
        witness: "runc",
        why: "starts a container for containerd",
    },
    Installed {
        package: "iproute2",
        witness: "ip",
        why: "makes namespaces and links of the development cluster",
    },
    Installed {
        package: "procps",
        witness: "sysctl",
        why: "sets kernel parameters in those namespaces",
    },
    Installed {
        package: "dnsmasq-base",
        witness: "dnsmasq",
        why: "is the name server of the world outside the cluster",
    },
    Installed {
        package: "curl",
        witness: "curl",
        why: "is the client of the ingress in tests",
    },
    Installed {
        package: "bind9-dnsutils",
        witness: "dig",
        why: "asks the cluster's DNS in tests",
    },
    Installed {
        package: "nftables",
        witness: "nft",
        why: "lets a test see that no node has a packet filter rule",
    },
    Installed {
        package: "python3-venv",
        // The interpreter alone doesn't tell whether it can make environments.
        witness: "/var/lib/dpkg/info/python3-venv.list",
        why: "runs the clients of the API that are written in Python",
    },
];

/// Only for `vm`.
const EMULATOR: &[Installed] = &[Installed {
    package: "qemu-system-x86",
    witness: "qemu-system-x86_64",
    why: "boots other kernels",
}];

/// Only for `bench`.
const PEERS: &[Installed] = &[Installed {
    package: "iptables",
    witness: "iptables-restore",
    why: "loads the rules that Services are measured against",
}];

const UNPACKED: &[Unpacked] = &[
    Unpacked {
        package: "busybox-static",
        file: "bin/busybox",
        tool: "busybox",
        why: "gives the test images a shell",
    },
    Unpacked {
        package: "docker-registry",
        file: "usr/bin/docker-registry",
        tool: "docker-registry",
        why: "is the image registry outside the cluster",
    },
    Unpacked {
        package: "kubernetes-client",
        file: "usr/bin/kubectl",
        tool: "kubectl-1.20",
        why: "is the oldest kubectl that must work",
    },
    // Not installed, because its package starts a service.
    Unpacked {
        package: "etcd-server",
        file: "usr/bin/etcd",
        tool: "etcd",
        why: "is the store that several control planes share, and the peer of the embedded one",
    },
];

/// Makes sure that every package is there.
///
/// # Errors
/// When something is missing and apt can't get it.
pub(crate) fn ensure_all() -> Result<()> {
    ensure_installed(INSTALLED)?;
    ensure_unpacked(UNPACKED)
}

/// Makes sure that another kernel can be booted, and returns the path of a static busybox.
///
/// # Errors
/// As [`ensure_all`].
pub(crate) fn ensure_emulator() -> Result<PathBuf> {
    ensure_installed(EMULATOR)?;
    let busybox = UNPACKED.iter().filter(|p| p.tool == "busybox");
    ensure_unpacked(busybox)?;
    let busybox = tools_dir().join("bin/busybox");
    fs::canonicalize(&busybox).with_context(|| busybox.display().to_string())
}

/// Makes sure that what is measured against is there.
///
/// # Errors
/// As [`ensure_all`].
pub(crate) fn ensure_peers() -> Result<()> {
    ensure_installed(PEERS)
}

fn ensure_installed(packages: &[Installed]) -> Result<()> {
    let missing: Vec<_> = packages.iter().filter(|p| !present(p.witness)).collect();
    for package in &missing {
        detail(&format!("{}: {}", package.package, package.why));
    }
    install(&missing.iter().map(|p| p.package).collect::<Vec<_>>())
}

fn ensure_unpacked(packages: impl IntoIterator<Item = &'static Unpacked>) -> Result<()> {
    let bin = tools_dir().join("bin");
    let mut missing = packages.into_iter().filter(|p| !bin.join(p.tool).exists());
    missing.try_for_each(unpack)
}

/// Where an unpacked program is.
pub(crate) fn unpacked(tool: &str) -> PathBuf {
    tools_dir().join("bin").join(tool)
}

/// Installs packages without asking anything; nothing for an empty list.
///
/// # Errors
/// When apt fails or the user is not root.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    step(&format!("installing {}", packages.join(" ")));
    let fixed = [
        "install",
        "--yes",
        "--no-install-recommends",
        "-o",
        "Dpkg::Options::=--force-confold",
    ];
    update_once()?;
    let args: Vec<_> = fixed.iter().chain(packages).copied().collect();
    apt(&args)
}

/// Whether a program is on the path, or a file exists.
pub(crate) fn present(witness: &str) -> bool {
    if witness.starts_with('/') {
        return Path::new(witness).exists();
    }
    // A user's path may lack the directories of the administrator's programs.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .any(|dir| dir.join(witness).is_file())
}

fn unpack(wanted: &Unpacked) -> Result<()> {
    detail(&format!(
        "{} (unpacked, not installed): {}",
        wanted.package, wanted.why
    ));
    let (root, bin) = (tools_dir().join(wanted.package), tools_dir().join("bin"));
    fs::create_dir_all(&bin)?;
    download(wanted.package, &root)?;
    let file = root.join(wanted.file);
    ensure!(file.is_file(), "{} has no {}", wanted.package, wanted.file);
    symlink(&file, bin.join(wanted.tool)).with_context(|| wanted.tool.to_owned())
}

/// Downloads a package and unpacks it into `root`, without installing it.
///
/// # Errors
/// When apt can't get it.
pub(crate) fn download(package: &str, root: &Path) -> Result<()> {
    fs::create_dir_all(root).with_context(|| root.display().to_string())?;
    update_once()?;
    let mut download = Command::new("apt-get");
    // apt drops privileges for downloads, and its user may not write here.
    download
        .args(["download", "-o", "APT::Sandbox::User=root", package])
        .current_dir(root);
    run::checked(&mut download).with_context(|| format!("download {package}"))?;
    extract(root)
}

/// Names of the packages that match a regular expression, by lists that are refreshed when none does.
///
/// # Errors
/// When apt fails.
pub(crate) fn search(pattern: &str) -> Result<Vec<String>> {
    let ask = || run::run("apt-cache", &["search", "--names-only", pattern]);
    let mut found = ask()?;
    if found.is_empty() {
        update_once()?;
        found = ask()?;
    }
    let names = found.lines().filter_map(|l| l.split_whitespace().next());
    Ok(names.map(str::to_owned).collect())
}

fn extract(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root)?.flatten() {
        if entry.path().extension().is_some_and(|e| e == "deb") {
            run::run(
                "dpkg",
                &["-x".as_ref(), entry.path().as_os_str(), root.as_os_str()],
            )?;
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Refreshes the package lists, once in the life of this process.
fn update_once() -> Result<()> {
    static DONE: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    if DONE.get().is_some() {
        return Ok(());
    }
    ensure!(
        nix::unistd::geteuid().is_root(),
        "packages are missing, and only root may install them"
    );
    apt(&["update", "--quiet=2"])?;
    DONE.get_or_init(|| ());
    Ok(())
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    let status = command
        .stdout(std::io::stderr())
        .status()
        .context("apt-get")?;
    ensure!(status.success(), "apt-get {}: {status}", args.join(" "));
    Ok(())
}

fn tools_dir() -> PathBuf {
    target_dir().join("tools")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_the_path_is_found_and_a_missing_one_is_not() {
        assert!(present("sh"));
        assert!(!present("no-such-program-anywhere"));
        assert!(present("/proc/self/stat"));
    }

    #[test]
    fn every_package_has_its_reason() {
        let installed = INSTALLED.iter().chain(EMULATOR);
        assert!(installed.into_iter().all(|p| !p.why.is_empty()));
        assert!(
            UNPACKED
                .iter()
                .all(|p| !p.why.is_empty() && !p.file.starts_with('/'))
        );
    }
}
