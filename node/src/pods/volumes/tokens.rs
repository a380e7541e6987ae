//! Service account tokens of a pod: asked for when due, kept until most of their life has passed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{Api, Client};

use super::payload::{TokenWish, token_wishes};
use crate::pods::names::PodId;
use crate::pods::plan::spec;

/// A token and when to replace it.
#[derive(Debug, Clone)]
struct Token {
    text: String,
    renew_at: Timestamp,
}

/// The tokens of one pod.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    held: BTreeMap<TokenWish, Token>,
}

impl Tokens {
    /// Asks for every token that is missing or due; one that can't be renewed is kept.
    ///
    /// # Errors
    /// The API's words about a token that the pod does not have yet.
    pub async fn renew(&mut self, client: &Client, pod: &Pod) -> Result<(), String> {
        for wish in token_wishes(pod) {
            let now = Timestamp::now();
            if self
                .held
                .get(&wish)
                .is_some_and(|token| token.renew_at > now)
            {
                continue;
            }
            match ask(client, pod, &wish).await {
                Ok(token) => {
                    self.held.insert(wish, token);
                }
                Err(error) if !self.held.contains_key(&wish) => return Err(plain(error)),
                Err(error) => tracing::warn!(%error, "token not renewed"),
            }
        }
        Ok(())
    }

    /// The texts of all tokens.
    pub fn texts(&self) -> BTreeMap<TokenWish, String> {
        self.held
            .iter()
            .map(|(wish, token)| (wish.clone(), token.text.clone()))
            .collect()
    }

    /// When the first token is due; `None` without tokens.
    pub fn renew_at(&self) -> Option<Timestamp> {
        self.held.values().map(|token| token.renew_at).min()
    }
}

/// What the API said, without the form in which it said it.
fn plain(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}

async fn ask(client: &Client, pod: &Pod, wish: &TokenWish) -> Result<Token, kube::Error> {
    let id = PodId::of(pod);
    let account = spec(pod)
        .service_account_name
        .as_deref()
        .unwrap_or("default");
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: (!wish.audience.is_empty()).then(|| vec![wish.audience.clone()]),
            expiration_seconds: Some(wish.seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(id.name),
                uid: Some(id.uid),
            }),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &id.namespace);
    let answer = api
        .create_token_request(account, &Default::default(), &request)
        .await?;
    let status = answer.status.unwrap_or_default();
    let now = Timestamp::now();
    let expires = status.expiration_timestamp.map_or(now, |time| time.0);
    Ok(Token {
        text: status.token.unwrap_or_default(),
        renew_at: renew_at(now, expires),
    })
}

/// At four fifths of the token's life, and at least once a day.
fn renew_at(now: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(now) * 4 / 5;
    now + life.clamp(
        SignedDuration::from_secs(10),
        SignedDuration::from_hours(24),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_well_before_they_expire() {
        let now = Timestamp::UNIX_EPOCH;
        let hour = SignedDuration::from_hours(1);
        assert_eq!(
            renew_at(now, now + hour),
            now + SignedDuration::from_mins(48)
        );
        assert_eq!(
            renew_at(now, now + hour * 24 * 365),
            now + SignedDuration::from_hours(24)
        );
        assert_eq!(renew_at(now, now), now + SignedDuration::from_secs(10));
    }
}
