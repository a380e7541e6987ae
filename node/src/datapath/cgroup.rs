//! The programs of the node's cgroup: hooks on a socket's address, and on the socket itself.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use aya::programs::cgroup_sock_addr::CgroupSockAddrAttachType as AddressHook;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{
    CgroupAttachMode, CgroupSock, CgroupSockAddr, CgroupSockAttachType as SocketHook, ProgramError,
    ProgramFd, ProgramInfo,
};

/// Where in the life of a socket a program runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hook {
    /// An operation that names an address.
    Address(AddressHook),
    /// The socket's own beginning or end.
    Socket(SocketHook),
}

impl Hook {
    /// The hook of a program, none for a tc program.
    pub(super) fn of(program: &str) -> Option<Self> {
        Some(Self::Address(match program {
            "connect4" => AddressHook::Connect4,
            "connect6" => AddressHook::Connect6,
            "sendmsg4" => AddressHook::UDPSendMsg4,
            "sendmsg6" => AddressHook::UDPSendMsg6,
            "recvmsg4" => AddressHook::UDPRecvMsg4,
            "recvmsg6" => AddressHook::UDPRecvMsg6,
            "getpeername4" => AddressHook::GetPeerName4,
            "getpeername6" => AddressHook::GetPeerName6,
            "sock_release" => return Some(Self::Socket(SocketHook::SockRelease)),
            _ => return None,
        }))
    }
}

/// A loaded program.
#[derive(Debug)]
pub(super) enum CgroupProgram {
    Address(CgroupSockAddr),
    Socket(CgroupSock),
}

impl CgroupProgram {
    pub(super) fn from_pin(pin: &Path, hook: Hook) -> Result<Self, ProgramError> {
        Ok(match hook {
            Hook::Address(hook) => Self::Address(CgroupSockAddr::from_pin(pin, hook)?),
            Hook::Socket(hook) => Self::Socket(CgroupSock::from_pin(pin, hook)?),
        })
    }

    pub(super) fn fd(&self) -> Result<&ProgramFd, ProgramError> {
        match self {
            Self::Address(program) => program.fd(),
            Self::Socket(program) => program.fd(),
        }
    }

    pub(super) fn info(&self) -> Result<ProgramInfo, ProgramError> {
        match self {
            Self::Address(program) => program.info(),
            Self::Socket(program) => program.info(),
        }
    }

    /// A link to `cgroup`, for the caller to keep.
    pub(super) fn attach(&mut self, cgroup: &File) -> Result<FdLink, AttachError> {
        let (cgroup, mode) = (cgroup.as_fd(), CgroupAttachMode::Single);
        Ok(match self {
            Self::Address(program) => {
                let link = program.attach(cgroup, mode)?;
                program.take_link(link)?.try_into()?
            }
            Self::Socket(program) => {
                let link = program.attach(cgroup, mode)?;
                program.take_link(link)?.try_into()?
            }
        })
    }
}

/// Why a program is not attached.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttachError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Link(#[from] LinkError),
}

#[cfg(test)]
mod tests {
    use naru_ebpf_common::names;

    use super::*;

    #[test]
    fn every_cgroup_program_has_a_hook_and_no_tc_program_has_one() {
        assert!(names::CGROUP_PROGRAMS.iter().all(|n| Hook::of(n).is_some()));
        assert!(names::TC_PROGRAMS.iter().all(|n| Hook::of(n).is_none()));
    }
}
