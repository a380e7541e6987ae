//! Consistent pages of a list: the snapshot of the first page is kept for the next ones.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::value::{integer, text};
use crate::store::{Resource, Snapshot};

/// Snapshots kept at most; each costs only what changed since.
const MAX_SNAPSHOTS: usize = 64;
/// How long a page token is good for.
const LIFETIME: Duration = Duration::from_secs(300);

struct Page {
    resource: Resource,
    snapshot: Snapshot,
    until: Instant,
}

/// Snapshots that a client may still ask the rest of.
#[derive(Default)]
pub(super) struct Pages(Mutex<VecDeque<Page>>);

impl Pages {
    /// Keeps the snapshot for the next pages.
    pub(super) fn keep(&self, resource: Resource, snapshot: &Snapshot, now: Instant) {
        let mut pages = self.0.lock();
        pages.retain(|page| {
            page.until > now
                && (page.resource, page.snapshot.revision) != (resource, snapshot.revision)
        });
        while pages.len() >= MAX_SNAPSHOTS {
            pages.pop_front();
        }
        pages.push_back(Page {
            resource,
            snapshot: snapshot.clone(),
            until: now + LIFETIME,
        });
    }

    /// The kept snapshot of that revision.
    pub(super) fn find(&self, resource: Resource, revision: u64, now: Instant) -> Option<Snapshot> {
        let mut pages = self.0.lock();
        pages.retain(|page| page.until > now);
        let mut pages = pages.iter();
        let page =
            pages.find(|page| (page.resource, page.snapshot.revision) == (resource, revision))?;
        Some(page.snapshot.clone())
    }
}

/// How a token says that it is about the newest revision.
const NEWEST: i64 = -1;

/// Where the next page starts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// Revision of the list; none for the newest there is.
    pub revision: Option<u64>,
    /// The last key of the page before.
    pub after: String,
    /// How many there are after it, where that is known.
    pub remaining: Option<usize>,
}

impl Token {
    /// The token as text.
    pub(super) fn encode(&self) -> String {
        let revision = self.revision.map_or(json!(NEWEST), Value::from);
        let mut token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": self.after});
        if let Some(remaining) = self.remaining {
            token["left"] = remaining.into();
        }
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    /// The token with which a list goes on that is not kept any more.
    pub(super) fn onward(&self) -> String {
        let onward = Self {
            revision: None,
            after: self.after.clone(),
            remaining: None,
        };
        onward.encode()
    }

    /// Reads a token.
    pub(super) fn decode(token: &str) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(token).ok()?;
        let value: Value = serde_json::from_slice(&json).ok()?;
        let revision = match integer(&value, "/rv")? {
            NEWEST => None,
            revision => Some(u64::try_from(revision).ok()?),
        };
        let remaining = integer(&value, "/left").and_then(|left| usize::try_from(left).ok());
        Some(Self {
            revision,
            after: text(&value, "/start").to_owned(),
            remaining,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_round_trip_and_garbage_does_not() {
        for (revision, remaining) in [
            (Some(7), None),
            (Some(7), Some(0)),
            (None, None),
            (Some(u64::MAX >> 1), Some(149_500)),
        ] {
            let token = Token {
                revision,
                after: "shop/web".into(),
                remaining,
            };
            assert_eq!(Token::decode(&token.encode()), Some(token));
        }
        assert_eq!(Token::decode("garbage"), None);
    }

    #[test]
    fn snapshots_expire() {
        let pages = Pages::default();
        let now = Instant::now();
        let snapshot = Snapshot {
            revision: 3,
            objects: crate::store::Objects::new(),
        };
        pages.keep(Resource(1), &snapshot, now);
        assert!(pages.find(Resource(1), 3, now).is_some());
        assert!(pages.find(Resource(2), 3, now).is_none());
        assert!(pages.find(Resource(1), 3, now + LIFETIME).is_none());
    }
}
