//! Frames of SPDY/3.1: bytes to frames and back. Pure.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before every frame's content.
const HEAD: usize = 8;
/// A control frame that is longer is no frame of a sane server. Data frames may be of any length:
/// their content is handed on as it comes.
const MAX_CONTROL: usize = 64 << 10;
/// The version that stands in control frames.
const VERSION: u16 = 3;
/// Set in the flags of a stream's last frame.
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const HEADERS: u16 = 8;

/// What the other side says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// Content of a stream, or a part of it.
    Data {
        /// The stream.
        stream: u32,
        /// The content.
        bytes: Bytes,
        /// Nothing follows on this stream.
        last: bool,
    },
    /// The other side opens a stream.
    Opened(u32),
    /// The other side will send nothing more on this stream.
    Ended(u32),
    /// The other side wants the same frame back.
    Ping(u32),
    /// Nothing that matters here.
    Other,
}

/// Bytes that are no SPDY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// A control frame of another version.
    #[error("a control frame of version {0}, wanted is {VERSION}")]
    Version(u16),
    /// A control frame that is too long.
    #[error("a control frame of {0} bytes")]
    Long(usize),
    /// A control frame that ends before its fields do.
    #[error("a control frame of type {0} is too short")]
    Short(u16),
}

/// Takes frames from a buffer that fills up as bytes arrive.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The data frame whose content is not yet complete: stream, bytes to come, last.
    open: Option<(u32, usize, bool)>,
}

impl Decoder {
    /// The next frame, or none until more bytes have come. A data frame is handed out in pieces.
    ///
    /// # Errors
    /// Bytes that are no SPDY/3.1; the connection is of no use then.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if let Some((stream, left, last)) = self.open {
            return Ok(self.piece(buffer, stream, left, last));
        }
        if buffer.len() < HEAD {
            return Ok(None);
        }
        let (first, second) = (word(&buffer[..4]), word(&buffer[4..8]));
        let (flags, length) = ((second >> 24) as u8, (second & 0x00ff_ffff) as usize);
        let last = flags & FIN != 0;
        if first >> 31 == 0 {
            buffer.advance(HEAD);
            return Ok(self.piece(buffer, first, length, last));
        }
        let (version, kind) = ((first >> 16) as u16 & 0x7fff, first as u16);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if length > MAX_CONTROL {
            return Err(FrameError::Long(length));
        }
        if buffer.len() < HEAD + length {
            return Ok(None);
        }
        let frame = buffer.split_to(HEAD + length);
        control(kind, last, &frame[HEAD..]).map(Some)
    }

    /// What is there of a data frame's content; none while there is nothing.
    fn piece(
        &mut self,
        buffer: &mut BytesMut,
        stream: u32,
        left: usize,
        last: bool,
    ) -> Option<Frame> {
        let bytes = buffer.split_to(left.min(buffer.len())).freeze();
        let left = left - bytes.len();
        self.open = (left > 0).then_some((stream, left, last));
        let last = last && left == 0;
        let worth = left == 0 || !bytes.is_empty();
        worth.then_some(Frame::Data {
            stream,
            bytes,
            last,
        })
    }
}

fn control(kind: u16, last: bool, content: &[u8]) -> Result<Frame, FrameError> {
    let number = || {
        let bytes = content.get(..4).ok_or(FrameError::Short(kind))?;
        Ok(word(bytes) & 0x7fff_ffff)
    };
    Ok(match kind {
        SYN_STREAM => Frame::Opened(number()?),
        RST_STREAM => Frame::Ended(number()?),
        SYN_REPLY | HEADERS if last => Frame::Ended(number()?),
        PING => Frame::Ping(word(content.get(..4).ok_or(FrameError::Short(kind))?)),
        _ => Frame::Other,
    })
}

/// Four bytes, big endian.
fn word(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Frames to send. Header blocks share one compressed stream, which begins with the first of them.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    begun: bool,
}

impl Encoder {
    /// Opens `stream` with `headers`, whose names are in lower case; at most 60,000 bytes of them.
    pub(super) fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
        let block = self.packed(&names_and_values(headers));
        let mut frame = control_head(SYN_STREAM, 10 + block.len());
        frame.put_u32(stream);
        frame.put_u32(0); // no parent
        frame.put_u16(0); // no priority, no slot
        frame.extend_from_slice(&block);
        frame
    }

    /// `block` as a part of a zlib stream (RFC 1950): stored as it is, then an empty block, at
    /// which the reader hands out what it has.
    fn packed(&mut self, block: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(block.len() + 12);
        if !std::mem::replace(&mut self.begun, true) {
            packed.extend_from_slice(&[0x78, 0x01]);
        }
        for part in [block, &[]] {
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            packed.put_u8(0);
            packed.put_u16_le(length);
            packed.put_u16_le(!length);
            packed.extend_from_slice(&part[..usize::from(length)]);
        }
        packed
    }
}

fn names_and_values(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    block.put_u32(headers.len() as u32);
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        block.put_u32(text.len() as u32);
        block.extend_from_slice(text.as_bytes());
    }
    block
}

