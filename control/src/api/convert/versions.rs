//! Managers of one object who wrote in different versions, between which a webhook converts: what
//! one of them owns says nothing about another version, so that each is shown a write in its own.

use serde_json::Value;

use crate::api::kinds::Target;
use crate::api::managed::{self, Trace};
use crate::api::server::Server;
use crate::api::status::Result;

impl Server {
    /// Lets managers who wrote in versions other than that of a write give way to it.
    ///
    /// # Errors
    /// 409 where an apply that does not force would change what they own; what the webhook says.
    pub(in crate::api) async fn settle_versions(
        &self,
        requested: Target,
        trace: Trace<'_>,
        old: &Value,
        new: &mut Value,
    ) -> Result<()> {
        if requested.kind.custom.is_none() || self.converter(requested).is_none() {
            return Ok(());
        }
        let (settled, force) = match trace {
            Trace::Applied { force } => (requested.api_version(), force),
            Trace::Update(_) => (requested.stored().api_version(), true),
        };
        let Some(list) = managed::take(new) else {
            return Ok(());
        };
        let mut left = Some(list);
        for version in managed::versions(left.as_ref()) {
            let Some(target) = self.of_version(requested, &version) else {
                continue;
            };
            if version != settled {
                let both = self.shown(target, vec![old.clone(), new.clone()]).await?;
                left = managed::settle_version(target, left, (&both[0], &both[1]), force)?;
            }
        }
        managed::put(new, left);
        Ok(())
    }

    /// A kind in another version, `group/version`, if that is known.
    fn of_version(&self, target: Target, version: &str) -> Option<Target> {
        let kept = target.stored();
        if kept.api_version() == version {
            return Some(kept);
        }
        let (group, version) = version.rsplit_once('/')?;
        (group == target.kind.group)
            .then(|| self.find(group, version, target.kind.plural))
            .flatten()
    }
}
