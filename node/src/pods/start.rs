//! Starting one container: image, environment, mounts, create, start, postStart hook.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use naru_cri::v1;
use tokio_util::sync::CancellationToken;

use super::container::{Resolved, TERMINATION_LOG, check_non_root, container_config, mount};
use super::context::Context;
use super::env::{self, Objects as _};
use super::events::Severity::{Normal, Warning};
use super::image::{self, ImagePlan, image_plan, normalize, pull_policy};
use super::jobs::{CANCELLED, unless};
use super::memory::StartFailure;
use super::names::PodId;
use super::objects::{Snapshot, Sources};
use super::plan::{grace, spec};
use super::sandbox::{hosts_file, is_host_network, sandbox_config};
use super::{containers, hooks, volumes};

/// What a start is about.
#[derive(Debug, Clone)]
pub struct StartJob {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Name in the spec.
    pub container: String,
    /// Restart count.
    pub attempt: u32,
    /// Sandbox and its attempt.
    pub sandbox: (String, u32),
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
    /// The container whose processes this one is to see, and its id if it is there.
    pub target: Option<(String, Option<String>)>,
    /// Containers of the same name that were made and never started.
    pub leftovers: Vec<String>,
    /// The objects the pod refers to.
    pub sources: Arc<Sources>,
}

fn failure(reason: &'static str, message: impl ToString) -> StartFailure {
    StartFailure {
        reason,
        message: message.to_string(),
        at: Timestamp::now(),
    }
}

impl StartJob {
    /// Does it all. Once `over` is cancelled, what takes long is given up; but not the calls that make
    /// and start the container: containerd breaks them off half way with the connection, and then has
    /// a task that nobody can delete.
    ///
    /// # Errors
    /// The failure to show on the container; an event has been recorded.
    pub async fn run(&self, ctx: &Context, over: &CancellationToken) -> Result<(), StartFailure> {
        let Some(container) = containers::find(&self.pod, &self.container) else {
            return Err(failure(
                "CreateContainerError",
                "no such container in the pod",
            ));
        };
        let outcome = self.start(ctx, &container, over).await;
        if let Err(failure) = &outcome
            && !matches!(
                failure.reason,
                "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" | CANCELLED
            )
        {
            let message = format!("Error: {}", failure.message);
            self.event(ctx, Warning, "Failed", message);
        }
        outcome
    }

    fn event(
        &self,
        ctx: &Context,
        severity: super::events::Severity,
        reason: &str,
        message: String,
    ) {
        ctx.event(&self.pod, Some(&self.container), severity, reason, message);
    }

    async fn start(
        &self,
        ctx: &Context,
        container: &Container,
        over: &CancellationToken,
    ) -> Result<(), StartFailure> {
        let (image, objects) = unless(over, self.needs(ctx, container)).await?;
        let uid = image.uid.map(|uid| uid.value);
        check_non_root(&self.pod, container, uid, &image.username)
            .map_err(|error| failure("CreateContainerConfigError", error))?;
        let config = self.config(ctx, container, image.id, &objects)?;
        for id in &self.leftovers {
            let request = v1::RemoveContainerRequest {
                container_id: id.clone(),
            };
            let _ = ctx.cri.remove_container(request).await;
        }
        let id = self.create(ctx, config).await?;
        self.event(
            ctx,
            Normal,
            "Created",
            format!("Created container: {}", self.container),
        );
        let request = v1::StartContainerRequest {
            container_id: id.clone(),
        };
        ctx.cri
            .start_container(request)
            .await
            .map_err(|error| failure("RunContainerError", error.message))?;
        self.event(
            ctx,
            Normal,
            "Started",
            format!("Started container {}", self.container),
        );
        ctx.pace.hurry();
        unless(over, self.post_start(ctx, container, &id)).await
    }

    /// The image, pulled if need be, and the objects that the container refers to.
    async fn needs(
        &self,
        ctx: &Context,
        container: &Container,
    ) -> Result<(v1::Image, Snapshot), StartFailure> {
        let (image, objects) = tokio::join!(
            self.image(ctx, container),
            ctx.caches.snapshot(&self.sources),
        );
        let image = image?;
        let objects = objects.map_err(|error| failure("CreateContainerConfigError", error))?;
        Ok((image, objects))
    }

    /// Makes sure that the node has the image.
    async fn image(&self, ctx: &Context, container: &Container) -> Result<v1::Image, StartFailure> {
        let wanted = container.image.as_deref().unwrap_or_default();
        let name = normalize(wanted).map_err(|error| {
            self.event(ctx, Warning, "InspectFailed", error.clone());
            failure("InvalidImageName", error)
        })?;
        let present = image::find(&ctx.cri, &name).await?;
        let policy = pull_policy(container.image_pull_policy.as_deref(), &name);
        match (image_plan(policy, present.is_some()), present) {
            (ImagePlan::Use, Some(image)) => {
                let message = format!("Container image \"{wanted}\" already present on machine");
                self.event(ctx, Normal, "Pulled", message);
                Ok(image)
            }
            (ImagePlan::Refuse, _) => {
                let message = format!(
                    "Container image \"{wanted}\" is not present with pull policy of Never"
                );
                self.event(ctx, Warning, "ErrImageNeverPull", message.clone());
                Err(failure("ErrImageNeverPull", message))
            }
            _ => self.pull(ctx, wanted, &name).await,
        }
    }