/// The head of a data frame with `length` bytes, less than 16 MiB, and of the last one of its stream.
pub(in super::super) fn data_head(stream: u32, length: usize, last: bool) -> [u8; HEAD] {
    let second = u32::from(if last { FIN } else { 0 }) << 24 | (length as u32 & 0x00ff_ffff);
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&(stream & 0x7fff_ffff).to_be_bytes());
    head[4..].copy_from_slice(&second.to_be_bytes());
    head
}

/// The answer to a ping.
pub(super) fn pong(number: u32) -> Vec<u8> {
    let mut frame = control_head(PING, 4);
    frame.put_u32(number);
    frame
}

/// Refuses a stream that the other side has opened.
pub(in super::super) fn refuse(stream: u32) -> Vec<u8> {
    const REFUSED: u32 = 3;
    let mut frame = control_head(RST_STREAM, 8);
    frame.put_u32(stream);
    frame.put_u32(REFUSED);
    frame
}

fn control_head(kind: u16, length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD + length);
    head.put_u16(0x8000 | VERSION);
    head.put_u16(kind);
    head.put_u32(length as u32);
    head
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::from(bytes));
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next(&mut buffer)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn data(stream: u32, bytes: &[u8], last: bool) -> Vec<u8> {
        [&data_head(stream, bytes.len(), last)[..], bytes].concat()
    }

    #[test]
    fn headers_are_a_zlib_stream_that_any_reader_unpacks() {
        let mut encoder = Encoder::default();
        let frames = [
            encoder.open(1, &[("streamtype", "error")]),
            encoder.open(3, &[("streamtype", "data"), ("port", "80")]),
        ];
        assert_eq!(
            all(&frames.concat()).unwrap(),
            [Frame::Opened(1), Frame::Opened(3)]
        );
        let packed: Vec<u8> = frames
            .iter()
            .flat_map(|frame| frame[18..].to_vec())
            .collect();
        let mut plain = vec![0; 4 + 4 + 10 + 4 + 5];
        let mut reader = flate2::read::ZlibDecoder::new(&packed[..]);
        reader.read_exact(&mut plain).unwrap();
        assert_eq!(&plain[..18], b"\0\0\0\x01\0\0\0\x0astreamtype");
        let mut second = [0; 4];
        reader.read_exact(&mut second).unwrap();
        assert_eq!(second, [0, 0, 0, 2]);
    }

    #[test]
    fn a_data_frame_is_handed_out_as_it_comes() {
        let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
        let bytes = data(5, b"hello", true);
        buffer.extend_from_slice(&bytes[..10]);
        let piece = |bytes: &'static [u8], last| Frame::Data {
            stream: 5,
            bytes: Bytes::from_static(bytes),
            last,
        };
        assert_eq!(decoder.next(&mut buffer), Ok(Some(piece(b"he", false))));
        assert_eq!(decoder.next(&mut buffer), Ok(None));
        buffer.extend_from_slice(&bytes[10..]);
        assert_eq!(decoder.next(&mut buffer), Ok(Some(piece(b"llo", true))));
    }

    #[test]
    fn the_end_of_a_stream_has_three_spellings() {
        let mut reply = control_head(SYN_REPLY, 4);
        reply[4] = FIN;
        reply.put_u32(7);
        let bytes = [refuse(1), data(3, b"", true), reply, pong(9)].concat();
        let end = Frame::Data {
            stream: 3,
            bytes: Bytes::new(),
            last: true,
        };
        let wanted = [Frame::Ended(1), end, Frame::Ended(7), Frame::Ping(9)];
        assert_eq!(all(&bytes).unwrap(), wanted);
    }

    #[test]
    fn wrong_bytes_are_named() {
        assert_eq!(all(b"\x80\x02\0\x01\0\0\0\0"), Err(FrameError::Version(2)));
        assert_eq!(
            all(b"\x80\x03\0\x01\0\xff\0\0"),
            Err(FrameError::Long(0xff_0000))
        );
        assert_eq!(
            all(b"\x80\x03\0\x01\0\0\0\x02\0\0"),
            Err(FrameError::Short(1))
        );
        // The answer of a server that speaks something else.
        assert_eq!(
            all(b"HTTP/1.1 400").unwrap().len(),
            1,
            "a piece of a long data frame"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_come_to_an_end(bytes: Vec<u8>, cut in 0usize..64) {
            let whole = all(&bytes);
            let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
            let (mut ends, mut wrong) = (0, None);
            'all: for part in bytes.chunks(cut + 1) {
                buffer.extend_from_slice(part);
                loop {
                    match decoder.next(&mut buffer) {
                        Ok(Some(Frame::Data { last, .. })) => ends += usize::from(last),
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(error) => {
                            wrong = Some(error);
                            break 'all;
                        }
                    }
                }
            }
            prop_assert_eq!(whole.as_ref().err().copied(), wrong);
            if let Ok(frames) = whole {
                let is_end = |frame: &&Frame| matches!(frame, Frame::Data { last: true, .. });
                prop_assert_eq!(frames.iter().filter(is_end).count(), ends);
            }
        }
    }
}
