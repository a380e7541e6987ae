//! The worker's part in probing: which probes run, and what their verdicts mean.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container as ContainerSpec, PodStatus, Probe};

use super::Worker;
use crate::pods::events::Severity::Warning;
use crate::pods::memory::ProbeResults;
use crate::pods::observed::{Container, RunState};
use crate::pods::plan::{Lifecycle, is_started, spec};
use crate::pods::probes::{self, Kind, Report, Target};

impl Worker {
    pub(super) fn sync_probes(&mut self) {
        let wanted = match self.lifecycle {
            Lifecycle::Syncing => self.wanted_probes(),
            _ => BTreeMap::new(),
        };
        let ids: BTreeSet<_> = self
            .observed
            .containers
            .iter()
            .map(|c| c.id.clone())
            .collect();
        self.memory
            .probes
            .retain(|id, _| ids.contains(id) || ids.is_empty());
        self.probes.retain(|key, task| {
            let keep = wanted.contains_key(key);
            if !keep {
                task.abort();
            }
            keep
        });
        for (key, (target, probe)) in wanted {
            let reports = self.report_to.clone();
            self.probes.entry(key).or_insert_with_key(|(_, kind)| {
                tokio::spawn(probes::run(target, *kind, probe, reports)).abort_handle()
            });
        }
    }

    fn wanted_probes(&self) -> BTreeMap<(String, Kind), (Target, Probe)> {
        let mut wanted = BTreeMap::new();
        let spec = spec(&self.pod);
        for container in spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
        {
            let Some(newest) = self.observed.newest(&container.name) else {
                continue;
            };
            if !matches!(newest.state, RunState::Running { .. }) {
                continue;
            }
            let started = is_started(&self.memory, container, newest);
            let kinds = [
                (
                    Kind::Startup,
                    container.startup_probe.as_ref().filter(|_| !started),
                ),
                (
                    Kind::Readiness,
                    container.readiness_probe.as_ref().filter(|_| started),
                ),
                (
                    Kind::Liveness,
                    container.liveness_probe.as_ref().filter(|_| started),
                ),
            ];
            for (kind, probe) in kinds {
                let Some(probe) = probe else { continue };
                let target = self.target(container, newest);
                wanted.insert((newest.id.clone(), kind), (target, probe.clone()));
            }
        }
        wanted
    }

    fn target(&self, container: &ContainerSpec, newest: &Container) -> Target {
        let host = spec(&self.pod).host_network == Some(true);
        let ip = self
            .observed
            .ips()
            .first()
            .copied()
            .or(host.then_some(self.ctx.node_ips[0]));
        Target {
            cri: self.ctx.cri.clone(),
            id: newest.id.clone(),
            container: container.clone(),
            ip,
        }
    }

    pub(super) fn take_report(&mut self, report: Report) {
        if let Some(failure) = &report.failure {
            let message = format!("{} probe failed: {failure}", report.kind.label());
            self.ctx.event(
                &self.pod,
                Some(&report.container),
                Warning,
                "Unhealthy",
                message,
            );
        }
        let Some(verdict) = report.verdict else {
            return;
        };
        let results = self.memory.probes.entry(report.container_id).or_default();
        let slot = match report.kind {
            Kind::Startup => &mut results.startup,
            Kind::Readiness => &mut results.readiness,
            Kind::Liveness => &mut results.liveness,
        };
        *slot = Some(verdict);
    }
}

/// A daemon that starts anew believes what its predecessor reported until probes say otherwise.
pub(super) fn adopted(status: &PodStatus) -> BTreeMap<String, ProbeResults> {
    let init = status.init_container_statuses.iter().flatten();
    let all = init.chain(status.container_statuses.iter().flatten());
    all.filter_map(|status| {
        let (_, id) = status.container_id.as_deref()?.split_once("://")?;
        let results = ProbeResults {
            startup: status.started.filter(|started| *started),
            readiness: Some(status.ready).filter(|ready| *ready),
            liveness: None,
        };
        Some((id.to_owned(), results))
    })
    .collect()
}
