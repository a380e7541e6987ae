//! Listening to a decision.

use naru_ebpf_common::{
    Addr, Backend, Endpoint, IpInfo, NatEntry, PolicyEntry, PolicyKey, Service, ServiceKey,
    TableSize,
};

use crate::Verdict;

/// One step of a decision. Values are copies: a trace outlives the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A local pod was found.
    Endpoint(Addr, Endpoint),
    /// No local pod has this address.
    NotLocal(Addr),
    /// The ipcache was asked; `IpInfo::WORLD` when it holds nothing.
    Identity(Addr, IpInfo),
    /// The flow is open already, and allowed under the present policy.
    Known,
    /// The flow is open, but was allowed under another policy revision.
    JudgeAgain,
    /// The flow is new.
    New,
    /// The node itself is one of the ends: no policy applies.
    Exempt,
    /// The pod is not isolated in this direction (`policy::INGRESS` or `EGRESS`).
    NotIsolated(u8),
    /// The policy entry that decided.
    Policy(PolicyKey, PolicyEntry),
    /// The pod is isolated and no entry matched; the key is the exact one.
    NoRule(PolicyKey),
    /// The destination is a service.
    Service(ServiceKey, Service),
    /// The client with this address keeps the backend that it had.
    Kept(Addr),
    /// A slot of the service's lookup table, which has this size, decides.
    Table(u32, TableSize),
    /// A backend was chosen.
    Backend(Backend),
    /// Addresses or ports change.
    Translated(NatEntry),
    /// The end.
    Verdict(Verdict),
}

/// Listens to steps. The kernel's listener is empty and compiles to nothing: steps are built by a
/// closure that it never calls.
pub trait Trace {
    /// A step was taken.
    #[inline(always)]
    fn step(&self, _step: impl FnOnce() -> Step) {}
}
