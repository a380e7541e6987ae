//! SPDY/3.1 as container runtimes speak it, the client's side: streams with headers, over any pipe.
//!
//! `frame` is the pure codec, `session` reads and writes. Header blocks of the other side are never
//! unpacked, as nothing that they could say is of use here, and ours are packed without being made
//! smaller, so no compressor lives in the process. There is no flow control by windows: the servers
//! in question (all built on one library) have none, and the pipe holds a fast side back.

mod frame;
mod session;

pub(super) use session::{Event, Receiver, Sender, join};

/// Frames, for those who play the other side.
#[cfg(test)]
pub(super) mod frames {
    pub(in super::super) use super::frame::{data_head, refuse};
}
