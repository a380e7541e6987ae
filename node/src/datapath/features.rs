//! What the kernel can do, by name, with the first version that can.

use aya::maps::MapType;
use aya::programs::{ProgramType, SchedClassifier, TcAttachType};
use aya::sys::{is_map_supported, is_program_supported};

use super::error::DatapathError;

/// `SO_NETNS_COOKIE`, by which sockets are known as a pod's.
const COOKIES: (u32, u32) = (5, 14);

/// XDP programs for frames in several buffers, which cannot be probed without a program either.
const FRAGS: (u32, u32) = (5, 18);

/// `bpf_redirect_peer` and `bpf_redirect_neigh`, which cannot be probed without a program.
const REDIRECT: (u32, u32) = (5, 10);

/// The kernel, as far as the data path cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// Version, such as `6.18.44`.
    pub kernel: String,
    /// tc programs attach by tcx links (6.6); without them by clsact filters.
    pub tcx: bool,
    /// XDP programs take frames that lie in several buffers (5.18); without that there are none.
    pub wire: bool,
}

impl Features {
    /// Asks the kernel.
    ///
    /// # Errors
    /// [`DatapathError::Kernel`] with everything that is missing. A probe that itself fails counts
    /// as present: loading will tell.
    pub fn probe() -> Result<Self, DatapathError> {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel = kernel.trim().to_owned();
        let lacking = lacking(&[
            (
                "redirect to peers and neighbours",
                at_least(&kernel, REDIRECT),
                "5.10",
            ),
            (
                "cookies of network namespaces",
                at_least(&kernel, COOKIES),
                "5.14",
            ),
            ("the BPF ring buffer", map(MapType::RingBuf), "5.8"),
            ("BPF LPM tries", map(MapType::LpmTrie), "4.11"),
            ("BPF LRU hash maps", map(MapType::LruHash), "4.10"),
            ("tc programs", program(ProgramType::SchedClassifier), "4.1"),
            (
                "cgroup socket address programs",
                program(ProgramType::CgroupSockAddr),
                "4.17",
            ),
        ]);
        if !lacking.is_empty() {
            return Err(DatapathError::Kernel { kernel, lacking });
        }
        // `lo` exists in every namespace; kernels before 6.6 do not know the question.
        let tcx = SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok();
        let wire = at_least(&kernel, FRAGS);
        Ok(Self { kernel, tcx, wire })
    }

    /// What is degraded on this kernel, one sentence each.
    #[must_use]
    pub fn degraded(&self) -> Vec<String> {
        let mut degraded = Vec::new();
        if !self.tcx {
            degraded.push("no tcx (Linux 6.6): programs are attached by clsact filters".to_owned());
        }
        degraded
    }
}

fn lacking(probes: &[(&str, bool, &str)]) -> Vec<String> {
    let missing = probes.iter().filter(|(_, present, _)| !present);
    missing
        .map(|(name, _, since)| format!("{name} (Linux {since})"))
        .collect()
}

/// Whether a release such as `6.1.0-18-amd64` is that version or a later one. What cannot be read
/// counts as later.
fn at_least(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= version,
        _ => true,
    }
}

fn map(kind: MapType) -> bool {
    is_map_supported(kind).unwrap_or(true)
}

fn program(kind: ProgramType) -> bool {
    is_program_supported(kind).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert!(at_least("6.1.0-18-amd64", (5, 10)));
        assert!(at_least("5.10.0", (5, 10)));
        assert!(!at_least("5.9.16", (5, 10)));
        assert!(at_least("unreadable", (5, 10)));
    }

    #[test]
    fn everything_missing_is_named_with_its_version() {
        let all = lacking(&[
            ("a", true, "1.0"),
            ("b", false, "6.6"),
            ("c", false, "5.10"),
        ]);
        assert_eq!(all, ["b (Linux 6.6)", "c (Linux 5.10)"]);
    }
}
