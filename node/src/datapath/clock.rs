//! The clock of the programs (`bpf_ktime_get_ns`).
#![allow(unsafe_code, reason = "std hides the value of the monotonic clock")]

use nix::libc;

/// Nanoseconds of the monotonic clock.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result; the clock exists on every Linux, so that the
    // call cannot fail, and its value is never negative.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_goes_on() {
        let before = super::monotonic_ns();
        assert!(before > 0);
        assert!(super::monotonic_ns() >= before);
    }
}
