//! Who is asked again: whoever wants to be, if others have changed the object since.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

/// Those who have been asked and want to be again, in their order, and what each of them left behind.
pub(super) struct Asked<T>(VecDeque<(Arc<T>, Value)>);

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Asked<T> {
    /// Notes who has been asked, and left the object as it is.
    pub(super) fn left(&mut self, who: &Arc<T>, object: &Value) {
        self.0.push_back((who.clone(), object.clone()));
    }

    /// The next one that would find another object than it left. Those before it are satisfied.
    pub(super) fn surprised(&mut self, now: &Value) -> Option<Arc<T>> {
        while let Some((who, left)) = self.0.pop_front() {
            if left != *now {
                return Some(who);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_are_asked_again_that_would_be_surprised() {
        let mut asked = Asked::default();
        for (who, left) in [("first", 1), ("second", 2), ("third", 3)] {
            asked.left(&Arc::new(who), &left.into());
        }
        let now = Value::from(2);
        assert_eq!(asked.surprised(&now).as_deref(), Some(&"first"));
        assert_eq!(asked.surprised(&now).as_deref(), Some(&"third"));
        assert_eq!(asked.surprised(&now), None);
    }
}
