//! A real etcd cluster, on ports of the loopback or in namespaces of their own, whose members can be
//! killed, held and started again.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a cluster may take to have a leader.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ended, and its data removed, when dropped.
pub(crate) struct Etcd {
    members: Vec<Member>,
    dir: tempfile::TempDir,
    /// Flags beside the usual ones.
    flags: Vec<String>,
}

struct Member {
    child: Option<Child>,
    host: String,
    /// The namespace that it lives in, unless that is the test's.
    netns: Option<String>,
    client: u16,
    peer: u16,
}

impl Etcd {
    /// Starts so many members and waits for their leader. Without etcd on the machine that is said,
    /// and there is none.
    pub(crate) fn start(members: usize) -> Option<Self> {
        // All are held until all are known, so that none is given twice.
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let held: Vec<_> = (0..members).map(|_| (listen(), listen())).collect();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let members = held.iter().map(|(client, peer)| Member {
            child: None,
            host: "127.0.0.1".to_owned(),
            netns: None,
            client: port(client),
            peer: port(peer),
        });
        let members = members.collect();
        drop(held);
        Self::start_all(members, Vec::new())
    }

    /// One member whose database may have so many bytes.
    pub(crate) fn start_small(bytes: u64) -> Option<Self> {
        let port = || {
            TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port()
        };
        let member = Member {
            child: None,
            host: "127.0.0.1".to_owned(),
            netns: None,
            client: port(),
            peer: port(),
        };
        Self::start_all(vec![member], vec![format!("--quota-backend-bytes={bytes}")])
    }

    /// Posts JSON to the first member's gateway, which must take it; its answer.
    pub(crate) fn post(&self, path: &str, json: &str) -> String {
        let member = &self.members[0];
        let mut stream = TcpStream::connect((member.host.as_str(), member.client)).unwrap();
        let length = json.len();
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{json}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{path}: {answer}");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        body.unwrap_or_default().to_owned()
    }

    /// The same, each member in a namespace of its own, at an address that the caller reaches.
    pub(crate) fn start_at(places: impl Iterator<Item = (String, String)>) -> Option<Self> {
        let members = places.map(|(netns, host)| Member {
            child: None,
            host,
            netns: Some(netns),
            client: 2379,
            peer: 2380,
        });
        Self::start_all(members.collect(), Vec::new())
    }

    fn start_all(members: Vec<Member>, flags: Vec<String>) -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("SKIPPED: there is no etcd; `cargo xtask test` gets it");
            return None;
        };
        let mut etcd = Self {
            members,
            dir: tempfile::tempdir().unwrap(),
            flags,
        };
        for index in 0..etcd.members.len() {
            etcd.members[index].child = Some(etcd.spawn(&program, index, "new"));
        }
        etcd.wait_healthy();
        Some(etcd)
    }

    /// What `--etcd-servers` takes.
    pub(crate) fn servers(&self) -> Vec<String> {
        let urls = self.members.iter();
        urls.map(|member| member.url(member.client)).collect()
    }

    /// Waits until every running member says that it has a leader.
    pub(crate) fn wait_healthy(&self) {
        let end = Instant::now() + PATIENCE;
        let running = || self.members.iter().filter(|it| it.child.is_some());
        while !running().all(|member| member.get("/health").contains("\"true\"")) {
            assert!(Instant::now() < end, "etcd does not become healthy");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What members said last, and whether they are well: for a failure.
    pub(crate) fn said(&self) -> String {
        let members = self.members.iter().enumerate();
        let members = members.map(|(index, member)| {
            let log = std::fs::read_to_string(self.log(index)).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(20).collect();
            let health = member.get("/health");
            let health = health.lines().last().unwrap_or("no answer");
            format!("m{index}: {health}, latest first:\n{}", lines.join("\n"))
        });
        members.collect::<Vec<_>>().join("\n")
    }

    fn log(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("m{index}.log"))
    }

    /// The running member that leads.
    pub(crate) fn leader(&self) -> usize {
        let end = Instant::now() + PATIENCE;
        loop {
            let leads = |member: &Member| {
                member.child.is_some()
                    && member
                        .get("/metrics")
                        .contains("\netcd_server_is_leader 1\n")
            };
            if let Some(leader) = self.members.iter().position(leads) {
                return leader;
            }
            assert!(Instant::now() < end, "no member leads");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills a member with SIGKILL.
    pub(crate) fn kill(&mut self, index: usize) {
        let mut child = self.members[index].child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts a member that was killed, on what it had.
    pub(crate) fn restart(&mut self, index: usize) {
        let program = program().expect("it was there before");
        self.members[index].child = Some(self.spawn(&program, index, "existing"));
        self.wait_healthy();
    }

    /// Holds a member as if it were cut off, or lets it go on.
    pub(crate) fn hold(&self, index: usize, held: bool) {
        let pid = self.members[index].child.as_ref().expect("it runs").id();
        let signal = if held { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill")
            .args([signal, &pid.to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    fn spawn(&self, program: &PathBuf, index: usize, state: &str) -> Child {
        let member = &self.members[index];
        let all = self.members.iter().enumerate();
        let all: Vec<_> = all
            .map(|(index, it)| format!("m{index}={}", it.url(it.peer)))
            .collect();
        let (client, peer) = (member.url(member.client), member.url(member.peer));
        let log = std::fs::File::create(self.log(index)).unwrap();
        let flags = [
            ("--name", format!("m{index}")),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--initial-cluster", all.join(",")),
            ("--initial-cluster-state", state.to_owned()),
            // Elections within a second, on a busy machine too.
            ("--heartbeat-interval", "100".to_owned()),
            ("--election-timeout", "1000".to_owned()),
        ];
        let mut command = match &member.netns {
            None => Command::new(program),
            Some(netns) => {
                let mut inside = Command::new("ip");
                inside.args(["netns", "exec", netns]).arg(program);
                inside
            }
        };
        command
            .arg("--data-dir")
            .arg(self.dir.path().join(format!("m{index}")))
            .args(
                flags
                    .iter()
                    .flat_map(|(flag, value)| [*flag, value.as_str()]),
            )
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd starts")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(child) = &mut member.child {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Where `cargo xtask test` says that etcd is, or the one on the path.
fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("NARU_ETCD") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let files = std::env::split_paths(&path).map(|dir| dir.join("etcd"));
    files.into_iter().find(|file| file.is_file())
}

impl Member {
    fn url(&self, port: u16) -> String {
        format!("http://{}:{port}", self.host)
    }

    /// The answer to a plain GET; empty if nobody answers.
    fn get(&self, path: &str) -> String {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect((self.host.as_str(), self.client))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        asked().unwrap_or_default()
    }
}
