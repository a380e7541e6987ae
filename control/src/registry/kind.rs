//! What the API machinery knows about one kind. Adding a kind is one file that holds one [`Kind`].

use serde_json::Value;

use super::custom::Custom;
use super::{column, prepare};
use crate::schema::{Report, structural};

/// One kind of the API, as plain data and pure functions; the machinery in `api` does the rest.
#[derive(Clone, Copy)]
pub struct Kind {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Version within the group, such as `v1`.
    pub version: &'static str,
    /// Kind, such as `Deployment`.
    pub kind: &'static str,
    /// Plural resource name, as in paths.
    pub plural: &'static str,
    /// Singular resource name.
    pub singular: &'static str,
    /// Short names that kubectl accepts.
    pub short_names: &'static [&'static str],
    /// Categories, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// The form of its objects' names.
    pub names: NameForm,
    /// Where its objects are kept in the form of another version; the reading and writing of them
    /// then goes through that kind's rules.
    pub stored_as: Option<Conversion>,
    /// Whether it is kept only: no controller and no node acts on it.
    pub inert: bool,
    /// What can be done with its objects, in the order of discovery.
    pub verbs: &'static [&'static str],
    /// Whether the deletion of an object that goes at once is answered with the object instead of a
    /// Status; typed clients rely on which it is.
    pub returned: bool,
    /// Whether `/status` is a subresource with its own write path.
    pub status: bool,
    /// Parts of its objects that are written on paths of their own, by rules of their own.
    pub parts: &'static [OwnPart],
    /// Where `/scale` finds its fields, for kinds that have it.
    pub scale: Option<ScalePaths>,
    /// Columns of the server-side table, after the object's own metadata.
    pub columns: &'static [Column],
    /// The cells of one row, in the order of `columns`; `now` is seconds since the epoch.
    pub cells: fn(object: &Value, now: i64) -> Vec<Value>,
    /// Fills in defaults; runs on every decoded object before validation and is idempotent.
    pub default: fn(&mut Value),
    /// Carries over or resets what a client may not set: runs after defaulting, before validation.
    /// On create `old` is absent (status is dropped, generation set to 1 where the kind has one);
    /// on update it keeps status and raises the generation when the spec changed.
    pub prepare: fn(new: &mut Value, old: Option<&Value>),
    /// Every fault of the object, none if it may be stored. Metadata is checked by the machinery.
    pub validate: fn(new: &Value, old: Option<&Value>) -> Vec<FieldError>,
    /// What a valid object asks for in vain, each a sentence that begins with the field's path; its
    /// writer hears it as a warning.
    pub warnings: fn(&Value) -> Vec<String>,
    /// Field selectors beyond `metadata.name` and `metadata.namespace`: label and how to read it.
    pub fields: &'static [FieldSelector],
    /// What a kind that clients brought along has beside.
    pub(crate) custom: Option<&'static Custom>,
    /// Field selectors by dotted path, such as `spec.color`; they come after `fields`.
    pub paths: &'static [&'static str],
}

