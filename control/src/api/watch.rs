//! Watch streams: the log of a resource, filtered, in the shape that the client wants.
//!
//! A watch whose client does not read holds handles of a few objects that it shares with the store, and
//! its place in a snapshot: what is sent is encoded when the client takes it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::body::{BoxError, Reply, reply};
use super::kinds::Target;
use super::negotiate::{self, Encoding, Form, Shape};
use super::options::ListOptions;
use super::protobuf;
use super::server::Server;
use super::status::{Result, Status};
use super::table::{IncludeObject, metadata_only, metadata_text, table};
use super::verbs::Call;
use crate::store::{Event, EventType, Expired, Object, Selectable, Snapshot, Watcher};

/// Time between bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The last bookmark comes this long before the end, so that the next watch starts from there.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// A watch without a time-out ends after this much plus up to as much again.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// Objects of a snapshot that are looked at together, which are also those converted together.
const TOGETHER: usize = 128;
/// Marks the bookmark that ends the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// Answers with a stream of events that ends at the time-out, at shutdown, or with an error event.
pub(super) fn watch(call: Call) -> Result<Reply> {
    let form = negotiate::streamed(&call.headers, call.target.kind)?;
    let mut options = ListOptions::parse(&call.query, call.target.kind)?;
    let store = &call.server.store;
    let current = store.revision();
    if let Some(wanted) = options.version.filter(|wanted| *wanted > current) {
        return Err(Status::future_version(wanted, current));
    }
    let from_now = matches!(options.version, None | Some(0)) || options.initial_events;
    let (initial, watcher) = if from_now {
        let (snapshot, watcher) = store.snapshot_and_watch(call.target.resource);
        (Some(snapshot), Ok(watcher))
    } else {
        (
            None,
            store.watch(call.target.resource, options.version.unwrap_or_default()),
        )
    };
    // A client that wants events since "now" (no version, initial events declined) gets none first.
    let declined = call.query.get("sendInitialEvents") == Some("false");
    let initial = initial.filter(|_| !declined);
    let timeout = timeout(options.timeout.take());
    let filter = Filter::new(&call, options);
    let stream = Stream::new(filter, form, initial, watcher, timeout, call.server.clone());
    // It is long, and an item moves it twice.
    let frames = stream::unfold(Box::new(stream), |mut stream| async move {
        let line = stream.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(line)), stream))
    });
    let body = StreamBody::new(frames).boxed_unsync();
    let media_type = match form.encoding {
        Encoding::Protobuf => protobuf::STREAM,
        Encoding::Json | Encoding::Yaml => "application/json",
    };
    Ok(reply(StatusCode::OK, media_type, body))
}

/// The default is spread out, so that watches opened together do not end together.
fn timeout(seconds: Option<u64>) -> Duration {
    match seconds {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.min(86_400)),
        _ => {
            let random = u16::from_le_bytes([uuid::Uuid::new_v4().as_bytes()[0], 0]);
            DEFAULT_TIMEOUT + DEFAULT_TIMEOUT.mul_f64(f64::from(random) / 256.0)
        }
    }
}

/// When the next bookmark is due; at `end` there is none.
fn next_bookmark(now: Instant, end: Instant) -> Instant {
    let regular = now + BOOKMARK_EVERY;
    match end.checked_sub(LAST_BOOKMARK) {
        Some(last) if last > now => regular.min(last),
        _ => end,
    }
}

/// Which objects a watch is about.
struct Filter {
    target: Target,
    /// `namespace/`, or empty.
    prefix: String,
    /// The whole key, when the path names one object.
    key: Option<String>,
    options: ListOptions,
    include: IncludeObject,
}

impl Filter {
    fn new(call: &Call, options: ListOptions) -> Self {
        let namespace = call.path.namespace.as_deref();
        Self {
            target: call.target,
            prefix: namespace
                .map(|namespace| format!("{namespace}/"))
                .unwrap_or_default(),
            key: call
                .path
                .name
                .as_deref()
                .map(|name| super::value::key(namespace, name)),
            options,
            include: IncludeObject::parse(call.query.get("includeObject")),
        }
    }

    fn matches(&self, key: &str, selectable: &Selectable) -> bool {
        key.starts_with(&self.prefix)
            && self.key.as_deref().is_none_or(|wanted| wanted == key)
            && self.options.labels.matches(selectable)
            && self.options.fields.matches(key, selectable)
    }

    /// What the event is to somebody who sees only what the filter selects.
    fn seen_as(&self, event: &Event) -> Option<EventType> {
        let now = event.event != EventType::Deleted
            && self.matches(event.object.key(), &event.object.selectable);
        let before = event
            .before
            .as_ref()
            .is_some_and(|before| self.matches(event.object.key(), before));
        match (before, now) {
            (false, true) => Some(EventType::Added),
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Deleted),
            (false, false) => None,
        }
    }
}

