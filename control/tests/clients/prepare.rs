//! Gets a client from its registry, once per list of versions, into the target directory.
//!
//! What is made is kept under a name that holds a fingerprint of the list, and marked when it is
//! whole. A registry that can't be reached is a reason to skip; anything else that goes wrong is a
//! failure.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::client::Tool;

/// Whether a script can run here.
pub(crate) enum Ready {
    /// So it is started; its arguments are the claims.
    Yes(Command),
    /// It can't, and why.
    No(String),
}

/// The oldest node that the client runs on.
const NODE: u32 = 20;
/// What pip, npm and cargo say when a registry was not reached, or gave no package.
const UNREACHED: &[&str] = &[
    "Cannot connect to proxy",
    "Connection refused",
    "Connection reset",
    "Could not connect to server",
    "Could not fetch URL",
    "Could not resolve host",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ENETUNREACH",
    "ENOTFOUND",
    "ETIMEDOUT",
    "Failed to establish a new connection",
    "HTTP error",
    "HTTP response code",
    "Name or service not known",
    "Network is unreachable",
    "No matching distribution found",
    "ProxyError",
    "Read timed out",
    "ReadTimeoutError",
    "SSLError",
    "Temporary failure in name resolution",
    "Timeout was reached",
    "failed to download",
    "npm error code E4",
    "npm error code E5",
    "npm error network",
    "spurious network error",
];

/// Makes ready what the script needs.
///
/// # Errors
/// What an installer said that failed with its registry in reach.
pub(crate) fn ready(tool: Tool, script: &Path) -> Result<Ready, String> {
    match tool {
        Tool::Python => python(script),
        Tool::Node => node(script),
        Tool::Cargo => cargo(script),
    }
}

fn python(script: &Path) -> Result<Ready, String> {
    if !runs(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        return Ok(Ready::No(
            "this machine has no python3 with venv".to_owned(),
        ));
    }
    let list = checkout().join("tests/clients/requirements.txt");
    let home = home("python", &list);
    let python = home.join("bin/python");
    let made = made(&home, || {
        said(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        said(
            pip.args(["--retries", "1", "--no-deps", "--requirement"])
                .arg(&list),
        )
    });
    if let Err(why) = made {
        return unreached(why);
    }
    let mut command = Command::new(python);
    let shared = checkout().join("tests/clients/shared");
    command.arg(script).env("PYTHONPATH", shared);
    // Lines appear when they are printed, and no caches appear beside the scripts.
    command
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(Ready::Yes(command))
}

fn node(script: &Path) -> Result<Ready, String> {
    let Some(version) = version(Command::new("node").arg("--version")) else {
        return Ok(Ready::No("this machine has no node".to_owned()));
    };
    if version < NODE {
        return Ok(Ready::No(format!("node {version} is older than {NODE}")));
    }
    if !runs(Command::new("npm").arg("--version")) {
        return Ok(Ready::No("this machine has no npm".to_owned()));
    }
    let list = beside(script, "package-lock.json");
    let home = home("node", &list);
    let made = made(&home, || {
        for name in ["package.json", "package-lock.json"] {
            copied(&beside(script, name), &home.join(name))?;
        }
        let mut npm = Command::new("npm");
        npm.args([
            "ci",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--fetch-retries=1",
        ]);
        said(npm.current_dir(&home))
    });
    if let Err(why) = made {
        return unreached(why);
    }
    // Modules are looked for beside the script that imports them.
    for name in ["claims.mjs", "proof.mjs"] {
        copied(&beside(script, name), &home.join(name))?;
    }
    let mut command = Command::new("node");
    command.arg(home.join("proof.mjs"));
    Ok(Ready::Yes(command))
}

/// A package of its own, built where cargo keeps what is still fresh.
fn cargo(script: &Path) -> Result<Ready, String> {
    let package = script.ancestors().nth(2).expect("DIR/src/SCRIPT");
    let target = target_dir().join("tools/clients/cargo");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .args(["build", "--quiet", "--locked"])
        .current_dir(package);
    match said(build.env("CARGO_TARGET_DIR", &target)) {
        Ok(()) => Ok(Ready::Yes(Command::new(target.join("debug/naru-proof")))),
        Err(why) => unreached(why),
    }
}

/// The major version that a program prints as `v20.1.2`, none if there is no such program.
fn version(command: &mut Command) -> Option<u32> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim_start_matches('v').split('.').next()?.parse().ok()
}

fn copied(from: &Path, to: &Path) -> Result<(), String> {
    let done = std::fs::copy(from, to).map(drop);
    done.map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

/// A failure that is no fault of ours is a reason to skip.
fn unreached(why: String) -> Result<Ready, String> {
    match UNREACHED.iter().find(|sign| why.contains(*sign)) {
        Some(sign) => Ok(Ready::No(format!("its registry is out of reach: {sign}"))),
        None => Err(why),
    }
}

/// Makes `home` if it isn't whole yet.
fn made(home: &Path, make: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let whole = home.join(".whole");
    if whole.exists() {
        return Ok(());
    }
    let _ = std::fs::remove_dir_all(home);
    std::fs::create_dir_all(home).map_err(|error| format!("{}: {error}", home.display()))?;
    make()?;
    std::fs::write(&whole, "").map_err(|error| format!("{}: {error}", whole.display()))
}

/// Where what `list` asks for is kept: another list, another place.
fn home(kind: &str, list: &Path) -> PathBuf {
    let text = std::fs::read(list).unwrap_or_else(|error| panic!("{}: {error}", list.display()));
    let print = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &text).simple();
    target_dir().join(format!("tools/clients/{kind}-{print}"))
}

fn beside(script: &Path, name: &str) -> PathBuf {
    script
        .parent()
        .expect("a script is in a directory")
        .join(name)
}

fn runs(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Runs a command, and returns what it said if it failed.
fn said(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let done = output.status.success();
    done.then_some(())
        .ok_or_else(|| format!("{command:?}: {}: {}", output.status, said.trim()))
}

/// The root of this checkout.
pub(crate) fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout().join("target"), PathBuf::from)
}
