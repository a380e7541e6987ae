//! What this machine has: CPUs, memory, disk, kernel and system.

use std::path::Path;

use crate::pods::fields::Allocatable;

/// Facts that don't change while the daemon runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that the scheduler of the kernel uses.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// The system's pretty name.
    pub os_image: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// Identity of the machine's firmware; the machine id where there is none.
    pub system_uuid: String,
    /// Changes with every boot.
    pub boot_id: String,
}

impl Machine {
    /// Reads `/proc` and `/etc`; what is missing is empty.
    pub fn read() -> Self {
        let text = |path: &str| {
            std::fs::read_to_string(path)
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        let machine_id = text("/etc/machine-id");
        let uuid = text("/sys/class/dmi/id/product_uuid");
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory_total(&text("/proc/meminfo")),
            kernel: text("/proc/sys/kernel/osrelease"),
            os_image: os_image(&text("/etc/os-release")),
            system_uuid: if uuid.is_empty() {
                machine_id.clone()
            } else {
                uuid
            },
            machine_id,
            boot_id: text("/proc/sys/kernel/random/boot_id"),
        }
    }
}

/// What pods may use of this machine: all of it.
pub fn allocatable() -> Allocatable {
    let machine = Machine::read();
    Allocatable {
        milli_cpu: i64::try_from(machine.cpus).unwrap_or(1) * 1000,
        memory: i64::try_from(machine.memory).unwrap_or(i64::MAX),
    }
}

/// Bytes; a table without the line reads as 0.
fn memory_total(meminfo: &str) -> u64 {
    field(meminfo, "MemTotal:") * 1024
}

/// Bytes that could be given out, and bytes in all.
pub fn memory_available(meminfo: &str) -> (u64, u64) {
    (
        field(meminfo, "MemAvailable:") * 1024,
        memory_total(meminfo),
    )
}

fn field(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

fn os_image(release: &str) -> String {
    let line = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("Linux").trim_matches('"').to_owned()
}

/// Free and total bytes of the file system that holds `path`.
pub fn disk(path: &Path) -> Option<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let size = stat.fragment_size();
    Some((stat.blocks_available() * size, stat.blocks() * size))
}

/// Threads and processes that exist, and how many may.
pub fn pids() -> (u64, u64) {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let limit = text("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(0);
    (running(&text("/proc/loadavg")), limit)
}

/// The total in the fourth field of `/proc/loadavg` (proc(5)): `RUNNABLE/TOTAL`.
fn running(loadavg: &str) -> u64 {
    let field = loadavg
        .split(' ')
        .nth(3)
        .and_then(|field| field.split('/').nth(1));
    field.and_then(|total| total.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_system_are_read() {
        let table = "MemTotal:        2048 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(memory_available(table), (1 << 20, 2 << 20));
        assert_eq!(os_image("ID=x\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
        assert_eq!(os_image(""), "Linux");
        assert_eq!(running("0.1 0.2 0.3 2/345 6789"), 345);
    }

    #[test]
    fn this_machine_has_something() {
        let machine = Machine::read();
        assert!(machine.cpus > 0 && machine.memory > 0 && !machine.kernel.is_empty());
        assert!(disk(Path::new("/")).is_some_and(|(_, total)| total > 0));
    }
}
