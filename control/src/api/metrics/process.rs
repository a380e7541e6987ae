//! What the kernel knows about this process.

use super::page::Page;

/// Ticks of a second in `/proc/self/stat`: what Linux shows on every architecture.
const TICKS: f64 = 100.0;

/// Writes what can be read; what can't is left out.
pub(super) fn write(page: &mut Page) {
    if let Some(status) = read("/proc/self/status") {
        for (field, name, help) in [
            ("VmRSS:", "process_resident_memory_bytes", "Memory in use."),
            (
                "VmSize:",
                "process_virtual_memory_bytes",
                "Address space in use.",
            ),
        ] {
            if let Some(kib) = field_of(&status, field) {
                page.alone(name, "gauge", help, kib * 1024);
            }
        }
    }
    if let Some(ticks) = read("/proc/self/stat").as_deref().and_then(ticks) {
        page.alone(
            "process_cpu_seconds_total",
            "counter",
            "Processor time of the process and the kernel for it.",
            ticks as f64 / TICKS,
        );
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // The directory is itself open while it is read.
        let open = open.count().saturating_sub(1);
        page.alone("process_open_fds", "gauge", "Open file descriptors.", open);
    }
    let limits = read("/proc/self/limits");
    if let Some(most) = limits.as_deref().and_then(most_files) {
        page.alone(
            "process_max_fds",
            "gauge",
            "File descriptors that may be open.",
            most,
        );
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn field_of(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// User and kernel time: the 14th and 15th field, counted behind the name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn most_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 1 0 9 1 1";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(
            most_files("Max open files            1024                 4096   files"),
            Some(1024)
        );
        assert_eq!(field_of("Name:\tx\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        let mut page = Page::default();
        write(&mut page);
        let page = page.into_text();
        for name in [
            "resident_memory_bytes",
            "cpu_seconds_total",
            "open_fds",
            "max_fds",
        ] {
            assert!(
                page.contains(&format!("\nprocess_{name} ")),
                "{name}: {page}"
            );
        }
    }
}
