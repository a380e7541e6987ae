//! Carries out planned actions: every I/O of a pod that isn't a start or a stop.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, DeleteParams, Preconditions};
use naru_cri::v1;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::events::Severity::Warning;
use super::memory::StartFailure;
use super::names::PodId;
use super::objects::Sources;
use super::plan::Action;
use super::resize::job::ResizeJob;
use super::sandbox::{cgroup, sandbox_config};
use super::start::StartJob;
use super::stop::StopJob;
use super::volumes::payload::Inputs;
use super::volumes::tokens::Tokens;
use super::{cgroups, publish, volumes};

/// What an action needs beyond itself.
#[derive(Debug, Clone)]
pub enum Job {
    /// A start.
    Start(StartJob),
    /// A stop.
    Stop(StopJob),
    /// Any other action on the pod.
    Other(Box<OtherJob>),
}

/// An action that needs the pod and what it refers to.
#[derive(Debug, Clone)]
pub struct OtherJob {
    /// The action.
    pub action: Action,
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its addresses, for the downward API.
    pub ips: Vec<std::net::IpAddr>,
    /// The objects it refers to.
    pub sources: Arc<Sources>,
    /// Its tokens.
    pub tokens: Arc<Mutex<Tokens>>,
    /// The status to leave behind, for the last action of all.
    pub status: PodStatus,
}

/// The reason of what was given up because the pod ends.
pub const CANCELLED: &str = "Cancelled";

/// How an action ended.
#[derive(Debug)]
pub struct Outcome {
    /// The action.
    pub action: Action,
    /// `Err` with what to show.
    pub result: Result<(), StartFailure>,
}

impl Job {
    /// Carries the action out. What only a living pod needs is given up once `over` is cancelled:
    /// a deletion must not wait for a pull.
    pub async fn run(self, ctx: Arc<Context>, action: Action, over: CancellationToken) -> Outcome {
        let result = match self {
            Self::Start(start) => start.run(&ctx, &over).await,
            Self::Stop(stop) => stop.run(&ctx).await.map_err(|e| failed("StopError", &e)),
            Self::Other(other) if action == Action::PrepareVolumes => {
                unless(&over, other.run(&ctx)).await
            }
            Self::Other(other) => other.run(&ctx).await,
        };
        Outcome { action, result }
    }
}

/// Gives `work` up once `over` is cancelled.
///
/// # Errors
/// Those of the work, and [`CANCELLED`].
pub async fn unless<T>(
    over: &CancellationToken,
    work: impl Future<Output = Result<T, StartFailure>>,
) -> Result<T, StartFailure> {
    let done = over.run_until_cancelled(work).await;
    done.unwrap_or_else(|| Err(failed(CANCELLED, &"the pod ends")))
}

fn failed(reason: &'static str, error: &dyn std::fmt::Display) -> StartFailure {
    StartFailure {
        reason,
        message: error.to_string(),
        at: jiff::Timestamp::now(),
    }
}

impl OtherJob {
    async fn run(&self, ctx: &Context) -> Result<(), StartFailure> {
        match &self.action {
            Action::PrepareVolumes => self.prepare_volumes(ctx).await,
            Action::CreateSandbox { attempt } => self.create_sandbox(ctx, *attempt).await,
            Action::StopSandbox { id } => {
                let request = v1::StopPodSandboxRequest {
                    pod_sandbox_id: id.clone(),
                };
                absent_is_fine(ctx.cri.stop_pod_sandbox(request).await.map(drop))
            }
            Action::RemoveSandbox { id } => {
                let request = v1::RemovePodSandboxRequest {
                    pod_sandbox_id: id.clone(),
                };
                absent_is_fine(ctx.cri.remove_pod_sandbox(request).await.map(drop))
            }
            Action::RemoveContainer { id } => {
                let request = v1::RemoveContainerRequest {
                    container_id: id.clone(),
                };
                absent_is_fine(ctx.cri.remove_container(request).await.map(drop))
            }
            Action::Resize { id, container } => {
                let job = ResizeJob {
                    pod: &self.pod,
                    id,
                    container,
                };
                let done = job.run(ctx).await;
                done.map_err(|error| failed("ResizeError", &error))
            }
            Action::ReleaseVolumes => volumes::release(&ctx.dirs, &PodId::of(&self.pod).uid)
                .map_err(|error| failed("ReleaseError", &error)),
            Action::Cleanup => self.clean_up(ctx).await,
            Action::DeleteObject => self.delete_object(ctx).await,
            Action::Start { .. } | Action::Stop { .. } => Ok(()),
        }
    }

