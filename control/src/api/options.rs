//! The options of a request, from its query string and, for deletions, from its body.

use serde_json::Value;

use super::managed::MAX_NAME;
use super::request::Query;
use super::selectors::{FieldSelector, LabelSelector};
use super::status::{Result, Status};
use super::value::{integer, items, text};
use crate::registry::kind::{FieldError, FieldErrorReason, Kind};

/// What to do with fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldValidation {
    /// Say nothing.
    Ignore,
    /// Warn in a header.
    Warn,
    /// Refuse.
    Strict,
}

/// Options of create, update and patch.
#[derive(Debug, Clone)]
pub(super) struct WriteOptions {
    /// The name under which the writer wants to be known.
    pub manager: Option<String>,
    /// Whether an apply takes what others own.
    pub force: Option<bool>,
    /// Check everything, write nothing.
    pub dry_run: bool,
    /// What to do with unknown fields.
    pub validation: FieldValidation,
}

impl WriteOptions {
    /// Who applies, which an apply has to say.
    ///
    /// # Errors
    /// 422 if it doesn't.
    pub(super) fn named_manager(&self) -> Result<&str> {
        self.manager.as_deref().ok_or_else(|| {
            let why = "Required value: is required for apply patch";
            Status::invalid_parameter("fieldManager", why)
        })
    }

    /// Reads `dryRun`, `fieldValidation`, `fieldManager` and `force`.
    ///
    /// # Errors
    /// 422 for values that are not among the known ones.
    pub(super) fn parse(query: &Query) -> Result<Self> {
        let validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let why = format!(
                    "Unsupported value: {other:?}: supported values: \"Ignore\", \"Warn\", \"Strict\""
                );
                return Err(Status::invalid_parameter("fieldValidation", &why));
            }
        };
        Ok(Self {
            manager: manager(query.get("fieldManager"))?,
            force: query.get("force").map(|_| query.flag("force")),
            dry_run: dry_run(query.get("dryRun"))?,
            validation,
        })
    }
}

fn manager(name: Option<&str>) -> Result<Option<String>> {
    let refused = |why: &str| Err(Status::invalid_parameter("fieldManager", why));
    match name {
        Some(name) if name.chars().count() > MAX_NAME => {
            refused("Too long: may not be more than 128 bytes")
        }
        Some(name) if name.chars().any(char::is_control) => {
            refused("Invalid value: should only contain printable characters")
        }
        name => Ok(name.map(str::to_owned)),
    }
}

fn dry_run(value: Option<&str>) -> Result<bool> {
    match value {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(other) => {
            let why = format!("Unsupported value: {other:?}: supported values: \"All\"");
            Err(Status::invalid_parameter("dryRun", &why))
        }
    }
}

/// What becomes of the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Propagation {
    /// They are deleted before their owner goes.
    Foreground,
    /// They are deleted after their owner went.
    Background,
    /// They stay, without an owner.
    Orphan,
}

/// Options of a deletion.
#[derive(Debug, Clone, Default)]
pub(super) struct DeleteOptions {
    /// Seconds between the mark and the end.
    pub grace: Option<i64>,
    /// Fate of the dependents.
    pub propagation: Option<Propagation>,
    /// The uid that the object must have.
    pub uid: Option<String>,
    /// The version that the object must have.
    pub resource_version: Option<String>,
    /// Check everything, delete nothing.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Reads the query, then the body, which wins.
    ///
    /// # Errors
    /// 422 for values that are not among the known ones.
    pub(super) fn parse(query: &Query, body: Option<&Value>) -> Result<Self> {
        let mut options = Self {
            grace: query
                .get("gracePeriodSeconds")
                .and_then(|text| text.parse().ok()),
            propagation: propagation(query.get("propagationPolicy"))?,
            dry_run: dry_run(query.get("dryRun"))?,
            ..Self::default()
        };
        if query.get("orphanDependents").is_some() {
            options.propagation = Some(orphan(query.flag("orphanDependents")));
        }
        if let Some(body) = body {
            options.read_body(body)?;
        }
        Ok(options)
    }

