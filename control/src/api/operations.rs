//! The operations of a JSON patch, carried out within bounds: clients, webhooks and policies write
//! them, and a few bytes of them could ask for any amount of memory.

use json_patch::jsonptr::Pointer;
use json_patch::{Patch, PatchError, PatchErrorKind, PatchOperation};
use serde_json::Value;

/// Operations that a patch may have, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;
/// Bytes of JSON that the copies of a patch may add together, as in Kubernetes.
const MAX_COPIED: usize = 3 << 20;
/// Levels that an object may have in the end: as many as the decoder of bodies takes, which is the
/// decoder of what is stored, too.
const MAX_LEVELS: usize = 127;
/// Levels that it may seem to have in between before they are counted: far fewer than would exhaust
/// a stack, and so many that few operations count.
const COUNT_AT: usize = 512;

/// Why a patch was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It is too long.
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooMany(usize),
    /// Its copies add too much.
    #[error(
        "operation '/{operation}' failed at path '{path}': unable to copy, the accumulated size \
         increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
    )]
    Grows {
        /// Index of the copy that goes too far.
        operation: usize,
        /// Where it was to go.
        path: String,
        /// Bytes up to it.
        copied: usize,
    },
    /// What it makes could not be read again.
    #[error("the result has more than {MAX_LEVELS} levels")]
    TooDeep,
    /// An operation cannot be carried out.
    #[error(transparent)]
    Fails(#[from] PatchError),
}

impl Fault {
    /// Whether a test of the patch did not hold.
    pub(super) fn is_failed_test(&self) -> bool {
        matches!(self, Self::Fails(error) if matches!(error.kind, PatchErrorKind::TestFailed))
    }
}

/// Carries out the operations one after the other.
/// Unlike RFC 6902, and like Kubernetes, a test for null holds where there is no member: whoever
/// patches makes sure so that it is the first to add one.
///
/// # Errors
/// Which operation cannot be carried out, and why; those before it have been. And what goes beyond
/// the bounds of a patch.
pub(super) fn operate(new: &mut Value, patch: &Patch) -> Result<(), Fault> {
    if patch.len() > MAX_OPERATIONS {
        return Err(Fault::TooMany(patch.len()));
    }
    let mut copied = 0;
    // No fewer than there are.
    let mut deep = levels(new);
    for (number, operation) in patch.iter().enumerate() {
        if finds_nothing(new, operation) {
            continue;
        }
        if let PatchOperation::Copy(copy) = operation {
            copied += new.pointer(copy.from.as_str()).map_or(0, size);
            if copied > MAX_COPIED {
                return Err(Fault::Grows {
                    operation: number,
                    path: copy.path.to_string(),
                    copied,
                });
            }
        }
        json_patch::patch(new, std::slice::from_ref(operation)).map_err(|mut error| {
            error.operation = number;
            error
        })?;
        deep = deep.max(reach(operation, deep));
        if deep > COUNT_AT {
            deep = levels(new);
            if deep > MAX_LEVELS {
                return Err(Fault::TooDeep);
            }
        }
    }
    if deep > MAX_LEVELS && levels(new) > MAX_LEVELS {
        return Err(Fault::TooDeep);
    }
    Ok(())
}

/// The level down to which an operation may have put something into an object of `deep` levels.
fn reach(operation: &PatchOperation, deep: usize) -> usize {
    let moved = |from: &Pointer, path: &Pointer| path.count() + deep.saturating_sub(from.count());
    match operation {
        PatchOperation::Add(add) => add.path.count() + levels(&add.value),
        PatchOperation::Replace(replace) => replace.path.count() + levels(&replace.value),
        PatchOperation::Copy(copy) => moved(&copy.from, &copy.path),
        PatchOperation::Move(moving) => moved(&moving.from, &moving.path),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => 0,
    }
}

