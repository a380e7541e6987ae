//! Tells the runtime what a running container may use now.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use naru_cri::v1;

use crate::pods::containers;
use crate::pods::context::Context;
use crate::pods::plan::spec;
use crate::pods::resources::{limit, linux_resources, units};

/// One change.
#[derive(Debug, Clone)]
pub struct ResizeJob<'a> {
    /// The pod, asking for what it was given.
    pub pod: &'a Pod,
    /// The runtime's id.
    pub id: &'a str,
    /// Name in the spec.
    pub container: &'a str,
}

impl ResizeJob<'_> {
    /// Does it.
    ///
    /// # Errors
    /// What the runtime answers, and a limit below what the container uses: the kernel would take
    /// the memory by killing it.
    pub async fn run(&self, ctx: &Context) -> Result<(), String> {
        let Some(container) = containers::find(self.pod, self.container) else {
            return Ok(());
        };
        self.check_memory(ctx, &container).await?;
        let capacity = ctx.allocatable.memory;
        let request = v1::UpdateContainerResourcesRequest {
            container_id: self.id.to_owned(),
            linux: Some(linux_resources(spec(self.pod), &container, capacity)),
        };
        let updated = ctx.cri.update_container_resources(request).await;
        updated.map(drop).map_err(|error| error.message)
    }

    async fn check_memory(&self, ctx: &Context, container: &Container) -> Result<(), String> {
        let none = ResourceRequirements::default();
        let resources = container.resources.as_ref().unwrap_or(&none);
        let Some(wanted) = limit(resources, "memory").and_then(units) else {
            return Ok(());
        };
        let request = v1::ContainerStatsRequest {
            container_id: self.id.to_owned(),
        };
        // A runtime that does not say is asked for the change all the same.
        let Ok(answer) = ctx.cri.container_stats(request).await else {
            return Ok(());
        };
        let memory = answer.stats.and_then(|stats| stats.memory);
        let used = memory.and_then(|memory| memory.working_set_bytes);
        let used = used.map_or(0, |used| i64::try_from(used.value).unwrap_or(i64::MAX));
        match used >= wanted {
            true => Err(format!(
                "attempting to set container memory limit ({wanted}) below current usage ({used})"
            )),
            false => Ok(()),
        }
    }
}