/// One client's watch.
struct Stream {
    filter: Filter,
    shape: Shape,
    encoding: Encoding,
    server: Arc<Server>,
    ready: VecDeque<Piece>,
    /// What comes before the events of the log.
    initial: Option<Initial>,
    watcher: Option<Watcher>,
    /// The revision up to which everything is delivered.
    complete: Option<u64>,
    end: Instant,
    /// The time of the next bookmark, or the end. It and `stopping` wait from the first item to the
    /// last: to join and leave the lists of those who wait, with every event, is work under locks that
    /// all watches share.
    alarm: Pin<Box<Sleep>>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// The objects that were there when the watch began.
struct Initial {
    snapshot: Snapshot,
    /// The last one that was looked at.
    after: Option<Box<str>>,
}

/// What is about to be sent.
enum Piece {
    /// A line.
    Line(Bytes),
    /// An event whose object is as the client wants it.
    Kept(EventType, Object),
    /// An event whose object is to be converted first.
    Raw(EventType, Object),
}

impl Stream {
    fn new(
        filter: Filter,
        form: Form,
        initial: Option<Snapshot>,
        watcher: std::result::Result<Watcher, Expired>,
        timeout: Duration,
        server: Arc<Server>,
    ) -> Self {
        let now = Instant::now();
        let end = now + timeout;
        let alarm = match filter.options.bookmarks {
            true => next_bookmark(now, end),
            false => end,
        };
        let mut stream = Self {
            filter,
            shape: form.shape,
            encoding: form.encoding,
            ready: VecDeque::new(),
            initial: initial.map(|snapshot| Initial {
                snapshot,
                after: None,
            }),
            watcher: None,
            complete: None,
            end,
            alarm: Box::pin(tokio::time::sleep_until(alarm)),
            stopping: Box::pin(server.stopping.clone().cancelled_owned()),
            server,
        };
        match watcher {
            Ok(watcher) => stream.watcher = Some(watcher),
            Err(expired) => stream.fail(&expired),
        }
        stream
    }

    /// Moves some of the objects that were there to the queue; false when there are none.
    fn read_initial(&mut self) -> bool {
        let Some(mut initial) = self.initial.take() else {
            return false;
        };
        let namespace = self.filter.prefix.strip_suffix('/');
        let after = initial.after.as_deref();
        let mut last = None;
        let mut left = TOGETHER;
        for (key, object) in initial.snapshot.range(namespace, after).take(TOGETHER) {
            if self.filter.matches(key, &object.selectable) {
                let piece = self.piece(EventType::Added, object);
                self.ready.push_back(piece);
            }
            last = Some(key.into());
            left -= 1;
        }
        if left == 0 {
            initial.after = last;
            self.initial = Some(initial);
        } else if self.filter.options.initial_events && self.filter.options.bookmarks {
            let line = self.bookmark_line(initial.snapshot.revision, true);
            self.ready.push_back(Piece::Line(line));
        }
        true
    }

