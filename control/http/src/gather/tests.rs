//! Turns over a wire that remembers every write.

use std::future::poll_fn;
use std::task::Waker;

use super::*;

#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Vec<Vec<u8>>>>);

impl Wire {
    fn written(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().push(bytes.to_vec());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A body of unknown length.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Pending
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A turn of a connection with many open answers, which lets others go first.
fn take<F: Future<Output = ()> + Unpin>(turns: &mut F) {
    assert!(poll(turns).is_pending());
    assert!(poll(turns).is_pending());
}

/// Writes and flushes, as h2 does with every frame.
fn say(stream: &mut Gathered<Wire>, bytes: &[u8]) {
    let said = poll(&mut poll_fn(|context| {
        Pin::new(&mut *stream).poll_write(context, bytes)
    }));
    assert!(matches!(said, Poll::Ready(Ok(written)) if written == bytes.len()));
    let flushed = poll(&mut poll_fn(|context| {
        Pin::new(&mut *stream).poll_flush(context)
    }));
    assert!(matches!(flushed, Poll::Ready(Ok(()))));
}

/// A connection's answers of which so many are open.
fn crowd(open: usize) -> (Crowd, Vec<crate::Body>) {
    let crowd = Crowd::default();
    let open = (0..open).map(|_| crowd.count(Endless.boxed_unsync()));
    let open = open.collect();
    (crowd, open)
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
    let wire = Wire::default();
    let parts = ["one ", "two ", "three"].map(|part| part.as_bytes().to_vec());
    let (crowd, open) = crowd(CROWD);
    let mut turns = saying(&wire, &crowd, parts.clone());
    take(&mut turns);
    assert_eq!(wire.written(), [b"one two three"]);
    drop(open);
    assert!(poll(&mut turns).is_pending());
    assert_eq!(wire.written()[1..], parts, "nothing is kept for few");
}

#[test]
fn large_parts_keep_their_place() {
    let wire = Wire::default();
    let parts = [b"before".to_vec(), vec![b'x'; LARGE], b"after".to_vec()];
    let (crowd, _open) = crowd(CROWD);
    take(&mut saying(&wire, &crowd, parts.clone()));
    assert_eq!(wire.written(), parts);
}

#[test]
fn no_more_than_a_record_is_kept() {
    let wire = Wire::default();
    let parts: [Vec<u8>; 7] = std::array::from_fn(|_| vec![b'x'; LARGE - 1]);
    let (crowd, _open) = crowd(CROWD);
    take(&mut saying(&wire, &crowd, parts.clone()));
    let written = wire.written();
    assert!(written.iter().all(|record| record.len() <= MOST));
    assert_eq!((written.len(), written.concat()), (2, parts.concat()));
}

#[test]
fn a_connection_with_many_open_answers_lets_others_go_first() {
    let wire = Wire::default();
    let (crowd, mut open) = crowd(CROWD);
    let mut turns = saying(&wire, &crowd, [b"x".to_vec()]);
    assert!(poll(&mut turns).is_pending());
    assert!(wire.written().is_empty());
    assert!(poll(&mut turns).is_pending());
    assert_eq!(wire.written().len(), 1);
    open.pop();
    assert!(poll(&mut turns).is_pending());
    assert_eq!(wire.written().len(), 2);
}

#[test]
fn after_the_connection_nothing_waits() {
    let wire = Wire::default();
    let (crowd, _open) = crowd(CROWD);
    let mut stream = Gathered::new(wire.clone(), crowd.clone(), true);
    let mut turns = Turns::new(std::future::ready(()), stream.share(), crowd);
    say(&mut stream, b"last words");
    assert!(wire.written().is_empty());
    assert!(poll(&mut turns).is_pending());
    assert!(poll(&mut turns).is_ready());
    say(&mut stream, b"switched");
    assert_eq!(wire.written(), [&b"last words"[..], b"switched"]);
}
