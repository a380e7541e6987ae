//! Many definitions of custom kinds, with schemas as long as those of operators that many clusters run.
//!
//! A definition is made when its kind is served. Afterwards the documents that show all kinds are read
//! once, as every `kubectl explain` and `apply` would have them made.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use clap::Args;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::access::Access;
use crate::crowd;
use crate::session::Session;

/// Requests in flight.
const WORKERS: usize = 8;
/// Objects within the objects of a kind, and fields of each.
const PARTS: usize = 40;
const FIELDS: usize = 15;
/// What a field says of itself: operators copy the words of the Kubernetes API.
const PROSE: &str = "How the operator treats this part of the object when it is missing, empty, or \
    differs from what the operator would have chosen by itself; more about that is to be found in \
    the documentation of the operator, under the name of the field.";
/// How long a kind may take to be served.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Arguments of `definitions`.
#[derive(Debug, Args)]
pub(crate) struct DefinitionsArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many.
    #[arg(long)]
    count: usize,
}

/// Makes them; the bytes of one as it was sent.
///
/// # Errors
/// When a request fails, or a kind is not served in time.
pub(crate) async fn run(args: &DefinitionsArgs) -> Result<f64> {
    let access = Access::of(&args.kubeconfig)?;
    let seats = Session::many(&access, WORKERS).await?;
    let mut reader = seats[0].clone();
    let count = args.count;
    crowd::run(seats, 0.0, |number, mut seat, _| async move {
        for i in crowd::share(count, number, WORKERS) {
            make(&mut seat, i).await?;
        }
        Ok(Vec::new())
    })
    .await?;
    for document in ["/openapi/v2", "/openapi/v3", "/apis"] {
        reader.drain(document).await?;
    }
    Ok(definition(0).len() as f64)
}

async fn make(seat: &mut Session, i: usize) -> Result<()> {
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    seat.call(Method::POST, definitions, definition(i), &[])
        .await?;
    let version = format!("/apis/g{i}.load.test/v1");
    let objects = format!("{version}/kinds");
    let begin = Instant::now();
    while !is_served(seat, &objects).await? {
        ensure!(begin.elapsed() < PATIENCE, "{objects} is not served");
        tokio::time::sleep(PAUSE).await;
    }
    seat.drain(&format!("/openapi/v3{version}")).await.map(drop)
}

async fn is_served(seat: &mut Session, objects: &str) -> Result<bool> {
    let absent = [StatusCode::NOT_FOUND];
    let answer = seat.call(Method::GET, objects, Bytes::new(), &absent);
    let answer: Value = serde_json::from_slice(&answer.await?)?;
    Ok(answer["kind"] == "KindList")
}

fn definition(i: usize) -> Bytes {
    let mut parts = Map::new();
    for part in 0..PARTS {
        let mut fields = Map::new();
        for field in 0..FIELDS {
            fields.insert(format!("field{field}"), of_field(field));
        }
        let part_of = json!({"type": "object", "description": PROSE, "properties": fields});
        parts.insert(format!("part{part}"), part_of);
    }
    let group = format!("g{i}.load.test");
    let spec = json!({"type": "object", "description": PROSE, "properties": parts});
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    let version = json!({"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": schema}});
    let names = json!({"plural": "kinds", "singular": "kind", "kind": "Kind"});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("kinds.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    });
    Bytes::from(definition.to_string())
}

fn of_field(number: usize) -> Value {
    let text = json!({"type": "string", "maxLength": 253});
    let mut field = match number % 4 {
        0 => text,
        1 => json!({"type": "integer", "format": "int64", "minimum": 0}),
        2 => json!({"type": "array", "items": text}),
        _ => json!({"type": "object", "additionalProperties": text}),
    };
    field["description"] = PROSE.into();
    field
}