    fn read_body(&mut self, body: &Value) -> Result<()> {
        let filled = |pointer| Some(text(body, pointer)).filter(|text| !text.is_empty());
        self.grace = integer(body, "/gracePeriodSeconds").or(self.grace);
        self.propagation = propagation(filled("/propagationPolicy"))?.or(self.propagation);
        if let Some(flag) = body.get("orphanDependents").and_then(Value::as_bool) {
            self.propagation = Some(orphan(flag));
        }
        self.uid = filled("/preconditions/uid").map(str::to_owned);
        self.resource_version = filled("/preconditions/resourceVersion").map(str::to_owned);
        if let Some(value) = items(body, "/dryRun").first() {
            self.dry_run = dry_run(value.as_str())?;
        }
        Ok(())
    }
}

fn orphan(flag: bool) -> Propagation {
    if flag {
        Propagation::Orphan
    } else {
        Propagation::Background
    }
}

fn propagation(value: Option<&str>) -> Result<Option<Propagation>> {
    Ok(Some(match value {
        None => return Ok(None),
        Some("Foreground") => Propagation::Foreground,
        Some("Background") => Propagation::Background,
        Some("Orphan") => Propagation::Orphan,
        Some(other) => {
            let why = format!(
                "Unsupported value: {other:?}: supported values: \"Background\", \"Foreground\", \
                 \"Orphan\""
            );
            return Err(Status::invalid_parameter("propagationPolicy", &why));
        }
    }))
}

/// How a given `resourceVersion` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VersionMatch {
    /// Not older than the given one.
    NotOlderThan,
    /// Exactly the given one.
    Exact,
}

/// Options of list and watch.
#[derive(Debug, Clone)]
pub(super) struct ListOptions {
    /// Requirements on labels.
    pub labels: LabelSelector,
    /// Requirements on fields.
    pub fields: FieldSelector,
    /// Objects per page.
    pub limit: Option<usize>,
    /// Where the next page starts.
    pub continue_token: Option<String>,
    /// `None` when absent; 0 means anything.
    pub version: Option<u64>,
    /// How the version is meant.
    pub version_match: Option<VersionMatch>,
    /// Seconds until a watch ends.
    pub timeout: Option<u64>,
    /// Whether a watch carries bookmarks.
    pub bookmarks: bool,
    /// Whether a watch starts with what there is.
    pub initial_events: bool,
}

impl ListOptions {
    /// Whether a list is of the named version and no other. Pages of a named version are, too.
    pub(super) fn is_exact(&self) -> bool {
        match self.version_match {
            Some(matching) => matching == VersionMatch::Exact,
            None => self.limit.is_some() && self.version.is_some_and(|version| version > 0),
        }
    }

    /// Reads the query of a list or watch of `kind`.
    ///
    /// # Errors
    /// 400 or 422 naming what is malformed.
    pub(super) fn parse(query: &Query, kind: &Kind) -> Result<Self> {
        let watches = query.flag("watch");
        let faults = if watches {
            watch_faults(query)
        } else {
            list_faults(query)
        };
        if !faults.is_empty() {
            return Err(Status::invalid_options("ListOptions", &faults));
        }
        Ok(Self {
            labels: LabelSelector::parse(query.get("labelSelector").unwrap_or_default())?,
            fields: FieldSelector::parse(
                query.get("fieldSelector").unwrap_or_default(),
                &kind.labels(),
            )?,
            limit: number(query, "limit")?.filter(|limit| *limit > 0),
            continue_token: query.get("continue").map(str::to_owned),
            version: version(query)?,
            version_match: match query.get("resourceVersionMatch") {
                Some("Exact") => Some(VersionMatch::Exact),
                Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
                _ => None,
            },
            timeout: number(query, "timeoutSeconds")?,
            bookmarks: query.flag("allowWatchBookmarks")
                && query.get("allowWatchBookmarks").is_some(),
            initial_events: query.flag("sendInitialEvents")
                && query.get("sendInitialEvents").is_some(),
        })
    }
}

