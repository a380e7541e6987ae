//! One client: what it claims, and a run of its script against a control plane of its own.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::prepare::{self, Ready};
use crate::process::Control;
use crate::report::Report;

/// How long one script may take; those of today take a fraction of it.
const PATIENCE: Duration = Duration::from_secs(600);
/// Lines of a log that stand beside a failure.
const WORDS: usize = 40;

/// What runs a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// `python3`, with what `requirements.txt` of all scripts lists.
    Python,
    /// `node`, with what `package-lock.json` beside the script lists.
    Node,
    /// `cargo`, of the package in whose `src` the script is.
    Cargo,
}

/// A client and its script.
pub(crate) struct Client {
    /// The name that stands before its claims.
    pub(crate) name: &'static str,
    /// The script's path below `tests/clients`.
    pub(crate) script: &'static str,
    /// What runs it.
    pub(crate) tool: Tool,
}

impl Client {
    /// Its claims whose names contain one of the filters, in the script's order. They are read from
    /// the script's text, so that a run which isn't about this client prepares nothing for it.
    pub(crate) fn claims(&self, filters: &[String]) -> Vec<String> {
        let path = self.source();
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let wanted = |name: &String| {
            let full = format!("{}::{name}", self.name);
            filters.is_empty() || filters.iter().any(|filter| full.contains(filter))
        };
        claimed(&text).into_iter().filter(wanted).collect()
    }

    /// Runs the script and reports every claim.
    pub(crate) fn prove(&self, claims: &[String], report: &mut Report) {
        match prepare::ready(self.tool, &self.source()) {
            Ok(Ready::Yes(command)) => self.run(command, claims, report),
            Ok(Ready::No(why)) => report.skipped(self.name, &why),
            Err(why) => report.failed(self.name, "the_client_is_installed", &why),
        }
    }

    fn run(&self, mut command: Command, claims: &[String], report: &mut Report) {
        let control = Control::start();
        let words = control.dir().join("client");
        let mut child = command
            .args(claims)
            .env("KUBECONFIG", control.kubeconfig())
            .env("HOME", control.dir())
            .env("TMPDIR", control.dir())
            .env("NARU_CONTROL_LOG", control.dir().join("log"))
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&words).expect("a file in a directory of our own"))
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let before = report.failures();
        let decided = self.listen(&mut child, report);
        let status = child.wait().expect("it is ours");
        for claim in claims.iter().filter(|claim| !decided.contains(*claim)) {
            report.failed(self.name, claim, &format!("not reached: {status}"));
        }
        if report.failures() > before {
            for (what, file) in [("the client", "client"), ("naru-control", "log")] {
                println!("--- the end of what {what} wrote");
                println!("{}", end_of(&control.dir().join(file)));
            }
        }
    }

    /// Reports what the script says, and which claims it decided. One that takes too long is ended.
    fn listen(&self, child: &mut Child, report: &mut Report) -> BTreeSet<String> {
        let (send, lines) = mpsc::channel();
        let output = child.stdout.take().expect("it is piped");
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.for_each(|line| send.send(line).unwrap_or_default());
        });
        let end = Instant::now() + PATIENCE;
        let mut decided = BTreeSet::new();
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => decided.extend(report.read(self.name, &line)),
                Err(mpsc::RecvTimeoutError::Disconnected) => return decided,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    println!("{}: not done within {PATIENCE:?}, ended", self.script);
                    let _ = child.kill();
                    return decided;
                }
            }
        }
    }

    fn source(&self) -> PathBuf {
        prepare::checkout().join("tests/clients").join(self.script)
    }
}

/// The functions that are marked: by `@claim` above them, in a comment where that is no decorator, or
/// by `claim(` before them.
fn claimed(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut marked = false;
    for line in text.lines() {
        if marked || line.starts_with("claim(") {
            let name = line.split(['(', ' ']).find(|word| word.contains('_'));
            names.extend(name.map(str::to_owned));
        }
        marked = line.trim_start_matches("// ") == "@claim";
    }
    names
}

fn end_of(path: &std::path::Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(WORDS)..].join("\n")
}
