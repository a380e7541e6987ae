//! kube-rs as operators use it: derived kinds, watchers, reflectors, a controller, applies.
//!
//! The arguments are the names of the claims to run. Each has a namespace of its own, and for each is
//! printed what the standard harness would print.

mod boat;
mod claims;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams, ResourceExt};
use kube::{Client, Config};

/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// A claim by its name, as a function of a client and a namespace.
type Claim = (
    &'static str,
    fn(Client, String) -> Pin<Box<dyn Future<Output = Result<()>>>>,
);

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut config = Config::infer().await?;
    // A refusal is what some claims look for, not a reason to ask again.
    config.default_retry = false;
    let client = Client::try_from(config)?;
    boat::define(client.clone()).await?;
    let mut good = true;
    for (name, proof) in claims::CLAIMS {
        if wanted.is_empty() || wanted.iter().any(|it| it == name) {
            let namespace = namespace(&client).await?;
            let begin = Instant::now();
            let outcome = proof(client.clone(), namespace).await;
            let took = begin.elapsed().as_secs_f64();
            let word = if outcome.is_ok() { "ok" } else { "FAILED" };
            println!("test {name} ... {word} <{took:.2}s>");
            if let Err(error) = outcome {
                println!("{error:?}");
                good = false;
            }
        }
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A new namespace.
async fn namespace(client: &Client) -> Result<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut namespace = Namespace::default();
    namespace.metadata.generate_name = Some("n-".to_owned());
    let made = namespaces
        .create(&PostParams::default(), &namespace)
        .await?;
    Ok(made.name_any())
}

/// Waits until `check` answers something.
async fn eventually<T, F: Future<Output = Result<Option<T>>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(value) = check().await? {
            return Ok(value);
        }
        ensure!(begin.elapsed() < PATIENCE, "still not true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
