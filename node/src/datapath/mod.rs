//! Loading, attaching, pinning and typed maps: the only code that calls aya.
