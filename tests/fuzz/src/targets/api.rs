//! A whole API server in this process, over a store of its own, asked by an administrator or by
//! somebody nobody knows. Every request is a dry run: it goes all the way but for the disk.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use naru_control::api::{
    AddressPlan, Api, Exemptions, Internal, Kinds, NodeClient, Reply, STACK, Server, ServerConfig,
    StaticTokens, Tokens, follow_definitions, read_protobuf,
};
use naru_control::pki::{Authority, LEAF_LIFE, Rotation, Subject};
use naru_control::registry::KINDS;
use naru_control::store::Store;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::requests::{self, Asked, Asker, Theme};
use super::{answer, examples};
use crate::Target;
use crate::hunt::WORKER;

/// How long the server may take to publish the custom kind of the examples.
const PATIENCE: Duration = Duration::from_secs(30);

/// What nobody need say who he is for.
const PUBLIC: [&str; 5] = ["/version", "/version/", "/healthz", "/livez", "/readyz"];

pub(super) struct Requests {
    runtime: Runtime,
    client: Arc<Client>,
    stopping: CancellationToken,
    _data: TempDir,
}

/// Who asks what.
struct Client {
    theme: &'static Theme,
    api: Api,
    admin: Internal,
}

impl Requests {
    /// The target of that name, with a server of its own.
    pub(super) fn open(name: &str) -> anyhow::Result<Self> {
        let theme = requests::theme(name).with_context(|| format!("there is no target {name}"))?;
        let data = tempfile::tempdir()?;
        let stopping = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(WORKER)
            .thread_stack_size(STACK)
            .enable_all()
            .build()?;
        let server = {
            let _inside = runtime.enter();
            Arc::new(server(&data, &stopping)?)
        };
        let api = Api::new(server.clone());
        runtime.spawn(follow_definitions(server, stopping.clone()));
        let client = Client {
            admin: Internal::new(api.clone(), "admin", &["system:masters"]),
            theme,
            api,
        };
        let this = Self {
            runtime,
            client: Arc::new(client),
            stopping,
            _data: data,
        };
        this.prepare()?;
        Ok(this)
    }

