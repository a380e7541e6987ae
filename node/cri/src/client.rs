//! One method per call, with the deadline that suits it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::Error;
use crate::v1::image_service_client::ImageServiceClient;
use crate::v1::runtime_service_client::RuntimeServiceClient;
use crate::v1::*;

/// Calls that only read.
const READ: Duration = Duration::from_secs(10);
/// Calls that make or remove something.
const WRITE: Duration = Duration::from_secs(240);
/// An image may be large and its registry far.
const PULL: Duration = Duration::from_secs(3600);
/// Answers of `ExecSync` and long lists exceed tonic's 4 MiB.
const MAX_MESSAGE: usize = 32 << 20;

/// A CRI runtime behind a unix socket. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $service:ident.$name:ident($request:ty) -> $response:ty, $deadline:expr, $label:literal;)*) => {
        impl Cri {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// Whatever the runtime answers, and `Unavailable` when it can't be reached.
                pub async fn $name(&self, request: $request) -> Result<$response, Error> {
                    let mut request = tonic::Request::new(request);
                    request.set_timeout($deadline);
                    match self.$service.clone().$name(request).await {
                        Ok(response) => Ok(response.into_inner()),
                        Err(status) => Err(Error::new($label, &status)),
                    }
                }
            )*
        }
    };
}

calls! {
    /// Name and version of the runtime.
    runtime.version(VersionRequest) -> VersionResponse, READ, "Version";
    /// Whether runtime and pod network are ready.
    runtime.status(StatusRequest) -> StatusResponse, READ, "Status";
    /// Makes a sandbox: pause process, namespaces, network.
    runtime.run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse, WRITE, "RunPodSandbox";
    /// Ends a sandbox and its containers and releases its network; repeatable.
    runtime.stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse, WRITE, "StopPodSandbox";
    /// Forgets a sandbox and its containers; repeatable.
    runtime.remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse, WRITE, "RemovePodSandbox";
    /// State and addresses of one sandbox.
    runtime.pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse, READ, "PodSandboxStatus";
    /// All sandboxes that pass a filter.
    runtime.list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse, READ, "ListPodSandbox";
    /// Makes a container in a sandbox without starting it.
    runtime.create_container(CreateContainerRequest) -> CreateContainerResponse, WRITE, "CreateContainer";
    /// Starts a created container.
    runtime.start_container(StartContainerRequest) -> StartContainerResponse, WRITE, "StartContainer";
    /// Forgets a container; repeatable.
    runtime.remove_container(RemoveContainerRequest) -> RemoveContainerResponse, WRITE, "RemoveContainer";
    /// All containers that pass a filter.
    runtime.list_containers(ListContainersRequest) -> ListContainersResponse, READ, "ListContainers";
    /// Times, exit code and reason of one container.
    runtime.container_status(ContainerStatusRequest) -> ContainerStatusResponse, READ, "ContainerStatus";
    /// Changes what a running container may use; what is zero stays as it is.
    runtime.update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse, WRITE, "UpdateContainerResources";
    /// What one container uses.
    runtime.container_stats(ContainerStatsRequest) -> ContainerStatsResponse, READ, "ContainerStats";
    /// Makes the runtime open a container's log anew after a rotation.
    runtime.reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse, READ, "ReopenContainerLog";
    /// Prepares an interactive command; answers where to stream.
    runtime.exec(ExecRequest) -> ExecResponse, READ, "Exec";
    /// Prepares a connection to a container's own streams; answers where to stream.
    runtime.attach(AttachRequest) -> AttachResponse, READ, "Attach";
    /// Prepares a port-forward; answers where to stream.
    runtime.port_forward(PortForwardRequest) -> PortForwardResponse, READ, "PortForward";
    /// Images that the runtime has.
    images.list_images(ListImagesRequest) -> ListImagesResponse, READ, "ListImages";
    /// One image, or none when it is absent.
    images.image_status(ImageStatusRequest) -> ImageStatusResponse, READ, "ImageStatus";
    /// Fetches an image from its registry.
    images.pull_image(PullImageRequest) -> PullImageResponse, PULL, "PullImage";
    /// Removes an image.
    images.remove_image(RemoveImageRequest) -> RemoveImageResponse, WRITE, "RemoveImage";
}

impl Cri {
    /// A client of the runtime at `socket`; connects at the first call.
    pub fn new(socket: &Path) -> Self {
        let channel = channel(socket.to_owned());
        Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
        }
    }

    /// Sends the stop signal and, `grace` seconds later, SIGKILL; returns when the container is dead.
    ///
    /// # Errors
    /// Whatever the runtime answers; the deadline is `grace` and two minutes.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let mut request = tonic::Request::new(StopContainerRequest {
            container_id: id.to_owned(),
            timeout: i64::try_from(grace.as_secs()).unwrap_or(i64::MAX),
        });
        request.set_timeout(grace.saturating_add(Duration::from_secs(120)));
        match self.runtime.clone().stop_container(request).await {
            Ok(_) => Ok(()),
            Err(status) => Err(Error::new("StopContainer", &status)),
        }
    }

    /// Runs a command to its end and returns its output.
    ///
    /// # Errors
    /// `DeadlineExceeded` when `timeout` passes, else whatever the runtime answers.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecSyncResponse, Error> {
        let mut request = tonic::Request::new(ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        });
        request.set_timeout(timeout.saturating_add(Duration::from_secs(5)));
        match self.runtime.clone().exec_sync(request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(Error::new("ExecSync", &status)),
        }
    }

    /// The stream of container events, where the runtime has one (containerd from 1.7).
    ///
    /// # Errors
    /// `Unimplemented` on older runtimes.
    pub async fn container_events(
        &self,
    ) -> Result<tonic::Streaming<ContainerEventResponse>, Error> {
        match self
            .runtime
            .clone()
            .get_container_events(GetEventsRequest {})
            .await
        {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(Error::new("GetContainerEvents", &status)),
        }
    }
}

fn channel(socket: PathBuf) -> Channel {
    let connector = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The authority is never resolved: the connector above ignores it.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
}
