//! Lines that say what is going on, on standard error.

/// Announces a step.
pub(crate) fn step(what: &str) {
    eprintln!("==> {what}");
}

/// Adds a detail to the step.
pub(crate) fn detail(what: &str) {
    eprintln!("    {what}");
}
