//! The table of messages: `fields.table`, parsed on first use.
//!
//! A line without indent starts a message, with `apiVersion/Kind` behind it if it is one. An indented
//! line is a field: number, JSON name (`-` where the fields of the message stand in the outer object),
//! and type: `s` text, `i` integer, `t` truth, `b` bytes, `d` double, `time`, `quantity`, `intstr`,
//! `raw` JSON, `texts` in a message, `schema|list`, `schema|truth` and `schema|texts` of an OpenAPI
//! schema or something else, `skip`, `@message`; before it `?` for an optional value, `[]` for a list, `{}` for a
//! map with text keys.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

const SOURCE: &str = include_str!("fields.table");
/// The message of an OpenAPI schema.
pub(super) const SCHEMA: &str = "apiextensions.JSONSchemaProps";

/// All messages.
pub(super) struct Table {
    messages: HashMap<&'static str, Message>,
    kinds: HashMap<&'static str, &'static str>,
}

/// The fields of a message by number.
#[derive(Default)]
pub(super) struct Message(BTreeMap<u32, Field>);

/// One field.
#[derive(Clone, Copy)]
pub(super) struct Field {
    /// JSON name; `None` where the fields of the message stand in the outer object.
    pub(super) name: Option<&'static str>,
    /// How often it occurs.
    pub(super) label: Label,
    /// What a value is.
    pub(super) value: Type,
}

/// How often a field occurs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// Always written: an empty value means absence.
    Plain,
    /// Written when it is there.
    Optional,
    /// Any number of times.
    List,
    /// Any number of times, as pairs.
    Map,
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// Text.
    Text,
    /// Signed integer.
    Integer,
    /// Boolean.
    Truth,
    /// Bytes, base64 in JSON.
    Bytes,
    /// Floating point.
    Double,
    /// Seconds and nanoseconds, RFC 3339 in JSON.
    Time,
    /// Text in a message.
    Quantity,
    /// Integer or text in a message.
    IntOrString,
    /// JSON in a message.
    Raw,
    /// Texts in a message.
    Texts,
    /// An OpenAPI schema or something else, in a message.
    SchemaOr(Other),
    /// Of no use here.
    Skip,
    /// Another message.
    Message(&'static str),
}

/// What may stand in the place of an OpenAPI schema.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    /// Several of them.
    List,
    /// Whether anything is allowed.
    Truth,
    /// Names.
    Texts,
}

impl Table {
    pub(super) fn get() -> &'static Self {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(Self::parse)
    }

    fn parse() -> Self {
        let mut table = Self {
            messages: HashMap::new(),
            kinds: HashMap::new(),
        };
        let mut current = "";
        for line in SOURCE.lines().filter(|line| !line.starts_with('#')) {
            if let Some(field) = line.strip_prefix(' ') {
                let message = table.messages.entry(current).or_default();
                message.0.extend(parse_field(field));
            } else {
                let (name, kind) = line.split_once(' ').unwrap_or((line, ""));
                current = name;
                table.messages.insert(name, Message::default());
                table.kinds.insert(kind, name);
            }
        }
        table
    }

    /// The message of a kind.
    pub(super) fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Message> {
        // The options of a deletion are the same in every group.
        let key = match kind {
            "DeleteOptions" => "v1/DeleteOptions".to_owned(),
            _ => format!("{api_version}/{kind}"),
        };
        self.message(self.kinds.get(key.as_str())?)
    }

    /// Every kind as `apiVersion/Kind`, and its message.
    #[cfg(test)]
    pub(super) fn all_kinds(&self) -> impl Iterator<Item = (&'static str, &Message)> {
        let kinds = self.kinds.iter().filter(|(kind, _)| !kind.is_empty());
        kinds.filter_map(|(kind, message)| Some((*kind, self.message(message)?)))
    }

    /// A message by name.
    pub(super) fn message(&self, name: &str) -> Option<&Message> {
        self.messages.get(name)
    }

    #[cfg(test)]
    pub(super) fn assert_complete(&self) {
        for field in self
            .messages
            .values()
            .flat_map(|message| message.0.values())
        {
            if let Type::Message(name) = field.value {
                assert!(self.message(name).is_some(), "{name}");
            }
        }
        // Kinds of our own are JSON alone, as custom resources are.
        let served = crate::registry::KINDS
            .iter()
            .chain(crate::registry::REVIEWS);
        for kind in served.filter(|kind| kind.group != "naru.dev") {
            let version = crate::api::kinds::api_version(kind);
            assert!(self.of_kind(&version, kind.kind).is_some(), "{}", kind.kind);
        }
    }
}

impl Message {
    /// The field of that number.
    pub(super) fn field(&self, number: u32) -> Option<Field> {
        self.0.get(&number).copied()
    }

    /// All fields in the order of their numbers.
    pub(super) fn fields(&self) -> impl Iterator<Item = (u32, Field)> {
        self.0.iter().map(|(number, field)| (*number, *field))
    }
}

fn parse_field(line: &'static str) -> Option<(u32, Field)> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let name = words.next().filter(|name| *name != "-");
    let text = words.next()?;
    let (label, text) = [
        ("?", Label::Optional),
        ("[]", Label::List),
        ("{}", Label::Map),
    ]
    .into_iter()
    .find_map(|(mark, label)| Some((label, text.strip_prefix(mark)?)))
    .unwrap_or((Label::Plain, text));
    let value = match text {
        "s" => Type::Text,
        "i" => Type::Integer,
        "t" => Type::Truth,
        "b" => Type::Bytes,
        "d" => Type::Double,
        "time" => Type::Time,
        "quantity" => Type::Quantity,
        "intstr" => Type::IntOrString,
        "raw" => Type::Raw,
        "texts" => Type::Texts,
        "schema|list" => Type::SchemaOr(Other::List),
        "schema|truth" => Type::SchemaOr(Other::Truth),
        "schema|texts" => Type::SchemaOr(Other::Texts),
        message => message.strip_prefix('@').map_or(Type::Skip, Type::Message),
    };
    Some((number, Field { name, label, value }))
}