const MATCH: &str = "resourceVersionMatch";
const INITIAL: &str = "sendInitialEvents";

fn forbidden(field: &str, why: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        reason: FieldErrorReason::Forbidden,
        message: why.to_owned(),
    }
}

fn unsupported(value: &str, supported: &str) -> FieldError {
    FieldError {
        field: MATCH.to_owned(),
        reason: FieldErrorReason::NotSupported,
        message: format!("{value:?}: supported values: {supported}"),
    }
}

/// What is wrong with how a list says which version it wants.
fn list_faults(query: &Query) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if let Some(matching) = query.get(MATCH) {
        if query.get("resourceVersion").is_none() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            faults.push(forbidden(MATCH, why));
        }
        if query.get("continue").is_some() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            faults.push(forbidden(MATCH, why));
        }
        if !["Exact", "NotOlderThan"].contains(&matching) {
            faults.push(unsupported(matching, r#""Exact", "NotOlderThan", """#));
        }
        if matching == "Exact" && query.get("resourceVersion") == Some("0") {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            faults.push(forbidden(MATCH, why));
        }
    }
    if query.get(INITIAL).is_some() {
        faults.push(forbidden(
            INITIAL,
            "sendInitialEvents is forbidden for list",
        ));
    }
    faults
}

/// What is wrong with how a watch says where it begins.
fn watch_faults(query: &Query) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let (matching, initial) = (query.get(MATCH), query.get(INITIAL));
    if initial.is_some() && matching != Some("NotOlderThan") {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        faults.push(forbidden(MATCH, why));
    }
    let Some(matching) = matching else {
        return faults;
    };
    if initial.is_none() {
        let why =
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        faults.push(forbidden(MATCH, why));
    }
    if matching != "NotOlderThan" {
        faults.push(unsupported(matching, r#""NotOlderThan""#));
    }
    if query.get("continue").is_some() {
        let why = "resourceVersionMatch is forbidden when continue is provided";
        faults.push(forbidden(MATCH, why));
    }
    faults
}

fn number<T: std::str::FromStr>(query: &Query, key: &str) -> Result<Option<T>> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| Status::bad_request(format!("{key}: {text:?} is no number")))
    };
    query.get(key).map(parse).transpose()
}

/// The version that a request names.
///
/// # Errors
/// 422 if it is none.
pub(super) fn version(query: &Query) -> Result<Option<u64>> {
    let parse = |text: &str| {
        let why = format!("Invalid value: {text:?}: must be an unsigned integer");
        text.parse()
            .map_err(|_| Status::invalid_parameter("resourceVersion", &why))
    };
    query.get("resourceVersion").map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_body_of_a_deletion_wins_over_its_query() {
        let query = Query::new("gracePeriodSeconds=5&propagationPolicy=Orphan");
        let body = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Foreground",
            "preconditions": {"uid": "u"}, "dryRun": ["All"]});
        let options = DeleteOptions::parse(&query, Some(&body)).unwrap();
        assert_eq!(options.grace, Some(0));
        assert_eq!(options.propagation, Some(Propagation::Foreground));
        assert_eq!(options.uid.as_deref(), Some("u"));
        assert!(options.dry_run);
    }

    #[test]
    fn unknown_values_are_named() {
        assert_eq!(
            WriteOptions::parse(&Query::new("dryRun=Some"))
                .unwrap_err()
                .code,
            422
        );
        assert_eq!(
            WriteOptions::parse(&Query::new("fieldValidation=x"))
                .unwrap_err()
                .code,
            422
        );
        let query = Query::new("propagationPolicy=Later");
        assert_eq!(DeleteOptions::parse(&query, None).unwrap_err().code, 422);
    }
}
