//! Flags of the OpenID Connect issuer, named and meant as those of kube-apiserver.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use naru_control::api::{Oidc, OidcAlgorithm, OidcConfig};

/// Whose ID tokens are believed, and what they have to say.
#[derive(Args, Debug)]
pub(super) struct OidcArgs {
    /// URL of the OpenID Connect issuer whose ID tokens are believed; https only.
    #[arg(long, requires = "oidc_client_id")]
    oidc_issuer_url: Option<String>,
    /// Audience that the tokens must be for.
    #[arg(long, requires = "oidc_issuer_url")]
    oidc_client_id: Option<String>,
    /// Claim that is the user's name.
    #[arg(long, default_value = "sub")]
    oidc_username_claim: String,
    /// What stands before names: the issuer's URL and # unless they are emails; "-" for nothing.
    #[arg(long, allow_hyphen_values = true)]
    oidc_username_prefix: Option<String>,
    /// Claim that holds groups, a text or a list of texts.
    #[arg(long)]
    oidc_groups_claim: Option<String>,
    /// What stands before groups.
    #[arg(long, default_value = "")]
    oidc_groups_prefix: String,
    /// A claim that must be there with this value, as claim=value; may be repeated.
    #[arg(long = "oidc-required-claim", value_parser = pair, value_delimiter = ',')]
    oidc_required_claims: Vec<(String, String)>,
    /// File with the authorities of the issuer's certificate, PEM; else those that the machine trusts.
    #[arg(long)]
    oidc_ca_file: Option<PathBuf>,
    /// Algorithms of signatures that count.
    #[arg(long, value_delimiter = ',', default_value = "RS256", value_parser = algorithm)]
    oidc_signing_algs: Vec<OidcAlgorithm>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (claim, value) = text.split_once('=').ok_or("must be claim=value")?;
    Ok((claim.to_owned(), value.to_owned()))
}

/// Those of RFC 7518 that need no shared secret and that the crypto library here verifies.
fn algorithm(text: &str) -> Result<OidcAlgorithm, String> {
    const ALL: [&str; 8] = [
        "RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512",
    ];
    let known = ALL.contains(&text).then(|| text.parse().ok()).flatten();
    known.ok_or_else(|| format!("must be one of {}", ALL.join(", ")))
}

impl OidcArgs {
    /// The issuer, if one is believed.
    ///
    /// # Errors
    /// When its URL or its authorities make no sense.
    pub(super) fn open(&self) -> anyhow::Result<Option<Oidc>> {
        let (Some(issuer), Some(client)) = (&self.oidc_issuer_url, &self.oidc_client_id) else {
            return Ok(None);
        };
        let authority = match &self.oidc_ca_file {
            None => Vec::new(),
            Some(path) => std::fs::read(path)
                .with_context(|| format!("OIDC authorities {}", path.display()))?,
        };
        let oidc = Oidc::new(OidcConfig {
            issuer: issuer.clone(),
            client: client.clone(),
            username_claim: self.oidc_username_claim.clone(),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            groups_prefix: self.oidc_groups_prefix.clone(),
            required: self.oidc_required_claims.iter().cloned().collect(),
            algorithms: self.oidc_signing_algs.clone(),
            authority,
        })?;
        Ok(Some(oidc))
    }
}
