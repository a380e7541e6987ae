//! Joins a client's channels with a node's streams.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::channels::{Coding, ERROR, RESIZE, STDERR, STDIN, STDOUT, Said};
use super::sink::{self, Sink};
use super::spdy::{self, Event, Receiver, Sender};
use super::websocket::Socket;
use super::{Pipe, Purpose, Wanted};

/// Bytes of a Status that are kept.
const MAX_STATUS: usize = 64 << 10;
/// A node has this long to take the streams that it was asked for.
const OPEN: Duration = Duration::from_secs(30);

/// A channel and the stream that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    channel: u8,
    pub(super) stream: u32,
    way: Way,
}

/// Which way content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the node.
    In,
    /// To the client.
    Out,
    /// Both.
    Both,
}

/// Opens the streams of `purpose` at the node and carries content until one side ends.
pub(super) async fn run(socket: Socket, node: Pipe, coding: Coding, purpose: &Purpose) {
    let (sink, mut source) = sink::split(socket);
    let (sender, receiver) = spdy::join(node);
    let carried = async {
        let opening = tokio::time::timeout(OPEN, open(&sender, purpose)).await;
        let routes = opening.map_err(|_| io::ErrorKind::TimedOut)??;
        greet(&sink, coding, purpose, &routes).await?;
        tokio::select! {
            ended = inward(&mut source, &sender, coding, &routes) => ended,
            ended = outward(receiver, &sink, coding, purpose, routes.clone()) => ended,
            ended = sink.ping() => ended,
        }
    };
    if let Err(error) = carried.await {
        tracing::debug!(%error, "streams broke off");
    }
    sink.close(&mut source).await;
}

/// The streams of a purpose: channel, direction, type. The one that tells the end comes first, as
/// servers know it.
fn plan(wanted: Wanted) -> Vec<(u8, Way, &'static str)> {
    let all = [
        (true, ERROR, Way::Out, "error"),
        (wanted.stdin, STDIN, Way::In, "stdin"),
        (wanted.stdout, STDOUT, Way::Out, "stdout"),
        (wanted.stderr, STDERR, Way::Out, "stderr"),
        (wanted.tty, RESIZE, Way::In, "resize"),
    ];
    let all = all.into_iter().filter(|stream| stream.0);
    all.map(|(_, channel, way, kind)| (channel, way, kind))
        .collect()
}

async fn open(sender: &Sender, purpose: &Purpose) -> io::Result<Vec<Route>> {
    let mut routes = Vec::new();
    match purpose {
        Purpose::Process(wanted) => {
            for (channel, way, kind) in plan(*wanted) {
                let stream = sender.open(&[("streamtype", kind)]).await?;
                routes.push(Route {
                    channel,
                    stream,
                    way,
                });
            }
        }
        Purpose::Ports(ports) => {
            for (number, port) in (0u8..).zip(ports) {
                routes.extend(open_port(sender, number, *port).await?);
            }
        }
    }
    Ok(routes)
}

/// The two streams of the port that is the `number`-th.
pub(super) async fn open_port(sender: &Sender, number: u8, port: u16) -> io::Result<[Route; 2]> {
    let (port, request) = (port.to_string(), number.to_string());
    let headers = |kind| {
        [
            ("streamtype", kind),
            ("port", port.as_str()),
            ("requestid", request.as_str()),
        ]
    };
    let errors = sender.open(&headers("error")).await?;
    sender.finish(errors).await?;
    let data = sender.open(&headers("data")).await?;
    let route = |channel, stream, way| Route {
        channel,
        stream,
        way,
    };
    Ok([
        route(2 * number, data, Way::Both),
        route(2 * number + 1, errors, Way::Out),
    ])
}

/// The first messages: each channel of a port begins with its number; a process' client hears by an
/// empty message that the connection stands.
async fn greet(sink: &Sink, coding: Coding, purpose: &Purpose, routes: &[Route]) -> io::Result<()> {
    match purpose {
        Purpose::Process(_) => {
            let out = routes.iter().filter(|route| route.way == Way::Out);
            let first = out.map(|route| route.channel).min().unwrap_or(ERROR);
            sink.send(coding.write(first, &[])).await
        }
        Purpose::Ports(ports) => {
            for route in routes {
                let port = ports[usize::from(route.channel / 2)];
                sink.send(coding.write(route.channel, &port.to_le_bytes()))
                    .await?;
            }
            Ok(())
        }
    }
}

/// What the client says; ends when it goes.
async fn inward(
    source: &mut SplitStream<Socket>,
    sender: &Sender,
    coding: Coding,
    routes: &[Route],
) -> io::Result<()> {
    let mut routes = routes.to_vec();
    routes.retain(|route| route.way != Way::Out);
    while let Some(message) = source.next().await {
        let message = match message.map_err(io::Error::other)? {
            message @ (Message::Binary(_) | Message::Text(_)) => message.into_data(),
            Message::Close(_) => break,
            _ => continue,
        };
        let stream = |channel: u8| routes.iter().find(|route| route.channel == channel);
        match coding.read(message) {
            Said::Content((channel, content)) => {
                if let Some(route) = stream(channel) {
                    sender.data(route.stream, &content).await?;
                }
            }
            Said::Closed(channel) => {
                if let Some(route) = stream(channel).copied() {
                    sender.finish(route.stream).await?;
                    routes.retain(|open| *open != route);
                }
            }
            Said::Nothing => {}
        }
    }
    Ok(())
}

/// What the node says; ends when nothing more can come. A process' end is told in one message.
async fn outward(
    mut receiver: Receiver,
    sink: &Sink,
    coding: Coding,
    purpose: &Purpose,
    mut routes: Vec<Route>,
) -> io::Result<()> {
    routes.retain(|route| route.way != Way::In);
    let is_process = matches!(purpose, Purpose::Process(_));
    let mut status = BytesMut::new();
    let mut broken = None;
    while !routes.is_empty() {
        let event = match receiver.next().await {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) => {
                broken = Some(error);
                break;
            }
        };
        match event {
            Event::Data(stream, content) => {
                let Some(route) = routes.iter().find(|route| route.stream == stream) else {
                    continue;
                };
                if is_process && route.channel == ERROR {
                    let room = MAX_STATUS.saturating_sub(status.len());
                    status.extend_from_slice(&content[..content.len().min(room)]);
                } else {
                    sink.send(coding.write(route.channel, &content)).await?;
                }
            }
            Event::End(stream) => routes.retain(|route| route.stream != stream),
        }
    }
    if is_process {
        let said = end_of_process(coding, &status);
        if let Some(said) = said {
            sink.send(coding.write(ERROR, &said)).await?;
        }
    }
    broken.map_or(Ok(()), Err)
}

/// What the client is told of a process' end. A node that fell silent has not told it: that is no
/// success.
fn end_of_process(coding: Coding, status: &[u8]) -> Option<Bytes> {
    if coding.status {
        return Some(match status {
            [] => Bytes::from(lost().to_string()),
            status => Bytes::copy_from_slice(status),
        });
    }
    let value: Value = serde_json::from_slice(status).unwrap_or_else(|_| lost());
    let message = value["message"].as_str().unwrap_or_default();
    (value["status"] != "Success").then(|| Bytes::from(message.to_owned()))
}

fn lost() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the connection to the node ended before the command did",
        "reason": "InternalError", "code": 500})
}

#[cfg(test)]
pub(super) mod tests;
