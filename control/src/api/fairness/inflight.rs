//! Plain limits on requests under way, for a server that is told not to be fair: one for those that
//! change something, one for the others. Nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::api::authn::User;
use crate::api::authz::MASTERS;
use crate::api::request::RequestInfo;

/// Seconds after which who is refused may ask again.
pub(super) const RETRY: u64 = 1;

/// Both limits.
pub(super) struct InFlight {
    reading: Option<Arc<Places>>,
    writing: Option<Arc<Places>>,
}

struct Places {
    taken: AtomicUsize,
    most: usize,
}

/// One of the requests under way.
pub(super) struct Flying(Arc<Places>);

impl InFlight {
    /// So many of each; 0: as many as come.
    pub(super) fn new(reading: usize, writing: usize) -> Self {
        let places = |most| {
            let taken = AtomicUsize::new(0);
            (most > 0).then(|| Arc::new(Places { taken, most }))
        };
        Self {
            reading: places(reading),
            writing: places(writing),
        }
    }

    /// A place for a request, or none if it needs none.
    ///
    /// # Errors
    /// When there is no place left, but for those who may do all.
    pub(super) fn enter(&self, user: &User, info: &RequestInfo) -> Result<Option<Flying>, ()> {
        let places = match info.verb {
            "watch" => return Ok(None),
            "get" | "list" => &self.reading,
            _ => &self.writing,
        };
        let Some(places) = places else {
            return Ok(None);
        };
        let others = places.taken.fetch_add(1, Ordering::Relaxed);
        let place = Flying(places.clone());
        if others < places.most {
            Ok(Some(place))
        } else if user.is_in(MASTERS) {
            Ok(None)
        } else {
            Err(())
        }
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::api::request::Query;

    fn info(method: &Method) -> RequestInfo {
        let path = "/api/v1/namespaces/n/pods/p";
        RequestInfo::new(method, path, &Query::default())
    }

    #[test]
    fn each_kind_of_request_has_its_limit() {
        let limits = InFlight::new(1, 2);
        let anybody = User::anonymous();
        let (get, put) = (info(&Method::GET), info(&Method::PUT));
        let reading = limits.enter(&anybody, &get).unwrap();
        assert!(limits.enter(&anybody, &get).is_err());
        let _writing = [(); 2].map(|()| limits.enter(&anybody, &put).unwrap());
        assert!(limits.enter(&anybody, &put).is_err());
        drop(reading);
        assert!(
            limits
                .enter(&anybody, &get)
                .is_ok_and(|place| place.is_some())
        );
    }

    #[test]
    fn who_may_do_all_is_served_and_no_limit_is_none() {
        let limits = InFlight::new(1, 0);
        let admin = User {
            groups: vec![MASTERS.to_owned()],
            ..User::default()
        };
        let (get, put) = (info(&Method::GET), info(&Method::PUT));
        let _places = [(); 3].map(|()| limits.enter(&admin, &get).unwrap());
        let places = [(); 9].map(|()| limits.enter(&User::anonymous(), &put).unwrap());
        assert!(places.iter().all(Option::is_none));
    }
}