    /// Makes what the examples are about.
    fn prepare(&self) -> anyhow::Result<()> {
        for (path, object) in examples::there() {
            let body = object.to_string();
            let (code, said) = self.runtime.block_on(self.client.post(path, body));
            ensure!(code == StatusCode::CREATED, "{path}: {code} {said}");
        }
        let published = async {
            let ask = || self.client.post(requests::BOATS, String::new());
            while ask().await.0 == StatusCode::NOT_FOUND {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let published = async { tokio::time::timeout(PATIENCE, published).await };
        self.runtime
            .block_on(published)
            .context("the custom kind is not served")
    }
}

impl Client {
    async fn post(&self, path: &str, body: String) -> (StatusCode, String) {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(Full::from(body)).expect("a request");
        let asked = self.admin.clone().oneshot(request);
        let reply = asked.await.unwrap_or_else(|never| match never {});
        let code = reply.status();
        let said = reply.into_body().collect().await;
        let said = said.map(|said| said.to_bytes()).unwrap_or_default();
        (code, String::from_utf8_lossy(&said).into_owned())
    }

    async fn ask(&self, asked: Asked) -> Result<u64, String> {
        let open = PUBLIC.contains(&asked.head.uri().path());
        let body = Full::from(asked.body);
        let reply = match self.theme.asker {
            Asker::Administrator => {
                let asked = self.admin.clone().oneshot(asked.head.map(|()| body));
                asked.await.unwrap_or_else(|never| match never {})
            }
            Asker::Stranger => {
                let body = body.map_err(|never| match never {}).boxed_unsync();
                self.api.handle(asked.head.map(|()| body)).await
            }
        };
        if matches!(self.theme.asker, Asker::Stranger) && !open && reply.status().is_success() {
            return Err(format!("{} for a stranger", reply.status()));
        }
        check(reply).await
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl Target for Requests {
    fn examples(&self) -> Vec<Vec<u8>> {
        (self.client.theme.examples)()
    }

    fn words(&self) -> &[&str] {
        self.client.theme.words
    }

    fn read(&self, input: &[u8]) -> Result<u64, String> {
        match requests::parse(input) {
            // HTTP has no such request: no server sees it.
            None => Ok(0),
            // On the stack of a worker, as in a server.
            Some(asked) => {
                let client = self.client.clone();
                let asking = self.runtime.spawn(async move { client.ask(asked).await });
                let answer = self.runtime.block_on(asking);
                answer.map_err(|died| died.to_string())?
            }
        }
    }
}

/// Whatever was asked: the answer is no fault of the server, and a refusal is a Status that says why.
async fn check(reply: Reply) -> Result<u64, String> {
    let code = reply.status();
    let warnings = reply.headers().get_all("warning").iter().count().min(3);
    if reply.body().size_hint().exact().is_none() {
        // It goes on, like a watch.
        return Ok(answer((code.as_u16(), warnings)));
    }
    let form = reply.headers().get(CONTENT_TYPE);
    let form = form.map(|form| form.to_str().unwrap_or_default().to_owned());
    let body = reply.into_body().collect().await;
    let body = body.map_err(|e| format!("{code}: the answer breaks off: {e}"))?;
    let said = document(&body.to_bytes(), &form.unwrap_or_default());
    if !code.is_client_error() && !code.is_server_error() {
        return Ok(answer((code.as_u16(), warnings, said["kind"].as_str())));
    }
    let message = said["message"].as_str().unwrap_or_default();
    if code == StatusCode::INTERNAL_SERVER_ERROR {
        return Err(format!("{code}: {message}"));
    }
    if said["kind"] != "Status" || said["code"] != code.as_u16() || message.is_empty() {
        return Err(format!("{code} without a Status that says why: {said}"));
    }
    let causes = said["details"]["causes"].as_array().map_or(0, Vec::len);
    Ok(answer((code.as_u16(), causes.min(4), gist(message))))
}

/// What an answer says; nothing if that is no document.
fn document(body: &[u8], media_type: &str) -> Value {
    match media_type {
        "application/yaml" => {
            let text = std::str::from_utf8(body).unwrap_or_default();
            serde_saphyr::from_str(text).unwrap_or_default()
        }
        "application/vnd.kubernetes.protobuf" => read_protobuf(body).unwrap_or_default(),
        _ => serde_json::from_slice(body).unwrap_or_default(),
    }
}

/// What a message says, without the names and numbers of whoever asked.
fn gist(message: &str) -> Vec<&str> {
    let words = message.split_whitespace();
    let plain = words.filter(|word| word.bytes().all(|b| b.is_ascii_lowercase()));
    plain.take(8).collect()
}

fn server(data: &TempDir, stopping: &CancellationToken) -> anyhow::Result<Server> {
    let kinds = Kinds(KINDS);
    let authority = Arc::new(Authority::open(&data.path().join("pki"))?);
    let shown = Rotation::new(authority.clone(), LEAF_LIFE).rotating(Subject::default())?;
    let config = ServerConfig {
        advertise_address: [127, 0, 0, 1].into(),
        advertise_port: 6443,
        plan: AddressPlan::parse(&["10.96.0.0/12", "fd00:96::/108"], "30000-32767")?,
        authority: authority.certificate().to_owned(),
        bootstrap_tokens: true,
        exempt: Exemptions::default(),
    };
    let store = Store::open(&data.path().join("store.redb"), &kinds.resources())?;
    Ok(Server::new(
        store,
        kinds,
        Tokens::open(&data.path().join("sa.key"))?,
        StaticTokens::default(),
        NodeClient::new(shown, authority.certificate())?,
        config,
        stopping.clone(),
    ))
}
