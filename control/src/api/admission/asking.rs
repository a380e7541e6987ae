//! What expressions ask about somebody's rights (`authorizer`), and the answers.

use kube_cel::cel::Value as Seen;
use serde_json::Value;

use super::write::Write;
use crate::api::authn::User;
use crate::api::authz::{Attributes, allows};
use crate::api::request::ResourcePath;
use crate::api::value::text;
use crate::cel::{Answer, Question, Resource, What, authorizers};

impl Write<'_> {
    /// Answers as a request of who writes, or of the service account that is asked about, would be.
    pub(super) fn answer(self, question: &Question) -> Answer {
        let account = question.account.as_ref();
        let account = account.map(|(namespace, name)| User::account(namespace, name));
        // What the server writes by itself it may write.
        let allowed = match account.as_ref().or(self.request.user) {
            Some(user) => self.allows(user, question),
            None => true,
        };
        Answer {
            allowed,
            reason: String::new(),
        }
    }

    fn allows(self, user: &User, question: &Question) -> bool {
        let verb = question.verb.as_str();
        let (path, resource) = match &question.what {
            What::Path(path) => (path.as_str(), None),
            What::Resource(resource) => ("", Some(path_of(resource))),
        };
        let wish = Attributes {
            verb,
            path,
            resource: resource.as_ref(),
        };
        allows(user, wish, self.server)
    }
}

fn path_of(resource: &Resource) -> ResourcePath {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    ResourcePath {
        group: resource.group.clone(),
        version: "*".to_owned(),
        namespace: some(&resource.namespace),
        plural: resource.resource.clone(),
        name: some(&resource.name),
        subresource: some(&resource.subresource),
        ..ResourcePath::default()
    }
}

/// `authorizer`, and `authorizer.requestResource` of a request with these facts.
pub(super) fn variables(request: &Value) -> [(String, Seen); 2] {
    let of = |path: &str| text(request, path).to_owned();
    authorizers(Resource {
        group: of("/requestResource/group"),
        resource: of("/requestResource/resource"),
        subresource: of("/requestSubResource"),
        namespace: of("/namespace"),
        name: of("/name"),
    })
}
