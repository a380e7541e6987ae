//! Quantities: the fixed-point numbers with suffixes in which Kubernetes writes resources.
//!
//! A quantity is a whole number of billionths in 128 bits. Kubernetes allows no finer scale (it
//! rounds up) and no number beyond 2⁶³−1 (it caps), so nothing it can express is lost here.
//! Beside the number a quantity remembers how it was written, because the canonical text depends on
//! that. See the resource model of Kubernetes ("Serialization Format" of `resource.Quantity`).

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

mod parse;
#[cfg(test)]
mod tests;

/// Billionths in one.
const ONE: i128 = 1_000_000_000;
/// The largest number that a quantity can have, in billionths: 2⁶³−1.
const MAX: i128 = i64::MAX as i128 * ONE;

/// A number with a suffix, such as `100m`, `1Gi`, `2e3`.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    form: Form,
}

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Powers of 1000: `n u m "" k M G T P E`.
    DecimalSi,
    /// Powers of 1024: `Ki Mi Gi Ti Pi Ei`.
    BinarySi,
    /// Powers of ten that are multiples of three: `e3`.
    DecimalExponent,
}

/// Why a text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseQuantityError {
    /// There is no number in front of the suffix.
    #[error("quantities must match a number followed by a suffix")]
    NoNumber,
    /// What follows the number is not a known suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity {
        nanos: 0,
        form: Form::DecimalSi,
    };

    /// A whole number, capped at ±(2⁶³−1) as Kubernetes does.
    #[must_use]
    pub const fn whole(value: i64, form: Form) -> Quantity {
        let nanos = value as i128 * ONE;
        Quantity {
            nanos: if nanos < -MAX { -MAX } else { nanos },
            form,
        }
    }

    /// Thousandths, as CPU time is counted.
    #[must_use]
    pub const fn milli(value: i64) -> Quantity {
        Quantity {
            nanos: value as i128 * (ONE / 1000),
            form: Form::DecimalSi,
        }
    }

    /// Bytes, written in powers of 1024.
    #[must_use]
    pub const fn bytes(value: i64) -> Quantity {
        Quantity::whole(value, Form::BinarySi)
    }

    /// The number rounded up to a whole one.
    #[must_use]
    pub const fn value(self) -> i64 {
        ceiling(self.nanos, ONE) as i64
    }

    /// The number in thousandths, rounded up, at most `i64::MAX`.
    #[must_use]
    pub fn milli_value(self) -> i64 {
        i64::try_from(ceiling(self.nanos, ONE / 1000)).unwrap_or(if self.nanos < 0 {
            i64::MIN
        } else {
            i64::MAX
        })
    }

    /// Whether the number is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether the number is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// How the quantity is written.
    #[must_use]
    pub const fn form(self) -> Form {
        self.form
    }
}

/// Division that rounds away from zero towards positive infinity.
const fn ceiling(nanos: i128, unit: i128) -> i128 {
    nanos.div_euclid(unit) + if nanos.rem_euclid(unit) == 0 { 0 } else { 1 }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Quantity, ParseQuantityError> {
        parse::parse(text)
    }
}

impl TryFrom<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> for Quantity {
    type Error = ParseQuantityError;

    fn try_from(
        quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity,
    ) -> Result<Quantity, ParseQuantityError> {
        quantity.0.parse()
    }
}

impl From<Quantity> for k8s_openapi::apimachinery::pkg::api::resource::Quantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Default for Quantity {
    fn default() -> Quantity {
        Quantity::ZERO
    }
}

/// The sum, capped; written like the left side unless that is zero.
impl Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        let form = if self.is_zero() {
            other.form
        } else {
            self.form
        };
        Quantity {
            nanos: (self.nanos + other.nanos).clamp(-MAX, MAX),
            form,
        }
    }
}

/// The difference, capped; written like the left side unless that is zero.
impl Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        self + Quantity {
            nanos: -other.nanos,
            form: other.form,
        }
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Quantity>>(quantities: I) -> Quantity {
        quantities.fold(Quantity::ZERO, Add::add)
    }
}

/// The canonical text: no fraction, the largest suffix that needs none.
impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Form::BinarySi if self.nanos.abs() >= 1024 * ONE && self.nanos % ONE == 0 => {
                binary(self.nanos / ONE, out)
            }
            Form::BinarySi => decimal(self.nanos, Form::DecimalSi, out),
            form => decimal(self.nanos, form, out),
        }
    }
}

fn binary(mut value: i128, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut power = 0;
    while value != 0 && value % 1024 == 0 && power < parse::BINARY.len() - 1 {
        value /= 1024;
        power += 1;
    }
    write!(out, "{value}{}", parse::BINARY[power])
}

fn decimal(mut value: i128, form: Form, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    if value == 0 {
        return out.write_str("0");
    }
    let mut exponent = -9;
    while value % 1000 == 0 && exponent < 18 {
        value /= 1000;
        exponent += 3;
    }
    match form {
        Form::DecimalExponent if exponent != 0 => write!(out, "{value}e{exponent}"),
        Form::DecimalExponent => write!(out, "{value}"),
        _ => write!(out, "{value}{}", parse::decimal_suffix(exponent)),
    }
}