    /// The next piece of the answer, or none at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.ready.pop_front() {
                Some(Piece::Line(line)) => return Some(line),
                Some(Piece::Kept(event, object)) => return Some(self.line(event, &object)),
                Some(Piece::Raw(event, object)) => {
                    let stopping = self.server.stopping.clone();
                    // Boxed: few watches convert, and each would have room for it.
                    let converting = Box::pin(self.convert((event, object)));
                    stopping.run_until_cancelled(converting).await?;
                    continue;
                }
                None => {}
            }
            if self.read_initial() {
                continue;
            }
            self.read();
            if self.ready.is_empty() {
                self.wait().await?;
            }
        }
    }

    /// Moves what there is from the log to the queue.
    fn read(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        match watcher.poll() {
            Ok((events, complete)) => {
                self.complete = complete;
                for event in &events {
                    if let Some(seen) = self.filter.seen_as(event) {
                        let piece = self.piece(seen, &event.object);
                        self.ready.push_back(piece);
                    }
                }
            }
            Err(expired) => self.fail(&expired),
        }
    }

    /// Converts `first` and all events behind it that wait for the same.
    async fn convert(&mut self, first: (EventType, Object)) {
        let mut raw = vec![first];
        while let Some(piece) = self.ready.pop_front() {
            match piece {
                Piece::Raw(event, object) => raw.push((event, object)),
                other @ (Piece::Line(_) | Piece::Kept(..)) => {
                    self.ready.push_front(other);
                    break;
                }
            }
        }
        let values = raw.iter().map(|(_, object)| object.value()).collect();
        match self.server.shown(self.filter.target, values).await {
            Ok(shown) => {
                for ((event, _), object) in raw.iter().zip(shown).rev() {
                    let line = self.encoded(*event, object);
                    self.ready.push_front(Piece::Line(line));
                }
            }
            Err(status) => {
                self.ready.clear();
                self.initial = None;
                self.end_with(&status);
            }
        }
    }

    /// Waits for news, a bookmark's time or the end (none).
    async fn wait(&mut self) -> Option<()> {
        let watcher = self.watcher.as_mut()?;
        // More than one reading's worth was there but nothing of it was selected.
        let Some(complete) = self.complete else {
            return Some(());
        };
        tokio::select! {
            // News never crowd a bookmark out.
            biased;
            () = &mut self.stopping => None,
            () = &mut self.alarm => self.ring(complete),
            alive = watcher.changed() => alive.then_some(()),
        }
    }

    /// A bookmark, or the end (none), at which no bookmark is due any more.
    fn ring(&mut self, complete: u64) -> Option<()> {
        let now = Instant::now();
        if now >= self.end {
            return None;
        }
        self.alarm.as_mut().reset(next_bookmark(now, self.end));
        let line = self.bookmark_line(complete, false);
        self.ready.push_back(Piece::Line(line));
        Some(())
    }

    fn fail(&mut self, expired: &Expired) {
        self.end_with(&Status::expired(expired.to_string()));
    }

    /// Nothing follows but this.
    fn end_with(&mut self, status: &Status) {
        self.watcher = None;
        let line = self.framed("ERROR", &status.to_value());
        self.ready.push_back(Piece::Line(line));
    }

    fn piece(&self, event: EventType, object: &Object) -> Piece {
        let kept = self.filter.target.kind.stored_as.is_none();
        match self.shape {
            Shape::Object | Shape::Table if !kept => Piece::Raw(event, object.clone()),
            _ => Piece::Kept(event, object.clone()),
        }
    }

    /// The line of an object that needs no conversion.
    fn line(&mut self, event: EventType, object: &Object) -> Bytes {
        match (self.shape, self.encoding) {
            (Shape::Object, Encoding::Json | Encoding::Yaml) => object.line(event),
            (Shape::Metadata, Encoding::Json | Encoding::Yaml) => {
                framed(event.name(), &metadata_text(object))
            }
            (Shape::Metadata, Encoding::Protobuf) => {
                let metadata = serde_json::from_slice(&metadata_text(object));
                self.framed(event.name(), &metadata.unwrap_or_default())
            }
            (Shape::Table, _) | (Shape::Object, Encoding::Protobuf) => {
                self.encoded(event, object.value())
            }
        }
    }

    /// The line of an object in the version of the path.
    fn encoded(&mut self, event: EventType, object: Value) -> Bytes {
        match self.shape {
            Shape::Table => encode(event.name(), &self.table_of(object)),
            Shape::Object | Shape::Metadata => self.framed(event.name(), &object),
        }
    }

    /// An event in the client's encoding; one that cannot be written in it is the last.
    fn framed(&mut self, event: &str, object: &Value) -> Bytes {
        if self.encoding != Encoding::Protobuf {
            return encode(event, object);
        }
        let frame = protobuf::event(event, object).or_else(|status| {
            self.ready.clear();
            self.initial = None;
            self.watcher = None;
            protobuf::event("ERROR", &status.to_value())
        });
        frame.unwrap_or_default().into()
    }

    fn table_of(&self, object: Value) -> Value {
        let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
        let now = jiff::Timestamp::now().as_second();
        let objects = std::iter::once(object);
        table(
            self.filter.target.kind,
            metadata,
            objects,
            self.filter.include,
            now,
        )
    }

    fn bookmark_line(&mut self, revision: u64, initial_end: bool) -> Bytes {
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_END: "true"});
        }
        let target = self.filter.target;
        let object = match self.shape {
            Shape::Object => json!({"kind": target.kind.kind,
                "apiVersion": target.api_version(), "metadata": metadata}),
            Shape::Metadata => metadata_only(&json!({"metadata": metadata})),
            Shape::Table => {
                let nothing = std::iter::empty();
                table(target.kind, metadata, nothing, self.filter.include, 0)
            }
        };
        self.framed("BOOKMARK", &object)
    }
}

fn encode(event: &str, object: &Value) -> Bytes {
    framed(event, object.to_string().as_bytes())
}

fn framed(event: &str, object: &[u8]) -> Bytes {
    let head = [r#"{"type":""#, event, r#"","object":"#].concat();
    [head.as_bytes(), object, b"}\n"].concat().into()
}
