//! Revisions, the watch log and the embedded back end.
