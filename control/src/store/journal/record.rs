//! One batch as bytes, and back.
//!
//! `magic u32 | length u32 | crc u32 | body`, all little endian. The checksum covers the generation of
//! the segment and the body, so that what a segment held in an earlier life is never taken for what
//! it holds now. The body is `revision u64 | count u32`, and for each change `revision u64 | resource |
//! key | kind u8 | JSON`, texts with their length in front (u32).

use bytes::{Buf, Bytes};

use super::super::backend::RowChange;

/// `NRec`.
const MAGIC: u32 = 0x6365_524e;
/// Bytes in front of a body.
const HEAD: usize = 12;

/// What one commit made durable.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// The newest revision after it.
    pub(super) revision: u64,
    /// What changed.
    pub(super) changes: Vec<RowChange>,
}

/// Appends a batch to `out`.
pub(super) fn encode(generation: u64, revision: u64, changes: &[RowChange], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    out.extend_from_slice(&revision.to_le_bytes());
    length(changes.len(), out);
    for change in changes {
        out.extend_from_slice(&change.revision.to_le_bytes());
        text(change.resource.as_bytes(), out);
        text(change.key.as_bytes(), out);
        out.push(u8::from(change.json.is_some()));
        text(change.json.as_deref().unwrap_or_default(), out);
    }
    let body = &out[start + HEAD..];
    let (size, sum) = (body.len(), checksum(generation, body));
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&MAGIC.to_le_bytes());
    length(size, &mut head);
    head.extend_from_slice(&sum.to_le_bytes());
    out[start..start + HEAD].copy_from_slice(&head);
}

/// The batch at the beginning of `bytes` and the bytes that it takes; none if there is no whole one
/// of that generation.
pub(super) fn decode(generation: u64, bytes: &Bytes) -> Option<(Batch, usize)> {
    let mut rest = bytes.clone();
    if rest.try_get_u32_le().ok()? != MAGIC {
        return None;
    }
    let size = rest.try_get_u32_le().ok()? as usize;
    let sum = rest.try_get_u32_le().ok()?;
    if size > rest.len() {
        return None;
    }
    let mut body = rest.split_to(size);
    if checksum(generation, &body) != sum {
        return None;
    }
    let revision = body.try_get_u64_le().ok()?;
    let count = body.try_get_u32_le().ok()?;
    let changes = (0..count).map(|_| change(&mut body));
    let changes = changes.collect::<Option<Vec<_>>>()?;
    Some((Batch { revision, changes }, HEAD + size))
}

/// Whether a whole batch of that generation begins anywhere in `bytes`.
pub(super) fn occurs(generation: u64, bytes: &Bytes) -> bool {
    let magic = MAGIC.to_le_bytes();
    let places = bytes.windows(magic.len()).enumerate();
    let mut places = places.filter(|(_, window)| *window == magic);
    places.any(|(place, _)| decode(generation, &bytes.slice(place..)).is_some())
}

fn change(body: &mut Bytes) -> Option<RowChange> {
    let revision = body.try_get_u64_le().ok()?;
    let resource = String::from_utf8(field(body)?.into()).ok()?;
    let key = String::from_utf8(field(body)?.into()).ok()?;
    let there = body.try_get_u8().ok()? != 0;
    let json = field(body)?;
    Some(RowChange {
        resource: resource.into(),
        key: key.into(),
        revision,
        json: there.then_some(json),
    })
}

fn field(body: &mut Bytes) -> Option<Bytes> {
    let size = body.try_get_u32_le().ok()? as usize;
    (size <= body.len()).then(|| body.split_to(size))
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// No batch comes near 4 GiB: bodies are limited to megabytes and batches to hundreds.
fn length(size: usize, out: &mut Vec<u8>) {
    let size = u32::try_from(size).expect("a batch is smaller than 4 GiB");
    out.extend_from_slice(&size.to_le_bytes());
}

fn checksum(generation: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<RowChange> {
        vec![
            RowChange {
                resource: "pods".into(),
                key: "a/b".into(),
                revision: 6,
                json: Some(Bytes::from_static(b"{}")),
            },
            RowChange {
                resource: "pods".into(),
                key: "a/c".into(),
                revision: 7,
                json: None,
            },
        ]
    }

    fn encoded(generation: u64) -> Bytes {
        let mut bytes = Vec::new();
        encode(generation, 7, &changes(), &mut bytes);
        bytes.into()
    }

    #[test]
    fn a_batch_reads_as_it_was_written() {
        let bytes = encoded(3);
        let (batch, size) = decode(3, &bytes).unwrap();
        assert_eq!(size, bytes.len());
        assert_eq!(batch.revision, 7);
        assert_eq!(batch.changes, changes());
    }

    #[test]
    fn another_generation_and_every_damage_is_no_batch() {
        let bytes = encoded(3);
        assert!(decode(4, &bytes).is_none());
        for cut in 0..bytes.len() {
            assert!(decode(3, &bytes.slice(..cut)).is_none(), "cut at {cut}");
        }
        for place in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[place] ^= 0x40;
            assert!(decode(3, &damaged.into()).is_none(), "damaged at {place}");
        }
    }

    #[test]
    fn a_batch_is_found_behind_damage() {
        let bytes: Bytes = [&b"garbage NRe"[..], &encoded(3)].concat().into();
        assert!(occurs(3, &bytes));
        assert!(!occurs(4, &bytes));
        assert!(!occurs(3, &bytes.slice(..bytes.len() - 1)));
    }
}