    async fn prepare_volumes(&self, ctx: &Context) -> Result<(), StartFailure> {
        let outcome = self.try_volumes(ctx).await;
        if let Err((volume, message)) = &outcome {
            let message = format!("MountVolume.SetUp failed for volume \"{volume}\" : {message}");
            ctx.event(&self.pod, None, Warning, "FailedMount", message);
        }
        outcome.map_err(|(_, message)| failed("FailedMount", &message))
    }

    async fn try_volumes(&self, ctx: &Context) -> Result<(), (String, String)> {
        let uid = PodId::of(&self.pod).uid;
        let text = |error: &dyn std::fmt::Display| error.to_string();
        std::fs::create_dir_all(ctx.dirs.volumes(&uid)).map_err(|e| (String::new(), text(&e)))?;
        let objects = ctx.caches.snapshot(&self.sources).await;
        let objects = objects.map_err(|e| (String::new(), text(&e)))?;
        let mut tokens = self.tokens.lock().await;
        let renewed = tokens.renew(&ctx.client, &self.pod).await;
        renewed.map_err(|error| ("kube-api-access".to_owned(), error))?;
        let inputs = Inputs {
            pod: &self.pod,
            objects: &objects,
            addresses: &ctx.addresses(&self.ips),
            tokens: &tokens.texts(),
        };
        let prepared = volumes::prepare(&inputs, &ctx.dirs, &uid);
        prepared
            .map(drop)
            .map_err(|error| (error.volume().to_owned(), text(&error)))
    }

    async fn create_sandbox(&self, ctx: &Context, attempt: u32) -> Result<(), StartFailure> {
        let config = sandbox_config(&self.pod, attempt, &ctx.sandbox, &ctx.dirs);
        let made = std::fs::create_dir_all(&config.log_directory);
        made.map_err(|error| failed("FailedCreatePodSandBox", &error))?;
        let request = v1::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        };
        match ctx.cri.run_pod_sandbox(request).await {
            Ok(_) => {
                ctx.pace.hurry();
                Ok(())
            }
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {}", error.message);
                ctx.event(&self.pod, None, Warning, "FailedCreatePodSandBox", message);
                Err(failed("FailedCreatePodSandBox", &error))
            }
        }
    }

    async fn clean_up(&self, ctx: &Context) -> Result<(), StartFailure> {
        let id = PodId::of(&self.pod);
        let failed = |error: std::io::Error| failed("CleanupError", &error);
        volumes::release(&ctx.dirs, &id.uid).map_err(failed)?;
        for directory in [ctx.dirs.pod(&id.uid), ctx.dirs.logs(&id)] {
            match std::fs::remove_dir_all(directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed(error));
                }
                _ => {}
            }
        }
        remove_cgroup(&cgroup(&ctx.sandbox.cgroup_parent, &id.uid))
            .await
            .map_err(failed)
    }

    /// Writes the last status first: whoever waits for the pod's end wants its exit codes.
    async fn delete_object(&self, ctx: &Context) -> Result<(), StartFailure> {
        let id = PodId::of(&self.pod);
        let known = self.pod.status.clone().unwrap_or_default();
        if let Err(error) = publish::write(&ctx.client, &id, &known, &self.status).await
            && !publish::is_gone(&error)
        {
            return Err(failed("DeleteError", &error));
        }
        let api: Api<Pod> = Api::namespaced(ctx.client.clone(), &id.namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(id.uid),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(&id.name, &params).await {
            Err(error) if !publish::is_gone(&error) => Err(failed("DeleteError", &error)),
            _ => Ok(()),
        }
    }
}

fn absent_is_fine(result: Result<(), naru_cri::Error>) -> Result<(), StartFailure> {
    match result {
        Err(error) if !error.is_not_found() => Err(failed("RuntimeError", &error)),
        _ => Ok(()),
    }
}

/// The kernel calls a group busy for a moment after its last process has gone.
async fn remove_cgroup(path: &str) -> std::io::Result<()> {
    let mut attempts = 0;
    loop {
        match cgroups::remove(path) {
            Err(_) if attempts < 40 => attempts += 1,
            other => return other,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_only_a_living_pod_needs_is_given_up_when_it_ends() {
        let over = CancellationToken::new();
        let quick = unless(&over, async { Ok(7) }).await;
        assert_eq!(quick.unwrap(), 7);
        let endless = unless(&over, std::future::pending::<Result<(), _>>());
        let (given_up, ()) = tokio::join!(endless, async { over.cancel() });
        assert_eq!(given_up.unwrap_err().reason, CANCELLED);
    }
}
