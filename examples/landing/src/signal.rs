//! Waiting for the signal to end.
//!
//! The first process of a container gets no default action for SIGTERM, so a program that does not
//! ask for it is killed only after the pod's grace period.
#![allow(unsafe_code)] // The standard library has no signals, and the image should have no other.

use std::ffi::c_int;

const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;
const SIG_BLOCK: c_int = 0;

/// glibc's `sigset_t`: 1024 bits.
#[repr(C)]
struct SignalSet([u64; 16]);

unsafe extern "C" {
    fn sigemptyset(set: *mut SignalSet) -> c_int;
    fn sigaddset(set: *mut SignalSet, signal: c_int) -> c_int;
    fn pthread_sigmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn sigwait(set: *const SignalSet, signal: *mut c_int) -> c_int;
}

/// The signals that ask a program to end, held back from this thread and those it starts.
pub(crate) struct Termination(SignalSet);

impl Termination {
    /// Holds the signals back; to be called before other threads are started.
    pub(crate) fn hold() -> Self {
        let mut set = SignalSet([0; 16]);
        // SAFETY: `set` is as large as the C library's type and lives throughout the calls.
        unsafe {
            sigemptyset(&raw mut set);
            sigaddset(&raw mut set, SIGTERM);
            sigaddset(&raw mut set, SIGINT);
            pthread_sigmask(SIG_BLOCK, &raw const set, std::ptr::null_mut());
        }
        Self(set)
    }

    /// Waits until one arrives.
    pub(crate) fn wait(&self) {
        let mut signal = 0;
        // SAFETY: both pointers are to live values of the right types.
        unsafe { sigwait(&raw const self.0, &raw mut signal) };
    }
}
