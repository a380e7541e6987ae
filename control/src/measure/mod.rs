//! What objects ask for and use up, in the terms of LimitRanges and ResourceQuotas.
//!
//! Pure functions over JSON, shared by admission, which charges what is made, and by the controller
//! that counts again; two ways of counting would never agree. Nothing here looks at a second object.

pub(crate) mod amounts;
mod scope;
mod usage;

pub(crate) use amounts::Amounts;
pub(crate) use scope::applies;
pub(crate) use usage::{COMPUTE, missing, of};
