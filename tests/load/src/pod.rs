//! A pod without us: the calls of CRI that start one, timed; what containerd and runc cost.
//!
//! The sandbox shares the node's network, so that no CNI plugin takes part. The pod is removed again
//! outside the measured time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use naru_cri::{Cri, v1};

#[derive(Debug, Args)]
pub(crate) struct PodArgs {
    /// containerd's socket.
    #[arg(long)]
    socket: PathBuf,
    /// Image of the container; it has to be there.
    #[arg(long)]
    image: String,
    /// Parent of the pod's cgroup as the runtime names it.
    #[arg(long)]
    cgroup_parent: String,
    /// What the container runs.
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

/// Milliseconds from the first call until the container runs.
///
/// # Errors
/// When the runtime refuses a call.
pub(crate) async fn run(args: &PodArgs) -> Result<f64> {
    let cri = Cri::new(&args.socket);
    // The channel connects with its first call.
    cri.version(v1::VersionRequest::default())
        .await
        .context("containerd does not answer")?;
    let uid = format!("load-{}", std::process::id());
    let sandbox = sandbox(&uid, &args.cgroup_parent);
    let begin = Instant::now();
    let request = v1::RunPodSandboxRequest {
        config: Some(sandbox.clone()),
        ..Default::default()
    };
    let id = cri.run_pod_sandbox(request).await?.pod_sandbox_id;
    let outcome = start(&cri, &id, sandbox, args).await;
    let took = begin.elapsed();
    remove(&cri, id).await?;
    outcome?;
    Ok(took.as_secs_f64() * 1000.0)
}

async fn start(cri: &Cri, id: &str, sandbox: v1::PodSandboxConfig, args: &PodArgs) -> Result<()> {
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: id.to_owned(),
        config: Some(container(args)),
        sandbox_config: Some(sandbox),
    };
    let container_id = cri.create_container(request).await?.container_id;
    cri.start_container(v1::StartContainerRequest { container_id })
        .await?;
    Ok(())
}

async fn remove(cri: &Cri, pod_sandbox_id: String) -> Result<()> {
    let request = v1::ListContainersRequest {
        filter: Some(v1::ContainerFilter {
            pod_sandbox_id: pod_sandbox_id.clone(),
            ..Default::default()
        }),
    };
    for container in cri.list_containers(request).await?.containers {
        cri.stop_container(&container.id, Duration::ZERO).await?;
    }
    cri.stop_pod_sandbox(v1::StopPodSandboxRequest {
        pod_sandbox_id: pod_sandbox_id.clone(),
    })
    .await?;
    cri.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id })
        .await?;
    Ok(())
}

fn sandbox(uid: &str, cgroup_parent: &str) -> v1::PodSandboxConfig {
    let namespaces = namespaces();
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: uid.to_owned(),
            uid: uid.to_owned(),
            namespace: "load".to_owned(),
            attempt: 0,
        }),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: format!("{cgroup_parent}/pod{uid}"),
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn container(args: &PodArgs) -> v1::ContainerConfig {
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: "main".to_owned(),
            attempt: 0,
        }),
        image: Some(v1::ImageSpec {
            image: args.image.clone(),
            ..Default::default()
        }),
        command: args.command.clone(),
        linux: Some(v1::LinuxContainerConfig {
            security_context: Some(v1::LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn namespaces() -> v1::NamespaceOption {
    v1::NamespaceOption {
        network: v1::NamespaceMode::Node as i32,
        pid: v1::NamespaceMode::Container as i32,
        ipc: v1::NamespaceMode::Pod as i32,
        target_id: String::new(),
    }
}
