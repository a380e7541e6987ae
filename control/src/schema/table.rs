//! The parsed field table.
//!
//! A line that begins at the margin opens a definition: its name without `io.k8s.`, then the kinds
//! it is the schema of (`group/version/Kind`), or `=scalar` if it has no fields. A line that begins
//! with a space is a field of it: name, type, then facts in any order:
//!
//! | fact | meaning |
//! |---|---|
//! | `!` | the field is required |
//! | `atomic`, `set`, `map`, `granular` | list type (or map type) |
//! | `keys=a,b` | keys of a list of type `map` |
//! | `patch=merge`, `patch=retainKeys` | strategies of a strategic merge patch |
//! | `by=key` | its merge key |
//!
//! Types: `any`, `string`, `byte`, `boolean`, `int32`, `int64`, `number`, `object`, `time`, `quantity`,
//! `int-or-string`, `[]T`, `{}T` (map from string), `@definition`.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What all names of definitions begin with.
pub(super) const PREFIX: &str = "io.k8s.";

/// The text of the table.
pub(super) const SOURCE: &str =
    concat!(include_str!("kubernetes.table"), include_str!("naru.table"));

static TABLE: LazyLock<Table> = LazyLock::new(|| parse(SOURCE));

/// All definitions.
pub(super) struct Table {
    definitions: Vec<Definition>,
    by_kind: HashMap<(&'static str, &'static str, &'static str), Id>,
}

/// Index of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(u16);

/// What identifies a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct GroupVersionKind {
    /// Group, empty for the core group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
}

/// One named type.
pub(super) struct Definition {
    /// Name without [`PREFIX`].
    pub name: &'static str,
    /// The kinds whose objects it describes.
    pub kinds: Vec<GroupVersionKind>,
    /// Its shape.
    pub body: Body,
}

/// The shape of a definition.
pub(super) enum Body {
    /// An object with these fields, sorted by name.
    Fields(Vec<Field>),
    /// A single value.
    Scalar(Scalar),
}

/// One field of an object.
pub(super) struct Field {
    /// Name in JSON.
    pub name: &'static str,
    /// Type.
    pub r#type: Type,
    /// Whether an object without it is incomplete.
    pub required: bool,
    /// How a list or map is owned.
    pub ownership: Ownership,
    /// Keys of a list of type `map`, joined by commas.
    pub keys: &'static str,
    /// How a strategic merge patch treats it.
    pub patch: Patch,
}

/// The list type or map type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// Nothing is said.
    Unsaid,
    /// Replaced as a whole.
    Atomic,
    /// A list without duplicates.
    Set,
    /// A list of objects with keys.
    Map,
    /// A map whose members have owners of their own, whatever its type says.
    Granular,
}

/// What a strategic merge patch does to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Patch {
    /// A list is merged, not replaced.
    pub merge: bool,
    /// The client sends the names of the members to keep.
    pub retain_keys: bool,
    /// The member that identifies the elements of a merged list of objects, empty for scalars.
    pub key: &'static str,
}

/// The type of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    List(Box<Type>),
    /// A map from strings.
    Map(Box<Type>),
    /// A definition.
    Reference(Id),
}

/// A value without structure of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    /// Anything.
    Any,
    /// Any text.
    String,
    /// Base64.
    Byte,
    /// True or false.
    Boolean,
    /// 32 bits with sign.
    Int32,
    /// 64 bits with sign.
    Int64,
    /// Floating point.
    Number,
    /// An object of any shape.
    Object,
    /// RFC 3339.
    Time,
    /// A number with a suffix.
    Quantity,
    /// A port or a name, a count or a percentage.
    IntOrString,
}

impl Table {
    /// The table of this build.
    pub(super) fn get() -> &'static Table {
        &TABLE
    }

    /// The definition behind an index.
    pub(super) fn definition(&self, id: Id) -> &Definition {
        &self.definitions[usize::from(id.0)]
    }

    /// The definition that describes a kind.
    pub(super) fn kind(&self, group: &str, version: &str, kind: &str) -> Option<Id> {
        self.by_kind.get(&(group, version, kind)).copied()
    }

    /// All definitions in order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &Definition)> {
        let ids = (0..).map(Id);
        ids.zip(&self.definitions)
    }
}

impl Type {
    /// The definition that a field of this type leads to, directly or through a list or map.
    pub(super) fn reference(&self) -> Option<Id> {
        match self {
            Type::Scalar(_) => None,
            Type::List(inner) | Type::Map(inner) => inner.reference(),
            Type::Reference(id) => Some(*id),
        }
    }
}

impl Definition {
    /// The field of that name.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        let fields = self.fields();
        fields
            .binary_search_by(|field| field.name.cmp(name))
            .ok()
            .map(|index| &fields[index])
    }

    /// All fields, none for a scalar.
    pub(super) fn fields(&self) -> &[Field] {
        match &self.body {
            Body::Fields(fields) => fields,
            Body::Scalar(_) => &[],
        }
    }
}

