//! `/healthz`, `/livez` and `/readyz`: whether the server works, as a whole and check by check.
//!
//! The form is that of kube-apiserver: `ok` for who wants no more, a line for each check with
//! `?verbose`, checks left out by `?exclude=`, and a path for each check. What failed is said to
//! everybody, why only to who may ask for that check. The store is the check `etcd`, whatever it is
//! made on, because that is the name by which tools ask.
//!
//! Not here: the health of nodes and of what runs there.

use std::fmt::Write;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::body::{Reply, text};
use super::request::percent_decode;
use super::server::Server;
use super::status::{Result, Status};

/// How long a check may take; as in kube-apiserver.
const PATIENCE: Duration = Duration::from_secs(2);

static NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

#[derive(Clone, Copy)]
enum Check {
    Ping,
    Store,
    Running,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Store => "etcd",
            Self::Running => "shutdown",
        }
    }

    /// Why it fails, if it does.
    async fn ask(self, server: &Server) -> std::result::Result<(), String> {
        match self {
            Self::Ping => Ok(()),
            Self::Store => match tokio::time::timeout(PATIENCE, server.store.fresh()).await {
                Ok(fresh) => fresh.map_err(|error| format!("the store: {error}")),
                Err(_) => Err("the store does not answer".to_owned()),
            },
            Self::Running if server.stopping.is_cancelled() => {
                Err("the server is shutting down".to_owned())
            }
            Self::Running => Ok(()),
        }
    }
}

/// The name of a set of checks, and the set.
fn checks(path: &str) -> Option<(&'static str, &'static [Check])> {
    match path {
        "/healthz" => Some(("healthz", &[Check::Ping, Check::Store])),
        "/livez" => Some(("livez", &[Check::Ping, Check::Store])),
        "/readyz" => Some(("readyz", &[Check::Ping, Check::Store, Check::Running])),
        _ => None,
    }
}

/// Answers for a whole set of checks, if `path` is that of one; `query` is as it was sent.
pub(super) async fn whole(server: &Server, path: &str, query: &str) -> Option<Reply> {
    let (name, checks) = checks(path)?;
    let mut found = Vec::with_capacity(checks.len());
    let asked = Asked::parse(query);
    for check in checks {
        if asked.excluded.iter().any(|it| it == check.name()) {
            found.push((check.name(), Outcome::Excluded));
            continue;
        }
        let outcome = match check.ask(server).await {
            Ok(()) => Outcome::Well,
            Err(why) => {
                tracing::warn!(check = check.name(), why, "a health check fails");
                Outcome::Failed
            }
        };
        found.push((check.name(), outcome));
    }
    let (code, said) = said(name, &found, &asked);
    Some(plain(code, said))
}

/// Answers for one check, such as `/readyz/etcd`; none if `path` is below no set of checks.
///
/// # Errors
/// 404 for a check that there is not, 405 for anything but reading.
pub(super) async fn single(server: &Server, path: &str, method: &Method) -> Option<Result<Reply>> {
    let (set, name) = path.rsplit_once('/')?;
    let (_, checks) = checks(set)?;
    let Some(check) = checks.iter().find(|check| check.name() == name) else {
        return Some(Err(Status::no_such_resource()));
    };
    if method != Method::GET && method != Method::HEAD {
        return Some(Err(Status::method_not_allowed()));
    }
    Some(Ok(match check.ask(server).await {
        Ok(()) => plain(StatusCode::OK, "ok".to_owned()),
        Err(why) => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("internal server error: {why}\n"),
        ),
    }))
}

fn plain(code: StatusCode, said: String) -> Reply {
    let mut reply = text(code, said);
    let headers = reply.headers_mut();
    headers.insert(&NO_SNIFF, HeaderValue::from_static("nosniff"));
    reply
}

/// What a client wants to hear.
#[derive(Default)]
struct Asked {
    verbose: bool,
    /// Names of checks that do not count.
    excluded: Vec<String>,
}

impl Asked {
    /// Every `exclude` counts, not only the first one.
    fn parse(query: &str) -> Self {
        let mut asked = Self::default();
        for pair in query.split('&') {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("verbose", _) => asked.verbose = true,
                ("exclude", name) => asked.excluded.push(percent_decode(name)),
                _ => {}
            }
        }
        asked
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Well,
    Excluded,
    Failed,
}

/// The answer of the set `name`; one that fails is always verbose.
fn said(name: &str, found: &[(&str, Outcome)], asked: &Asked) -> (StatusCode, String) {
    let failed = found.iter().any(|(_, it)| *it == Outcome::Failed);
    if !failed && !asked.verbose {
        return (StatusCode::OK, "ok".to_owned());
    }
    let mut lines = String::new();
    for (check, outcome) in found {
        // A string takes whatever is written to it.
        let _ = match outcome {
            Outcome::Well => writeln!(lines, "[+]{check} ok"),
            Outcome::Excluded => writeln!(lines, "[+]{check} excluded: ok"),
            Outcome::Failed => writeln!(lines, "[-]{check} failed: reason withheld"),
        };
    }
    let known = |name: &String| found.iter().any(|(check, _)| check == name);
    let unknown: Vec<_> = asked.excluded.iter().filter(|name| !known(name)).collect();
    if !unknown.is_empty() {
        let names: Vec<_> = unknown.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(",");
        let _ = writeln!(
            lines,
            "warn: some health checks cannot be excluded: no matches for {names}"
        );
    }
    let (code, last) = match failed {
        true => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        false => (StatusCode::OK, "passed"),
    };
    let _ = writeln!(lines, "{name} check {last}");
    (code, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_no_more_hears_ok_and_a_failure_is_always_told() {
        let well = [("ping", Outcome::Well), ("etcd", Outcome::Well)];
        let terse = Asked::default();
        assert_eq!(said("livez", &well, &terse), (StatusCode::OK, "ok".into()));
        let broken = [("ping", Outcome::Well), ("etcd", Outcome::Failed)];
        let (code, lines) = said("livez", &broken, &terse);
        assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            lines,
            "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n"
        );
    }

    #[test]
    fn every_exclude_counts_and_one_that_names_no_check_is_warned_of() {
        let asked = Asked::parse("verbose&exclude=etcd&exclude=pi%6Eg&exclude=moon");
        assert_eq!(asked.excluded, ["etcd", "ping", "moon"]);
        let found = [("ping", Outcome::Excluded), ("etcd", Outcome::Excluded)];
        assert_eq!(
            said("readyz", &found, &asked).1,
            "[+]ping excluded: ok\n[+]etcd excluded: ok\n\
             warn: some health checks cannot be excluded: no matches for \"moon\"\n\
             readyz check passed\n"
        );
    }
}
