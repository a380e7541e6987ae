//! Which of several servers runs the controllers and the scheduler: the one that holds a Lease.
//!
//! The rules are those of client-go's leader election: a holder renews; others count from when *they*
//! saw the last renewal, so that no two clocks are compared; a holder that cannot renew stops well
//! before anybody else may start. A holder that ends properly gives the Lease back, and the next one
//! starts at once.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The Lease, in `kube-system`.
const NAME: &str = "naru-control";
/// A Lease that nobody renews for this long is free.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long stops.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries.
const RETRY: Duration = Duration::from_secs(2);

/// What is to be done about the Lease.
#[derive(Debug, PartialEq)]
enum Move {
    /// There is none yet.
    Create,
    /// Write it as one's own.
    Hold(Box<Lease>),
    /// Somebody else has it.
    Wait,
}

/// Runs `work` whenever this process holds the Lease, until `shutdown`. `work` ends after its token
/// is cancelled; `identity` is unlike that of every other process.
pub async fn lead<F: Future<Output = ()>>(
    client: Client,
    identity: String,
    shutdown: CancellationToken,
    work: impl Fn(CancellationToken) -> F,
) {
    let mut candidate = Candidate {
        leases: Api::namespaced(client, "kube-system"),
        identity,
        seen: None,
    };
    loop {
        let elected = shutdown.run_until_cancelled(candidate.elected()).await;
        if elected.is_none() {
            return;
        }
        tracing::info!(identity = candidate.identity, "leading");
        let working = shutdown.child_token();
        let running = work(working.clone());
        tokio::pin!(running);
        tokio::select! {
            () = &mut running => {
                candidate.give_back().await;
                return;
            }
            () = candidate.lost() => {
                tracing::warn!("the lease is lost; controllers and scheduler stop");
                working.cancel();
                running.await;
            }
        }
    }
}

struct Candidate {
    leases: Api<Lease>,
    identity: String,
    /// The version of the Lease that was seen last, and when it was first seen.
    seen: Option<(String, Instant)>,
}

impl Candidate {
    /// Returns when the Lease is held.
    async fn elected(&mut self) {
        while !self.attempt().await.unwrap_or(false) {
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Renews, and returns when that has failed for too long or somebody else holds the Lease.
    async fn lost(&mut self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < DEADLINE {
            tokio::time::sleep(RETRY).await;
            let begun = Instant::now();
            match tokio::time::timeout_at(renewed + DEADLINE, self.attempt()).await {
                Ok(Some(true)) => renewed = begun,
                Ok(Some(false)) => return,
                // Nothing is known: the API did not answer.
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// Tries to hold the Lease; none if that is not known.
    async fn attempt(&mut self) -> Option<bool> {
        let lease = self.leases.get_opt(NAME).await.ok()?;
        let unchanged = self.unchanged_for(lease.as_ref());
        let written = match decide(lease, &self.identity, unchanged) {
            Move::Wait => return Some(false),
            Move::Create => {
                let lease = held(Lease::default(), &self.identity, Timestamp::now());
                self.leases.create(&PostParams::default(), &lease).await
            }
            Move::Hold(lease) => {
                let lease = held(*lease, &self.identity, Timestamp::now());
                self.leases
                    .replace(NAME, &PostParams::default(), &lease)
                    .await
            }
        };
        match written {
            Ok(_) => Some(true),
            // Somebody was faster; who, the next try shows.
            Err(kube::Error::Api(status)) if status.code == 409 => Some(false),
            Err(_) => None,
        }
    }

    /// For how long this process has seen the Lease as it is.
    fn unchanged_for(&mut self, lease: Option<&Lease>) -> Duration {
        let version = lease.and_then(ResourceExt::resource_version);
        let version = version.unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed(),
            _ => {
                self.seen = Some((version, Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// Lets the next one start at once.
    async fn give_back(&self) {
        let Ok(Some(mut lease)) = self.leases.get_opt(NAME).await else {
            return;
        };
        if holder(&lease) == self.identity {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some(String::new());
            let options = PostParams::default();
            if let Err(error) = self.leases.replace(NAME, &options, &lease).await {
                tracing::debug!(%error, "the lease runs out by itself");
            }
        }
    }
}

fn holder(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

/// What `identity` does about a Lease that it has seen unchanged for so long.
fn decide(lease: Option<Lease>, identity: &str, unchanged: Duration) -> Move {
    let Some(lease) = lease else {
        return Move::Create;
    };
    let free = matches!(holder(&lease), "") || unchanged >= duration(&lease);
    if free || holder(&lease) == identity {
        Move::Hold(Box::new(lease))
    } else {
        Move::Wait
    }
}

/// How long its holder wants to be waited for.
fn duration(lease: &Lease) -> Duration {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(DURATION, Duration::from_secs)
}

/// The Lease, renewed or taken over by `identity`.
fn held(mut lease: Lease, identity: &str, now: Timestamp) -> Lease {
    let taken_over = holder(&lease) != identity;
    let first = lease.spec.is_none();
    lease.metadata = ObjectMeta {
        name: Some(NAME.to_owned()),
        ..lease.metadata
    };
    let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
    if taken_over {
        let before = spec.lease_transitions.unwrap_or(0);
        spec.lease_transitions = Some(if first { 0 } else { before.saturating_add(1) });
        spec.acquire_time = Some(MicroTime(now));
        spec.holder_identity = Some(identity.to_owned());
    }
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(identity: &str) -> Lease {
        held(Lease::default(), identity, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn nobody_takes_a_lease_that_is_renewed() {
        let almost = DURATION.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(decide(Some(of("a")), "b", almost), Move::Wait);
        assert_eq!(
            decide(Some(of("a")), "b", DURATION),
            Move::Hold(of("a").into())
        );
    }

    #[test]
    fn a_holder_keeps_its_lease_and_a_free_one_is_anybodys() {
        let zero = Duration::ZERO;
        assert_eq!(decide(Some(of("a")), "a", zero), Move::Hold(of("a").into()));
        assert_eq!(decide(Some(of("")), "b", zero), Move::Hold(of("").into()));
        assert_eq!(decide(None, "b", zero), Move::Create);
    }

    #[test]
    fn a_take_over_is_counted_and_a_renewal_is_not() {
        let later = Timestamp::from_second(60).unwrap();
        let transitions = |lease: &Lease| lease.spec.as_ref().unwrap().lease_transitions;
        let acquired = |lease: &Lease| lease.spec.as_ref().unwrap().acquire_time.clone();
        let first = of("a");
        assert_eq!(transitions(&first), Some(0));
        let renewed = held(first.clone(), "a", later);
        assert_eq!(transitions(&renewed), Some(0));
        assert_eq!(acquired(&renewed), acquired(&first));
        let taken = held(renewed, "b", later);
        assert_eq!(transitions(&taken), Some(1));
        assert_eq!(acquired(&taken), Some(MicroTime(later)));
    }
}
