//! Types of values in expressions.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::sync::Arc;

/// Parts of a type, at most: one that is larger is [`Type::Open`].
const MAX_WEIGHT: usize = 512;

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Type {
    /// Anything; only the evaluation shows what.
    Dyn,
    /// Anything, because nothing here says what: an element of an empty list.
    Open,
    /// What a fault makes; it causes no other.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    /// The type of types.
    Kind,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Optional(Arc<Type>),
    /// An object whose fields are known.
    Object(Arc<Object>),
    /// A value that only its own functions look into, by its full name.
    Opaque(Arc<str>),
    /// A type that a function leaves open, by its letter; in signatures only.
    Param(u8),
}

/// An object whose fields are known.
#[derive(Debug)]
pub(crate) struct Object {
    /// What tells it from other objects, and what errors call it.
    pub(crate) name: String,
    /// Fields, as expressions call them; none if it may have any.
    pub(crate) fields: Option<BTreeMap<String, Type>>,
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Type {
    /// A list of these.
    pub(crate) fn list(of: Type) -> Type {
        Type::List(Arc::new(of)).bounded()
    }

    /// A map from one type to another.
    pub(crate) fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value)).bounded()
    }

    /// A value that may be missing.
    pub(crate) fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of)).bounded()
    }

    /// An object with these fields, named as expressions name them.
    pub(crate) fn object(name: &str, fields: impl IntoIterator<Item = (String, Type)>) -> Type {
        Type::Object(Arc::new(Object {
            name: name.to_owned(),
            fields: Some(fields.into_iter().collect()),
        }))
    }

    /// An object that may have any field.
    pub(crate) fn any_object(name: &str) -> Type {
        Type::Object(Arc::new(Object {
            name: name.to_owned(),
            fields: None,
        }))
    }

    /// The type, unless an expression piled it up.
    fn bounded(self) -> Type {
        let mut left = MAX_WEIGHT;
        if self.fits(&mut left) {
            self
        } else {
            Type::Open
        }
    }

    fn fits(&self, left: &mut usize) -> bool {
        let Some(rest) = left.checked_sub(1) else {
            return false;
        };
        *left = rest;
        match self {
            Type::List(of) | Type::Optional(of) => of.fits(left),
            Type::Map(key, value) => key.fits(left) && value.fits(left),
            _ => true,
        }
    }

    /// Whether nothing is known of a value.
    pub(crate) fn is_any(&self) -> bool {
        matches!(self, Type::Dyn | Type::Open | Type::Error)
    }

    fn may_be_null(&self) -> bool {
        matches!(
            self,
            Type::Null
                | Type::Timestamp
                | Type::Duration
                | Type::Object(_)
                | Type::Opaque(_)
                | Type::Optional(_)
        )
    }

    /// Whether a value of one may stand where the other is wanted.
    pub(crate) fn goes_with(&self, other: &Type) -> bool {
        match (self, other) {
            (one, other) if one.is_any() || other.is_any() => true,
            (Type::Null, other) | (other, Type::Null) => other.may_be_null(),
            (Type::List(one), Type::List(other)) | (Type::Optional(one), Type::Optional(other)) => {
                one.goes_with(other)
            }
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                key.goes_with(other_key) && value.goes_with(other_value)
            }
            (one, other) => one == other,
        }
    }

    /// The type of what is one or the other; they go together.
    pub(crate) fn join(&self, other: &Type) -> Type {
        match (self, other) {
            (Type::Open, other) => other.clone(),
            (one, Type::Open) => one.clone(),
            (Type::Error, _) | (_, Type::Error) => Type::Error,
            (Type::Dyn, _) | (_, Type::Dyn) => Type::Dyn,
            (Type::Null, other) => other.clone(),
            (Type::List(one), Type::List(other)) => Type::list(one.join(other)),
            (Type::Optional(one), Type::Optional(other)) => Type::optional(one.join(other)),
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                Type::map(key.join(other_key), value.join(other_value))
            }
            (one, _) => one.clone(),
        }
    }

    /// Whether it is this type and no other, as far as that is known.
    pub(crate) fn is(&self, wanted: &Type) -> bool {
        match (self, wanted) {
            (Type::Open, _) => true,
            (Type::List(one), Type::List(other)) => one.is(other),
            (one, other) => one == other,
        }
    }
}

impl Display for Type {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Type::Dyn | Type::Open => "dyn",
            Type::Error => "!error!",
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "timestamp",
            Type::Duration => "duration",
            Type::Kind => "type",
            Type::Object(object) => &object.name,
            Type::Opaque(name) => name,
            Type::List(of) => return write!(to, "list({of})"),
            Type::Optional(of) => return write!(to, "optional_type({of})"),
            Type::Map(key, value) => return write!(to, "map({key}, {value})"),
            Type::Param(letter) => return write!(to, "{}", char::from(*letter)),
        };
        to.write_str(name)
    }
}