/// A field selector's label, and how to read it from an object.
pub type FieldSelector = (&'static str, fn(&Value) -> String);

impl Kind {
    /// Brings an object into canonical form, then fills in defaults.
    pub(crate) fn complete(&self, object: &mut Value) {
        match self.custom {
            Some(custom) => custom.complete(object),
            None => {
                crate::schema::canonicalize(self.group, self.version, self.kind, object);
                (self.default)(object);
            }
        }
    }

    /// Whether an object has the shape of the kind.
    pub(crate) fn check(&self, object: &Value) -> Report {
        match self.custom {
            Some(custom) => Report {
                unknown: structural::unknown(&custom.schema, object),
                faults: Vec::new(),
            },
            None => crate::schema::check(self.group, self.version, self.kind, object),
        }
    }

    /// Every fault of an object, none if it may be stored.
    pub(crate) fn faults(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        match self.custom {
            Some(custom) => custom.faults(new, old),
            None => (self.validate)(new, old),
        }
    }

    /// The cells of an object's row.
    pub(crate) fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        match self.custom {
            Some(custom) => custom.cells(object, now),
            None => (self.cells)(object, now),
        }
    }

    /// The part that is written on the path `subresource`.
    pub(crate) fn part(&self, subresource: &str) -> Option<&'static OwnPart> {
        self.parts.iter().find(|part| part.name == subresource)
    }

    /// The labels of its field selectors, in the order of the values that the store keeps.
    pub(crate) fn labels(&self) -> Vec<&'static str> {
        let fields = self.fields.iter().map(|(label, _)| *label);
        fields.chain(self.paths.iter().copied()).collect()
    }

    /// What a valid object asks for in vain, for its writer to hear.
    pub(crate) fn in_vain(&self, object: &Value) -> Vec<String> {
        let mut warnings = (self.warnings)(object);
        if self.inert {
            let kind = self.kind;
            warnings.push(format!(
                "{kind} is stored and served, but nothing in this cluster acts on it yet"
            ));
        }
        warnings
    }

    /// A namespaced kind without special features, to be completed by struct update.
    pub(crate) const PLAIN: Kind = Kind {
        group: "",
        version: "v1",
        kind: "",
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: true,
        names: NameForm::Subdomain,
        stored_as: None,
        inert: false,
        verbs: &[
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ],
        returned: false,
        status: false,
        parts: &[],
        scale: None,
        columns: &[column::NAME, column::AGE],
        cells: |object, now| vec![column::name(object), super::age::age(object, now)],
        default: |_| {},
        prepare: prepare::nothing,
        validate: |_, _| Vec::new(),
        warnings: |_| Vec::new(),
        fields: &[],
        custom: None,
        paths: &[],
    };
}

/// A part of a kind's objects that is written as a subresource of them: an object comes in, and of
/// it that part is taken.
pub struct OwnPart {
    /// The subresource.
    pub name: &'static str,
    /// Leaves of an object's spec what is about the part, and what tells its elements apart.
    pub select: fn(spec: &mut Value),
    /// The stored object with the part as `written` has it; all else stays.
    pub merge: fn(old: &Value, written: &Value) -> Value,
    /// Every fault of the object with its new part, none if it may be stored.
    pub validate: fn(new: &Value, old: &Value) -> Vec<FieldError>,
}

impl PartialEq for OwnPart {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for OwnPart {}

impl std::fmt::Debug for OwnPart {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

/// What an object's name has to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameForm {
    /// Lower case parts joined by dots (RFC 1123).
    Subdomain,
    /// One such part.
    Label,
    /// A part that begins with a letter (RFC 1035).
    ServiceLabel,
    /// Anything that can stand in a path.
    PathSegment,
}

/// How a version of a kind that is stored in another version is translated. Both directions rewrite
/// `apiVersion` and `kind`, too, and lose nothing that the versions share.
#[derive(Clone, Copy)]
pub struct Conversion {
    /// The kind under whose rules its objects are kept.
    pub kind: &'static Kind,
    /// From this version to the stored one.
    pub to_stored: fn(&mut Value),
    /// Back.
    pub from_stored: fn(&mut Value),
}

/// JSON pointers that `/scale` maps to.
#[derive(Clone, Copy)]
pub struct ScalePaths {
    /// Desired replicas, such as `/spec/replicas`.
    pub spec_replicas: &'static str,
    /// Observed replicas.
    pub status_replicas: &'static str,
    /// A LabelSelector, a map of labels or their text, rendered as text in the Scale's status.
    pub selector: &'static str,
}

/// A column definition of `meta.k8s.io/v1` Table.
#[derive(Clone, Copy)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer`, `date`.
    pub r#type: &'static str,
    /// OpenAPI format, `name` for the first column.
    pub format: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
}

/// One fault in an object; becomes a cause of a 422 `Status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path from the object's root, such as `spec.containers[0].image`.
    pub field: String,
    /// The machine-readable reason.
    pub reason: FieldErrorReason,
    /// The sentence, without the path.
    pub message: String,
}

/// The `reason` of a Status cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorReason {
    /// A required value is missing.
    Required,
    /// A value is malformed or out of range.
    Invalid,
    /// A value is not among those supported.
    NotSupported,
    /// A value occurs twice where it must be unique.
    Duplicate,
    /// A value names something that is not there.
    NotFound,
    /// A value may not be set or changed.
    Forbidden,
}
