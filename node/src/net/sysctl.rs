//! Kernel parameters of a network namespace. Files under `/proc/sys/net` speak of the namespace
//! of the thread that opens them.

use std::path::PathBuf;

use super::netlink::NetError;

/// Reads `net/KEY`, with the line's end.
///
/// # Errors
/// When the parameter does not exist.
pub(super) fn get(key: &str) -> Result<String, NetError> {
    let path = PathBuf::from("/proc/sys/net").join(key);
    std::fs::read_to_string(&path).map_err(|source| NetError::Sysctl { path, source })
}

/// Sets `net/KEY`, for instance `ipv4/ip_forward`, unless it has the value already.
///
/// # Errors
/// When the parameter exists and cannot be written.
pub(super) fn set(key: &str, value: &str) -> Result<(), NetError> {
    let path = PathBuf::from("/proc/sys/net").join(key);
    if std::fs::read_to_string(&path).is_ok_and(|present| present.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|source| NetError::Sysctl { path, source })
}

/// As [`set`], where a kernel without the parameter needs nothing (IPv6 switched off).
///
/// # Errors
/// When the parameter exists and cannot be written.
pub(super) fn set_if_present(key: &str, value: &str) -> Result<(), NetError> {
    if PathBuf::from("/proc/sys/net").join(key).exists() {
        set(key, value)
    } else {
        Ok(())
    }
}

/// Either no IPv6 at all, or nothing of it but what is configured here: no address of the link's
/// own, no questions for routers, which would wake both ends for nothing.
///
/// # Errors
/// When a parameter exists and cannot be written.
pub(super) fn prepare_v6(link: &str, wanted: bool) -> Result<(), NetError> {
    let set = |key, value| set_if_present(&format!("ipv6/conf/{link}/{key}"), value);
    if !wanted {
        return set("disable_ipv6", "1");
    }
    set("addr_gen_mode", "1")?;
    set("accept_ra", "0")?;
    set("disable_ipv6", "0")
}
