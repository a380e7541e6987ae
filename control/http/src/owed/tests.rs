//! Bodies whose pieces nobody takes, or somebody.

use std::convert::Infallible;
use std::time::Instant;

use futures_util::{FutureExt, StreamExt, stream};
use http_body_util::{Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const PATIENCE: Duration = Duration::from_millis(50);
/// More than any of this takes.
const FOR_EVER: Duration = Duration::from_secs(60);

fn full(bytes: Vec<u8>) -> crate::Body {
    let body = Full::new(Bytes::from(bytes));
    body.map_err(|never| match never {}).boxed_unsync()
}

/// A watch that has said so much and has nothing more to say.
fn watch(lines: &'static [&'static str]) -> crate::Body {
    let line = |line: &&'static str| Ok::<_, Infallible>(Frame::data(Bytes::from(*line)));
    let lines = stream::iter(lines.iter().map(line)).chain(stream::pending());
    let body = StreamBody::new(lines);
    body.map_err(|never| match never {}).boxed_unsync()
}

async fn frame(body: &mut crate::Body) -> Bytes {
    let frame = body.frame().await.unwrap().unwrap();
    frame.into_data().unwrap()
}

/// Waits for the end of a connection that goes on by itself.
async fn ends(debts: &Debts) {
    let begun = Instant::now();
    let connection = Attended::new(std::future::pending::<()>(), debts.clone(), PATIENCE);
    let end = tokio::time::timeout(FOR_EVER, connection).await;
    assert_eq!(end.expect("an end"), None);
    assert!(begun.elapsed() >= PATIENCE);
}

#[tokio::test]
async fn what_nobody_takes_ends_the_connection_from_its_beginning_to_its_last_piece() {
    let debts = Debts::default();
    let mut body = debts.count(full(vec![1; 10]));
    ends(&debts).await;
    let last = frame(&mut body).await;
    drop(body);
    ends(&debts).await;
    drop(last);
    assert!(!debts.is_any());
}

#[tokio::test]
async fn a_watch_without_news_waits_for_nobody_and_one_with_news_does() {
    let debts = Debts::default();
    let mut body = debts.count(watch(&["a", "b"]));
    drop(frame(&mut body).await);
    ends(&debts).await;
    drop(frame(&mut body).await);
    // It is asked for more, and has none.
    assert!(body.frame().now_or_never().is_none());
    assert!(!debts.is_any());
}

#[tokio::test]
async fn a_stream_without_room_ends_the_connection_unless_it_is_read_at_leisure() {
    let debts = Debts::default();
    let (stream, mut peer) = tokio::io::duplex(4);
    let mut stream = Outgoing::new(stream, debts.clone());
    assert!(stream.write_all(b"12345").now_or_never().is_none());
    ends(&debts).await;
    peer.read_exact(&mut [0; 4]).await.unwrap();
    stream.write_all(b"5").await.unwrap();
    assert!(!debts.is_any());
    let body = debts.forbear(watch(&["a"]));
    assert!(stream.write_all(b"6789").now_or_never().is_none());
    assert!(!debts.is_any());
    drop(body);
    assert!(stream.write_all(b"9").now_or_never().is_none());
    ends(&debts).await;
}

#[tokio::test]
async fn who_takes_a_piece_in_each_generation_gets_the_whole() {
    let (debts, size) = (Debts::default(), 10 * PIECE + 1);
    let whole: Vec<u8> = (0..size).map(|at| at.to_le_bytes()[0]).collect();
    let mut body = debts.count(full(whole.clone()));
    let mut taken = Vec::new();
    while !body.is_end_stream() {
        assert!(!debts.is_overdue(), "after {} bytes", taken.len());
        let left = u64::try_from(size - taken.len()).unwrap();
        assert_eq!(body.size_hint().exact(), Some(left));
        let piece = frame(&mut body).await;
        assert!(piece.len() <= PIECE);
        taken.extend_from_slice(&piece);
    }
    assert!(taken == whole);
}