    async fn pull(
        &self,
        ctx: &Context,
        wanted: &str,
        name: &str,
    ) -> Result<v1::Image, StartFailure> {
        self.event(
            ctx,
            Normal,
            "Pulling",
            format!("Pulling image \"{wanted}\""),
        );
        let began = Instant::now();
        let auth = self.pull_auth(ctx, name).await;
        let sandbox = sandbox_config(&self.pod, self.sandbox.1, &ctx.sandbox, &ctx.dirs);
        let pulled = image::pull(&ctx.cri, name, auth, sandbox).await;
        if let Err(error) = pulled {
            let message = format!("Failed to pull image \"{wanted}\": {}", error.message);
            self.event(ctx, Warning, "Failed", message.clone());
            self.event(ctx, Warning, "Failed", "Error: ErrImagePull".to_owned());
            return Err(StartFailure { message, ..error });
        }
        let found = image::find(&ctx.cri, name).await?;
        let image =
            found.ok_or_else(|| failure("ErrImagePull", "the image vanished after its pull"))?;
        let took = began.elapsed().as_secs_f64();
        let message = format!(
            "Successfully pulled image \"{wanted}\" in {took:.3}s ({took:.3}s including waiting). Image size: {} bytes.",
            image.size
        );
        self.event(ctx, Normal, "Pulled", message);
        Ok(image)
    }

    async fn pull_auth(&self, ctx: &Context, name: &str) -> Option<v1::AuthConfig> {
        let secrets = spec(&self.pod).image_pull_secrets.as_ref()?;
        let objects = ctx.caches.snapshot(&self.sources).await.ok()?;
        secrets.iter().find_map(|secret| {
            let data = objects.secret(&secret.name)?.data.as_ref()?;
            super::pull_auth::credentials(&data.get(".dockerconfigjson")?.0, name)
        })
    }

    fn config(
        &self,
        ctx: &Context,
        container: &Container,
        image: String,
        objects: &Snapshot,
    ) -> Result<v1::ContainerConfig, StartFailure> {
        let wrong = |error: String| failure("CreateContainerConfigError", error);
        let addresses = ctx.addresses(&self.ips);
        let services = ctx.watches.services.list();
        let env = env::environment(&self.pod, container, &addresses, &services, objects)
            .map_err(|error| wrong(error.to_string()))?;
        let uid = PodId::of(&self.pod).uid;
        self.write_hosts(ctx, &uid)
            .map_err(|error| wrong(error.to_string()))?;
        let mut mounts = volumes::container_mounts(&self.pod, container, &env, &ctx.dirs, &uid)
            .map_err(wrong)?;
        let words = ctx.dirs.termination(&uid, &container.name, self.attempt);
        last_words_file(&words).map_err(|error| wrong(error.to_string()))?;
        let path = container
            .termination_message_path
            .as_deref()
            .unwrap_or(TERMINATION_LOG);
        mounts.push(mount(path, &words, false));
        let target = match &self.target {
            Some((name, None)) => {
                return Err(wrong(format!("unable to find target container {name}")));
            }
            Some((_, id)) => id.clone(),
            None => None,
        };
        let resolved = Resolved {
            attempt: self.attempt,
            image,
            env,
            mounts,
            memory_capacity: ctx.allocatable.memory,
            target,
        };
        Ok(container_config(&self.pod, container, resolved))
    }

    /// Written in place: the file is bound into containers, and a rename would leave them the old.
    fn write_hosts(&self, ctx: &Context, uid: &str) -> std::io::Result<()> {
        let node = match is_host_network(spec(&self.pod)) {
            true => std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
            false => String::new(),
        };
        let text = hosts_file(&self.pod, &self.ips, &node, &ctx.sandbox.cluster_domain);
        let path = ctx.dirs.hosts(uid);
        match std::fs::read_to_string(&path) {
            Ok(old) if old == text => Ok(()),
            _ => std::fs::write(path, text),
        }
    }

    async fn create(
        &self,
        ctx: &Context,
        config: v1::ContainerConfig,
    ) -> Result<String, StartFailure> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: self.sandbox.0.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox_config(
                &self.pod,
                self.sandbox.1,
                &ctx.sandbox,
                &ctx.dirs,
            )),
        };
        let created = ctx.cri.create_container(request).await;
        let created = created.map_err(|error| failure("CreateContainerError", error.message))?;
        Ok(created.container_id)
    }

    /// A hook that fails ends its container; the restart policy decides what follows.
    async fn post_start(
        &self,
        ctx: &Context,
        container: &Container,
        id: &str,
    ) -> Result<(), StartFailure> {
        let hook = container
            .lifecycle
            .as_ref()
            .and_then(|l| l.post_start.as_ref());
        let Some(hook) = hook else { return Ok(()) };
        let ip = self.ips.first().copied();
        let limit = Duration::from_secs(3600);
        let Err(error) = hooks::run(&ctx.cri, hook, container, id, ip, limit).await else {
            return Ok(());
        };
        let message = format!("PostStartHook failed: {error}");
        self.event(ctx, Warning, "FailedPostStartHook", message.clone());
        let _ = ctx.cri.stop_container(id, grace(&self.pod)).await;
        Err(failure("PostStartHookError", message))
    }
}

/// A file that the container may write whatever user it runs as.
fn last_words_file(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, b"")?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}
