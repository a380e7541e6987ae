//! One NetworkPolicy more.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use http::Method;

use crate::access::Access;
use crate::objects::network_policy;
use crate::session::Session;

/// Arguments of `policy`.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Namespace of the policy.
    #[arg(long)]
    namespace: String,
    /// Its name; there must be none of it.
    #[arg(long)]
    name: String,
    /// The label `app` of the pods that it selects.
    #[arg(long)]
    app: String,
    /// The port to which it lets everybody in.
    #[arg(long)]
    port: u16,
}

/// Makes it on a connection that is open already; when the request was sent, in seconds since 1970.
///
/// # Errors
/// When the request fails.
pub(crate) async fn run(args: &PolicyArgs) -> Result<f64> {
    let mut session = Session::open(&Access::of(&args.kubeconfig)?).await?;
    let namespace = &args.namespace;
    let path = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
    let policy = network_policy(&args.name, &args.app, args.port);
    let sent = SystemTime::now().duration_since(UNIX_EPOCH)?;
    session.call(Method::POST, &path, policy, &[]).await?;
    Ok(sent.as_secs_f64())
}