/// Parses the table; it is part of the build, so a fault in it is a bug that any test finds.
fn parse(text: &'static str) -> Table {
    let lines = || {
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
    };
    let headings = lines().filter(|line| !line.starts_with(' '));
    let name = |line: &'static str| line.split(' ').next().unwrap_or_default();
    let by_name: HashMap<_, _> = headings.map(name).zip((0..).map(Id)).collect();

    let mut table = Table {
        definitions: Vec::new(),
        by_kind: HashMap::new(),
    };
    for line in lines() {
        match line.strip_prefix(' ') {
            None => open_definition(&mut table, line),
            Some(field) => {
                let field = parse_field(field, &by_name);
                let open = table
                    .definitions
                    .last_mut()
                    .map(|definition| &mut definition.body);
                if let Some(Body::Fields(fields)) = open {
                    fields.push(field);
                }
            }
        }
    }
    for definition in &mut table.definitions {
        if let Body::Fields(fields) = &mut definition.body {
            fields.sort_by_key(|field| field.name);
            fields.shrink_to_fit();
        }
    }
    table
}

fn open_definition(table: &mut Table, line: &'static str) {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default();
    let mut definition = Definition {
        name,
        kinds: Vec::new(),
        body: Body::Fields(Vec::new()),
    };
    for word in words {
        match word.strip_prefix('=') {
            Some(scalar) => definition.body = Body::Scalar(parse_scalar(scalar)),
            None => definition.kinds.extend(parse_kind(word)),
        }
    }
    // There are some hundred definitions; 16 bits hold their number.
    let id = Id(table.definitions.len() as u16);
    table.by_kind.extend(
        definition
            .kinds
            .iter()
            .map(|gvk| ((gvk.group, gvk.version, gvk.kind), id)),
    );
    table.definitions.push(definition);
}

fn parse_kind(word: &'static str) -> Option<GroupVersionKind> {
    let (group, rest) = word.split_once('/')?;
    let (version, kind) = rest.split_once('/')?;
    Some(GroupVersionKind {
        group,
        version,
        kind,
    })
}

fn parse_field(line: &'static str, names: &HashMap<&'static str, Id>) -> Field {
    let mut words = line.split(' ');
    let mut field = Field {
        name: words.next().unwrap_or_default(),
        r#type: parse_type(words.next().unwrap_or_default(), names),
        required: false,
        ownership: Ownership::Unsaid,
        keys: "",
        patch: Patch::default(),
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("!", _) => field.required = true,
            ("atomic", _) => field.ownership = Ownership::Atomic,
            ("set", _) => field.ownership = Ownership::Set,
            ("map", _) => field.ownership = Ownership::Map,
            ("granular", _) => field.ownership = Ownership::Granular,
            ("keys", keys) => field.keys = keys,
            ("by", key) => field.patch.key = key,
            ("patch", strategies) => {
                field.patch.merge = strategies.split(',').any(|strategy| strategy == "merge");
                field.patch.retain_keys = strategies.contains("retainKeys");
            }
            _ => unreachable!("the field table has an unknown fact {word:?}"),
        }
    }
    field
}

fn parse_type(word: &'static str, names: &HashMap<&'static str, Id>) -> Type {
    if let Some(element) = word.strip_prefix("[]") {
        return Type::List(Box::new(parse_type(element, names)));
    }
    if let Some(value) = word.strip_prefix("{}") {
        return Type::Map(Box::new(parse_type(value, names)));
    }
    match word.strip_prefix('@') {
        Some(name) => Type::Reference(names[name]),
        None => Type::Scalar(parse_scalar(word)),
    }
}

fn parse_scalar(word: &str) -> Scalar {
    match word {
        "any" => Scalar::Any,
        "string" => Scalar::String,
        "byte" => Scalar::Byte,
        "boolean" => Scalar::Boolean,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "number" => Scalar::Number,
        "object" => Scalar::Object,
        "time" => Scalar::Time,
        "quantity" => Scalar::Quantity,
        "int-or-string" => Scalar::IntOrString,
        _ => unreachable!("the field table has an unknown type {word:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_parses_and_describes_every_kind() {
        let table = Table::get();
        let written = |kind: &&&crate::registry::kind::Kind| kind.verbs.contains(&"create");
        for kind in crate::registry::KINDS.iter().filter(written) {
            let id = table
                .kind(kind.group, kind.version, kind.kind)
                .expect(kind.kind);
            assert!(
                table.definition(id).field("metadata").is_some(),
                "{}",
                kind.kind
            );
            let list = format!("{}List", kind.kind);
            assert!(
                table.kind(kind.group, kind.version, &list).is_some(),
                "{list}"
            );
        }
        for kind in ["DeleteOptions", "Status", "Binding"] {
            assert!(table.kind("", "v1", kind).is_some(), "{kind}");
        }
    }

    #[test]
    fn facts_of_a_field_are_read() {
        let table = Table::get();
        let mut definitions = table.iter().map(|(_, definition)| definition);
        let pod_spec = definitions
            .find(|found| found.name == "api.core.v1.PodSpec")
            .expect("PodSpec");
        let volumes = pod_spec.field("volumes").expect("volumes");
        assert_eq!(
            volumes.patch,
            Patch {
                merge: true,
                retain_keys: true,
                key: "name"
            }
        );
        assert_eq!((volumes.ownership, volumes.keys), (Ownership::Map, "name"));
        let containers = pod_spec.field("containers").expect("containers");
        assert!(containers.required && !containers.patch.retain_keys);
    }
}
