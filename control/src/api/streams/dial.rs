//! A connection to a port of a pod, through the pod's node.
//!
//! The server need not be on the pods' network: the node forwards, as it does for `port-forward`,
//! and sees the port as a process in the pod would.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

use super::bridge::open_port;
use super::spdy::{self, Event, Receiver, Sender};
use super::{PORT_FORWARD, Pipe};
use crate::api::body::Reply;
use crate::api::proxy::{NodeClient, Opened};
use crate::api::status::Result;

/// Bytes on their way in each direction.
const BUFFER: usize = 64 << 10;
/// How long a node has to say why a port said nothing.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes of a complaint that are kept.
const MAX_COMPLAINT: usize = 1 << 10;

/// What comes of dialling.
pub(in super::super) enum Dialled {
    /// The connection, and what the node says when it cannot be made or breaks.
    Pipe(Pipe, Complaint),
    /// The node's refusal.
    Refused(Reply),
}

/// What a node says about a port, empty while all is well.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Complaint(Arc<Mutex<Vec<u8>>>);

impl Complaint {
    /// The words, if there are any.
    pub(in super::super) fn words(&self) -> Option<String> {
        let said = self.0.lock();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        (!said.is_empty()).then_some(said)
    }

    fn add(&self, bytes: &[u8]) {
        let mut said = self.0.lock();
        let room = MAX_COMPLAINT.saturating_sub(said.len());
        said.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Connects to `port` of the pod whose port-forward lies under `path` on the node at `address`.
///
/// # Errors
/// 500 when the node is out of reach.
pub(in super::super) async fn dial(
    nodes: &NodeClient,
    address: SocketAddr,
    path: &str,
    port: u16,
) -> Result<Dialled> {
    let node = match nodes.open(address, path, PORT_FORWARD).await? {
        Opened::Pipe(node) => node,
        Opened::Refused(reply) => return Ok(Dialled::Refused(reply)),
    };
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let complaint = Complaint::default();
    tokio::spawn(carry(node, port, theirs, complaint.clone()));
    Ok(Dialled::Pipe(Box::new(ours), complaint))
}

async fn carry(node: Pipe, port: u16, local: DuplexStream, complaint: Complaint) {
    let (sender, receiver) = spdy::join(node);
    let carried = async {
        let [data, _] = open_port(&sender, 0, port).await?;
        let (read, write) = tokio::io::split(local);
        // Either end of the connection ends it: what remains in one direction goes on only as long
        // as the other side listens.
        tokio::try_join!(
            inward(read, &sender, data.stream),
            outward(receiver, write, data.stream, &complaint)
        )
        .map(drop)
    };
    if let Err(error) = carried.await {
        tracing::debug!(%error, port, "a connection to a pod broke off");
    }
}

async fn inward(mut local: ReadHalf<DuplexStream>, sender: &Sender, stream: u32) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match local.read(&mut buffer).await? {
            0 => return sender.finish(stream).await,
            read => sender.data(stream, &buffer[..read]).await?,
        }
    }
}

/// Ends, with an error that ends the other direction too, when the pod's side has ended.
async fn outward(
    mut receiver: Receiver,
    mut local: WriteHalf<DuplexStream>,
    data: u32,
    complaint: &Complaint,
) -> io::Result<()> {
    let mut silent = true;
    while let Some(event) = receiver.next().await? {
        match event {
            Event::Data(stream, bytes) if stream == data => {
                silent = false;
                local.write_all(&bytes).await?;
            }
            Event::Data(_, bytes) => complaint.add(&bytes),
            // A port that said nothing may have refused; the node's word for it comes on the other
            // stream, and has to be here before the local end sees that nothing follows.
            Event::End(stream) if stream == data && silent => {
                let words = complain(&mut receiver, data, complaint);
                return match tokio::time::timeout(LAST_WORDS, words).await {
                    Ok(Err(error)) => Err(error),
                    _ => Err(io::ErrorKind::ConnectionAborted.into()),
                };
            }
            Event::End(stream) if stream == data => local.shutdown().await?,
            // The stream of errors ends when the port is done with.
            Event::End(_) => break,
        }
    }
    Err(io::ErrorKind::ConnectionAborted.into())
}

/// Reads the stream of errors to its end.
async fn complain(receiver: &mut Receiver, data: u32, complaint: &Complaint) -> io::Result<()> {
    while let Some(event) = receiver.next().await? {
        match event {
            Event::Data(stream, bytes) if stream != data => complaint.add(&bytes),
            Event::End(stream) if stream != data => break,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::spdy::frames::data_head;
    use super::*;

    /// A local end, the node's end.
    fn pair() -> (DuplexStream, DuplexStream, Complaint) {
        let (ours, node) = tokio::io::duplex(1 << 16);
        let (local, theirs) = tokio::io::duplex(1 << 16);
        let complaint = Complaint::default();
        tokio::spawn(carry(Box::new(ours), 80, theirs, complaint.clone()));
        (local, node, complaint)
    }

    async fn say(node: &mut DuplexStream, stream: u32, bytes: &[u8], last: bool) {
        let head = data_head(stream, bytes.len(), last);
        node.write_all(&[&head[..], bytes].concat()).await.unwrap();
    }

    #[tokio::test]
    async fn a_pods_answer_arrives_whole_and_ends() {
        let (mut local, mut node, complaint) = pair();
        local.write_all(b"GET").await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"GET") {
            assert!(node.read_buf(&mut heard).await.unwrap() > 0);
        }
        say(&mut node, 3, b"200", true).await;
        say(&mut node, 1, b"", true).await;
        let mut answer = String::new();
        local.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "200");
        assert_eq!(complaint.words(), None);
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_says_why() {
        // The end of the connection may come first.
        for order in [
            [(1, &b"connection refused\n"[..]), (3, b"")],
            [(3, b""), (1, b"connection refused\n")],
        ] {
            let (mut local, mut node, complaint) = pair();
            for (stream, bytes) in order {
                say(&mut node, stream, bytes, true).await;
            }
            let mut answer = String::new();
            local.read_to_string(&mut answer).await.unwrap();
            assert!(answer.is_empty());
            assert_eq!(complaint.words().unwrap(), "connection refused");
        }
    }
}