/// Whether the operation tests for null a member that an object hasn't.
fn finds_nothing(object: &Value, operation: &PatchOperation) -> bool {
    let PatchOperation::Test(test) = operation else {
        return false;
    };
    let path = test.path.as_str();
    let parent = path.rsplit_once('/').map(|(parent, _)| parent);
    let holder = parent.and_then(|parent| object.pointer(parent));
    test.value.is_null() && holder.is_some_and(Value::is_object) && object.pointer(path).is_none()
}

/// Bytes of a value as JSON.
fn size(value: &Value) -> usize {
    struct Counter(usize);

    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).expect("a JSON value encodes");
    counter.0
}

/// Levels of objects and lists in a value.
fn levels(value: &Value) -> usize {
    let below = match value {
        Value::Object(members) => members.values().map(levels).max(),
        Value::Array(items) => items.iter().map(levels).max(),
        _ => return 0,
    };
    1 + below.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(object: &Value, operations: Vec<Value>) -> Result<Value, Fault> {
        let patch: Patch = serde_json::from_value(operations.into()).unwrap();
        let mut new = object.clone();
        operate(&mut new, &patch).map(|()| new)
    }

    #[test]
    fn copies_that_double_an_object_end_at_the_limit() {
        let object = json!({"data": {"a": "x".repeat(100)}});
        let copy =
            |number| json!({"op": "copy", "from": "/data", "path": format!("/data/{number}")});
        let refused = patched(&object, (0..20).map(copy).collect()).unwrap_err();
        let Fault::Grows { copied, .. } = refused else {
            panic!("{refused}");
        };
        assert!(copied > MAX_COPIED, "{copied}");
        let copies = patched(&object, (0..5).map(copy).collect()).unwrap();
        assert_eq!(copies["data"]["4"]["3"]["2"]["1"]["0"], object["data"]);
    }

    #[test]
    fn copies_count_together_up_to_the_last_byte() {
        let half = MAX_COPIED / 2;
        let copies = |length: usize| {
            let object = json!({"a": "x".repeat(length - 2)});
            let to = |path: &str| json!({"op": "copy", "from": "/a", "path": path});
            patched(&object, vec![to("/b"), to("/c")])
        };
        assert!(copies(half).is_ok());
        assert!(matches!(copies(half + 1), Err(Fault::Grows { .. })));
    }

    #[test]
    fn a_patch_has_ten_thousand_operations_at_most() {
        let test = json!({"op": "test", "path": "/a", "value": 1});
        let object = json!({"a": 1});
        assert!(patched(&object, vec![test.clone(); MAX_OPERATIONS]).is_ok());
        let refused = patched(&object, vec![test; MAX_OPERATIONS + 1]).unwrap_err();
        assert!(matches!(refused, Fault::TooMany(10_001)), "{refused}");
    }

    #[test]
    fn what_is_made_can_be_read_again() {
        let nested = |levels: usize| {
            let path = |depth: usize| "/a".repeat(depth);
            let add = |depth| json!({"op": "add", "path": path(depth), "value": {}});
            patched(&json!({}), (1..levels).map(add).collect())
        };
        let deepest = nested(MAX_LEVELS).unwrap().to_string();
        serde_json::from_str::<Value>(&deepest).unwrap();
        for levels in [MAX_LEVELS + 1, COUNT_AT + 1, 3000] {
            assert!(matches!(nested(levels), Err(Fault::TooDeep)), "{levels}");
        }
    }

    #[test]
    fn what_is_only_moved_about_is_not_deep() {
        let there = json!({"op": "move", "from": "/a", "path": "/b/c"});
        let back = json!({"op": "move", "from": "/b/c", "path": "/a"});
        let object = json!({"a": {"x": {"y": {}}}, "b": {}});
        let about = [there, back].into_iter().cycle().take(5000).collect();
        assert_eq!(patched(&object, about).unwrap(), object);
        let deeper = json!({"op": "copy", "from": "/a", "path": "/a/x"});
        let refused = patched(&object, vec![deeper; 600]).unwrap_err();
        assert!(matches!(refused, Fault::TooDeep), "{refused}");
    }
}
