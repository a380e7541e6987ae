//! The ring of events, read without polling.
#![allow(unsafe_code, reason = "tokio asks for a promise about the descriptor")]

use std::fmt;
use std::io;

use aya::maps::{Map, MapData, RingBuf};
use naru_ebpf_common::{Event, names};
use tokio::io::unix::AsyncFd;
use zerocopy::FromBytes;

use super::error::DatapathError;
use super::pins::Pins;

/// The reading end of the ring.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let failed = DatapathError::map(names::EVENTS, "open");
        let path = pins.map(names::EVENTS);
        let ring = MapData::from_pin(&path)
            .map(Map::RingBuf)
            .and_then(RingBuf::try_from);
        let ring = ring.map_err(failed)?;
        // SAFETY: `RingBuf` owns its descriptor, returns the same one each time it is asked, and
        // closes it only when dropped, which `AsyncFd` does after its own deregistration.
        let ring = unsafe { AsyncFd::register(ring) }.map_err(|error| error.into_parts().1);
        Ok(Self {
            ring: ring.map_err(DatapathError::path("wait for", path))?,
        })
    }

    /// Waits until there are events and hands each to `take`.
    ///
    /// # Errors
    /// When the descriptor cannot be waited for any more.
    pub async fn read(&mut self, mut take: impl FnMut(Event)) -> io::Result<()> {
        let mut guard = self.ring.readable_mut().await?;
        drain(guard.get_inner_mut(), &mut take);
        guard.clear_ready();
        Ok(())
    }

    /// Hands over what is there without waiting: events that do not wake the reader.
    pub fn drain(&mut self, mut take: impl FnMut(Event)) {
        drain(self.ring.get_mut(), &mut take);
    }
}

fn drain(ring: &mut RingBuf<MapData>, take: &mut impl FnMut(Event)) {
    while let Some(item) = ring.next() {
        // A newer program may send longer events; a shorter one is no event.
        if let Ok((event, _)) = Event::read_from_prefix(&item) {
            take(event);
        }
    }
}
