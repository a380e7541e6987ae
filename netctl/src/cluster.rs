//! The cluster as netctl sees it: the API for names, the nodes for what happens.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use naru_node_api::flows::flows_client::FlowsClient;
use tonic::{Code, Status};

use crate::channel::{self, Channel};
use crate::cli::Access;
use crate::{config, text};

/// Longest list of flow events in one message is far below this; a list of drops may be long.
const MAX_MESSAGE: usize = 64 << 20;

/// A client of one node.
pub(crate) type NodeClient = FlowsClient<Channel>;

/// What one node answered, or why it did not, in one line.
pub(crate) type Answer<T> = (String, Result<T, String>);

/// An open cluster.
pub(crate) struct Cluster {
    /// Of the Kubernetes API.
    pub(crate) api: Client,
    /// Where names without a namespace are looked up.
    pub(crate) namespace: String,
    /// The namespace that the user gave, if any.
    pub(crate) given_namespace: Option<String>,
    /// How long a node may take to answer.
    pub(crate) timeout: Duration,
    node: Option<String>,
    url: http::Uri,
    channel: Channel,
}

impl Cluster {
    /// Reads the kubeconfig and connects.
    pub(crate) async fn connect(access: &Access) -> anyhow::Result<Self> {
        let config = config::load(access).await?;
        let opening = tokio::time::timeout(access.timeout, channel::open(&config));
        let channel = opening.await.with_context(|| {
            format!("the API server at {} does not answer", config.cluster_url)
        })??;
        Ok(Self {
            namespace: config.default_namespace.clone(),
            given_namespace: access.namespace.clone(),
            timeout: access.timeout,
            node: access.node.clone(),
            url: config.cluster_url.clone(),
            api: Client::try_from(config).context("credentials of the kubeconfig")?,
            channel,
        })
    }

    /// The nodes that the user means: all, or the one given, in the order of their names.
    pub(crate) async fn nodes(&self) -> anyhow::Result<Vec<Node>> {
        let api = Api::<Node>::all(self.api.clone());
        let listing = async { api.list(&ListParams::default()).await };
        let list = tokio::time::timeout(self.timeout, listing).await;
        let mut nodes = list
            .context("the API server does not answer")?
            .context("list nodes")?
            .items;
        if nodes.is_empty() {
            bail!("the cluster has no nodes");
        }
        if let Some(wanted) = &self.node {
            nodes.retain(|node| node.name_any() == *wanted);
            if nodes.is_empty() {
                bail!("there is no node {wanted:?}");
            }
        }
        nodes.sort_by_key(|node| node.name_any());
        Ok(nodes)
    }

    /// A client of one node.
    pub(crate) fn node(&self, name: &str) -> anyhow::Result<NodeClient> {
        let uri =
            channel::node_uri(&self.url, name).with_context(|| format!("node name {name:?}"))?;
        let client = FlowsClient::with_origin(self.channel.clone(), uri);
        Ok(client.max_decoding_message_size(MAX_MESSAGE))
    }

    /// Asks several nodes at once; each may take the user's timeout.
    pub(crate) async fn ask<T>(
        &self,
        nodes: &[String],
        call: impl AsyncFn(NodeClient) -> Result<T, Status>,
    ) -> Vec<Answer<T>> {
        let ask_one = async |name: &String| {
            let answer = self.ask_one(name, &call).await;
            (name.clone(), answer)
        };
        join_all(nodes.iter().map(ask_one)).await
    }

    async fn ask_one<T>(
        &self,
        name: &str,
        call: &impl AsyncFn(NodeClient) -> Result<T, Status>,
    ) -> Result<T, String> {
        let client = self.node(name).map_err(|error| text::one_line(&error))?;
        match tokio::time::timeout(self.timeout, call(client)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(reason(&status)),
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }
}

/// One line for a call that failed.
pub(crate) fn reason(status: &Status) -> String {
    let message = text::first_line(status.message());
    let source = std::error::Error::source(status).map(ToString::to_string);
    match (status.code(), message.is_empty()) {
        (Code::Unimplemented, _) => "it serves no network view (older version?)".to_owned(),
        (Code::PermissionDenied | Code::Unauthenticated, _) => format!("not allowed: {message}"),
        (Code::Unknown, false) if source.is_some() => message,
        (code, true) => format!("{code:?}"),
        (_, false) => message,
    }
}
