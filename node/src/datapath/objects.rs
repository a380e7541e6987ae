//! The eBPF objects that the build embedded.

use super::error::DatapathError;

static OBJECTS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/objects.rs"));

/// One embedded object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object {
    pub(super) program: &'static str,
    pub(super) bytes: &'static [u8],
}

impl Object {
    /// The object of `program`.
    ///
    /// # Errors
    /// When the build had none.
    pub(super) fn of(program: &'static str) -> Result<Self, DatapathError> {
        let found = OBJECTS.iter().find(|(name, _)| *name == program);
        let (_, bytes) = found.ok_or(DatapathError::NotEmbedded(program))?;
        Ok(Self { program, bytes })
    }

    /// Name of the program's pin: it changes whenever the object does (FNV-1a of 64 bits).
    pub(super) fn pin(&self) -> String {
        let hash = self
            .bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        format!("{}-{hash:016x}", self.program)
    }
}
