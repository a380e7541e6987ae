//! Turns over a wire that remembers every write, takes only as much as it has room for, and can break.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};

use super::*;
use crate::{BoxError, crowd};

#[derive(Clone)]
struct Wire(Arc<Mutex<State>>);

struct State {
    writes: Vec<Vec<u8>>,
    /// Bytes that it still takes.
    room: usize,
    /// Bytes that it takes at once.
    piece: usize,
    broken: bool,
    shut: bool,
}

impl Wire {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            writes: Vec::new(),
            room: usize::MAX,
            piece: usize::MAX,
            broken: false,
            shut: false,
        })))
    }

    /// One that has room for so many bytes.
    fn with_room(room: usize) -> Self {
        let wire = Self::new();
        wire.state().room = room;
        wire
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn written(&self) -> Vec<Vec<u8>> {
        self.state().writes.clone()
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        let size = bytes.len().min(state.piece).min(state.room);
        if state.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if size == 0 {
            return Poll::Pending;
        }
        state.room -= size;
        state.writes.push(bytes[..size].to_vec());
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().shut = true;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// A body of unknown length that always has something to say.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"news")))))
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// How often a task was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes as much as the stream takes.
fn write(stream: &mut Gathered<Wire>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    poll(&mut poll_fn(|context| {
        Pin::new(&mut *stream).poll_write(context, bytes)
    }))
}

fn flush(stream: &mut Gathered<Wire>) -> Poll<io::Result<()>> {
    poll(&mut poll_fn(|context| {
        Pin::new(&mut *stream).poll_flush(context)
    }))
}

/// Writes and flushes, as h2 does with every frame.
fn say(stream: &mut Gathered<Wire>, bytes: &[u8]) {
    let said = write(stream, bytes);
    assert!(matches!(said, Poll::Ready(Ok(written)) if written == bytes.len()));
    assert!(matches!(flush(stream), Poll::Ready(Ok(()))));
}

/// A connection's answers of which so many are open and silent so far.
fn crowd_of(open: usize) -> (Crowd, Vec<crate::Body>) {
    let crowd = Crowd::default();
    let open = (0..open).map(|_| crowd.count(Endless.boxed_unsync()));
    let open = open.collect();
    (crowd, open)
}

fn large_crowd() -> (Crowd, Vec<crate::Body>) {
    crowd_of(crowd::LARGE)
}

/// One of the answers says something.
fn speak(open: &mut [crate::Body]) {
    assert!(poll(&mut open[0].frame()).is_ready());
}

/// Turns of a connection that says `parts` in each, and never ends.
fn saying<const N: usize>(
    wire: &Wire,
    crowd: &Crowd,
    parts: [Vec<u8>; N],
) -> Turns<impl Future<Output = ()> + Unpin + use<N>, Wire> {
    let mut stream = Gathered::new(wire.clone(), crowd.clone(), true);
    let shared = stream.share();
    let connection = poll_fn(move |_| {
        parts.iter().for_each(|part| say(&mut stream, part));
        Poll::Pending
    });
    Turns::new(connection, shared, crowd.clone())
}

#[test]
fn what_is_said_in_one_turn_is_written_once() {
    let wire = Wire::new();
    let parts = ["one ", "two ", "three"].map(|part| part.as_bytes().to_vec());
    let (crowd, open) = large_crowd();
    let mut turns = saying(&wire, &crowd, parts.clone());
    assert!(poll(&mut turns).is_pending());
    assert_eq!(wire.written(), [b"one two three"]);
    drop(open);
    assert!(poll(&mut turns).is_pending());
    assert_eq!(wire.written()[1..], parts, "nothing is kept for few");
}

#[test]
fn large_parts_keep_their_place() {
    let wire = Wire::new();
    let parts = [b"before".to_vec(), vec![b'x'; LARGE], b"after".to_vec()];
    let (crowd, _open) = large_crowd();
    assert!(poll(&mut saying(&wire, &crowd, parts.clone())).is_pending());
    assert_eq!(wire.written(), parts);
}

#[test]
fn no_more_than_a_record_is_written_at_once() {
    let wire = Wire::new();
    let parts: [Vec<u8>; 7] = std::array::from_fn(|_| vec![b'x'; LARGE - 1]);
    let (crowd, _open) = large_crowd();
    assert!(poll(&mut saying(&wire, &crowd, parts.clone())).is_pending());
    let written = wire.written();
    assert!(written.iter().all(|record| record.len() <= MOST));
    assert_eq!((written.len(), written.concat()), (2, parts.concat()));
}

#[test]
fn a_turn_that_an_open_answer_asked_for_is_given_away_once() {
    let wire = Wire::new();
    let (crowd, mut open) = large_crowd();
    let mut turns = saying(&wire, &crowd, [b"x".to_vec()]);
    speak(&mut open);
    let woken = Arc::new(Woken::default());
    let waker = woken.clone().into();
    let mut context = Context::from_waker(&waker);
    assert!(Pin::new(&mut turns).poll(&mut context).is_pending());
    assert!(wire.written().is_empty());
    assert_eq!(
        woken.0.load(Ordering::Relaxed),
        1,
        "it comes again by itself"
    );
    speak(&mut open);
    assert!(poll(&mut turns).is_pending());
    assert_eq!(wire.written().len(), 1, "never twice in a row");
    open.pop();
    speak(&mut open);
    assert!(poll(&mut turns).is_pending());
    assert_eq!(wire.written().len(), 2, "with few nobody waits");
}

#[test]
fn a_turn_that_no_open_answer_asked_for_is_taken_at_once() {
    let wire = Wire::new();
    let (crowd, _open) = large_crowd();
    let mut turns = saying(&wire, &crowd, [b"a short answer".to_vec()]);
    assert!(poll(&mut turns).is_pending());
    assert_eq!(wire.written(), [b"a short answer"]);
}

#[test]
fn what_a_slow_peer_leaves_goes_out_in_later_turns() {
    let wire = Wire::with_room(10);
    wire.state().piece = 3;
    let (crowd, _open) = large_crowd();
    let mut said = false;
    let mut stream = Gathered::new(wire.clone(), crowd.clone(), true);
    let shared = stream.share();
    let connection = poll_fn(move |_| -> Poll<()> {
        if !std::mem::replace(&mut said, true) {
            say(&mut stream, b"all that there is to say");
        }
        Poll::Pending
    });
    let mut turns = Turns::new(connection, shared, crowd);
    assert!(poll(&mut turns).is_pending());
    assert_eq!(wire.written().concat(), b"all that t");
    for room in [0, 5, 100] {
        wire.state().room = room;
        assert!(poll(&mut turns).is_pending());
    }
    assert_eq!(wire.written().concat(), b"all that there is to say");
}

#[test]
fn a_peer_that_does_not_read_holds_its_connection_up() {
    let wire = Wire::with_room(0);
    let (crowd, _open) = large_crowd();
    let mut stream = Gathered::new(wire.clone(), crowd, true);
    let mut taken = Vec::new();
    for part in (0..=u8::MAX).map(|number| [number; 1000]) {
        match write(&mut stream, &part) {
            Poll::Ready(written) => taken.extend_from_slice(&part[..written.unwrap()]),
            Poll::Pending => break,
        }
    }
    assert_eq!(taken.len(), MOST / 1000 * 1000, "a record, no more");
    assert!(
        write(&mut stream, &[0; LARGE]).is_pending(),
        "nor anything past it"
    );
    wire.state().room = usize::MAX;
    say(&mut stream, &[0; LARGE]);
    taken.extend_from_slice(&[0; LARGE]);
    assert_eq!(wire.written().concat(), taken);
}

#[test]
fn what_was_kept_goes_first_when_the_crowd_has_gone() {
    let wire = Wire::with_room(0);
    let (crowd, open) = large_crowd();
    let mut stream = Gathered::new(wire.clone(), crowd, true);
    say(&mut stream, b"kept");
    drop(open);
    assert!(flush(&mut stream).is_pending(), "a flush is a flush again");
    assert!(write(&mut stream, b"next").is_pending());
    wire.state().room = usize::MAX;
    say(&mut stream, b"next");
    assert_eq!(wire.written(), [b"kept", b"next"]);
}

#[test]
fn a_connection_hears_that_its_peer_is_gone() {
    let wire = Wire::new();
    let (crowd, _open) = large_crowd();
    let mut said = false;
    let mut stream = Gathered::new(wire.clone(), crowd.clone(), true);
    let shared = stream.share();
    // Reads, as h2 does in every turn, what never comes.
    let connection = poll_fn(move |context| {
        if !std::mem::replace(&mut said, true) {
            say(&mut stream, b"anybody there?");
        }
        let mut place = [0; 1];
        Pin::new(&mut stream).poll_read(context, &mut ReadBuf::new(&mut place))
    });
    let mut turns = Turns::new(connection, shared, crowd);
    wire.state().broken = true;
    let woken = Arc::new(Woken::default());
    let waker = woken.clone().into();
    let mut context = Context::from_waker(&waker);
    assert!(Pin::new(&mut turns).poll(&mut context).is_pending());
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    let Poll::Ready(Err(error)) = Pin::new(&mut turns).poll(&mut context) else {
        panic!("it waits for a peer that is gone");
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn the_end_waits_for_what_is_kept() {
    let wire = Wire::with_room(4);
    let (crowd, _open) = large_crowd();
    let mut stream = Gathered::new(wire.clone(), crowd, true);
    say(&mut stream, b"last words");
    let mut shutdown = poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context));
    assert!(poll(&mut shutdown).is_pending());
    assert!(!wire.state().shut);
    wire.state().room = usize::MAX;
    assert!(poll(&mut shutdown).is_ready());
    assert!(wire.state().shut);
    assert_eq!(wire.written().concat(), b"last words");
}

#[test]
fn after_the_connection_nothing_is_kept() {
    let wire = Wire::new();
    let (crowd, _open) = large_crowd();
    let mut stream = Gathered::new(wire.clone(), crowd.clone(), true);
    let mut turns = Turns::new(std::future::ready(()), stream.share(), crowd);
    say(&mut stream, b"last words");
    assert!(wire.written().is_empty());
    assert!(poll(&mut turns).is_ready());
    say(&mut stream, b"switched");
    assert_eq!(wire.written(), [&b"last words"[..], b"switched"]);
}
