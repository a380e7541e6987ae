//! Requests for certificates: nodes' are approved where rights say so, approved ones are signed by the
//! cluster's authority, old ones go.
//!
//! Approved by itself is only what is recognised as a node's client certificate, if its maker may
//! create `certificatesigningrequests/nodeclient`, or `selfnodeclient` for the node that he is. What
//! nodes show as servers is for people to approve, since nobody here knows which names are theirs.

mod plan;
mod signers;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use self::plan::{Step, plan};
use super::Context;
use super::runtime::writer::failed;
use super::runtime::{After, ApiError, Key, Queue, Reconcile, ReconcileError, now, time};
use crate::pki::{CertificateRequest, Purpose};

/// The reconciler of requests.
pub struct Controller {
    context: Arc<Context>,
    queue: Queue<Key>,
}

impl Controller {
    /// Subscribes to requests.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let this = Arc::new(Self {
            context,
            queue: Queue::default(),
        });
        let weak = Arc::downgrade(&this);
        this.context.caches.requests.subscribe(move |change| {
            if let (Some(this), Some(request)) = (weak.upgrade(), &change.new) {
                this.queue.add(Key::of(request.as_ref()));
            }
        });
        this
    }

    /// Whether the maker of a request may create this subresource of requests.
    async fn may(
        &self,
        request: &CertificateSigningRequest,
        subresource: &str,
    ) -> Result<bool, ApiError> {
        let spec = &request.spec;
        let asked = ResourceAttributes {
            group: Some("certificates.k8s.io".to_owned()),
            resource: Some("certificatesigningrequests".to_owned()),
            subresource: Some(subresource.to_owned()),
            verb: Some("create".to_owned()),
            version: Some("*".to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(asked),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews = kube::Api::<SubjectAccessReview>::all(self.context.writer.client().clone());
        let answer = reviews.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(failed::<CertificateSigningRequest>(
            "review access of",
            &Key::of(request),
        ))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Approves a request if one of these rights is its maker's.
    async fn decide(
        &self,
        request: &CertificateSigningRequest,
        rights: Vec<(&'static str, &'static str)>,
    ) -> Result<(), ApiError> {
        for (subresource, message) in rights {
            if self.may(request, subresource).await? {
                let approved = condition("Approved", "AutoApproved", message);
                return self.approve(request, approved).await;
            }
        }
        tracing::debug!(request = request.name_any(), "no right to be a node");
        Ok(())
    }

    async fn approve(
        &self,
        request: &CertificateSigningRequest,
        approved: CertificateSigningRequestCondition,
    ) -> Result<(), ApiError> {
        let name = request.name_any();
        let status = request.status.clone().unwrap_or_default();
        let mut conditions = status.conditions.unwrap_or_default();
        conditions.push(approved);
        let patch = json!({"metadata": {"resourceVersion": request.resource_version(),
            "uid": request.uid()}, "status": {"conditions": conditions}});
        let requests =
            kube::Api::<CertificateSigningRequest>::all(self.context.writer.client().clone());
        let params = PatchParams::default();
        let answer = requests
            .patch_approval(&name, &params, &Patch::Merge(&patch))
            .await;
        answer.map_err(failed::<CertificateSigningRequest>(
            "approve",
            &Key::of(request),
        ))?;
        tracing::info!(request = name, user = request.spec.username, "approved");
        Ok(())
    }

    async fn sign(
        &self,
        request: &CertificateSigningRequest,
        read: &CertificateRequest,
        purposes: &[Purpose],
        life: Duration,
    ) -> Result<(), ApiError> {
        let authority = &self.context.config.authority;
        let certificate = match authority.sign_request(read, purposes, life) {
            Ok(certificate) => certificate,
            Err(error) => return self.fail(request, &error.to_string()).await,
        };
        let mut signed = request.clone();
        let status = signed.status.get_or_insert_default();
        status.certificate = Some(ByteString(certificate.into_bytes()));
        self.context.writer.update_status(request, &signed).await?;
        tracing::info!(
            request = request.name_any(),
            subject = read.common_name(),
            seconds = life.as_secs(),
            "signed"
        );
        Ok(())
    }

    async fn fail(&self, request: &CertificateSigningRequest, why: &str) -> Result<(), ApiError> {
        let mut failed = request.clone();
        let status = failed.status.get_or_insert_default();
        let conditions = status.conditions.get_or_insert_default();
        conditions.push(condition("Failed", "SignerValidationFailure", why));
        self.context.writer.update_status(request, &failed).await?;
        Ok(())
    }
}

fn condition(kind: &str, reason: &str, message: &str) -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(time(now())),
        last_transition_time: Some(time(now())),
    }
}

impl Reconcile for Controller {
    type Key = Key;
    const NAME: &'static str = "certificates";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        self.context.caches.requests.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let Some(request) = self.context.caches.requests.at(key) else {
            return Ok(After::Settled);
        };
        let (step, left) = plan(&request, Timestamp::now());
        match step {
            Step::Leave => {}
            Step::Ask(rights) => self.decide(&request, rights).await?,
            Step::Sign(read, purposes, life) => {
                self.sign(&request, &read, &purposes, life).await?;
            }
            Step::Fail(why) => self.fail(&request, &why).await?,
            Step::Remove => self.context.writer.delete(request.as_ref()).await?,
        }
        let left = left.and_then(|left| Duration::try_from(left).ok());
        Ok(left.map_or(After::Settled, After::Again))
    }
}
