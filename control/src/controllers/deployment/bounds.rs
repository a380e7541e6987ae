//! How far a roll-out may go above and below the wanted number.

use super::names::replicas;
use crate::controllers::runtime::fraction::scaled;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// `maxSurge` and `maxUnavailable` in pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Pods above the wanted number.
    pub surge: i32,
    /// Pods below the wanted number.
    pub unavailable: i32,
}

/// Whether the Deployment replaces pods all at once.
pub fn recreates(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// The bounds of `deployment`; both zero for `Recreate`.
pub fn bounds(deployment: &Deployment) -> Bounds {
    let wanted = replicas(deployment);
    if recreates(deployment) {
        return Bounds {
            surge: 0,
            unavailable: 0,
        };
    }
    let rolling = deployment
        .spec
        .strategy
        .as_ref()
        .and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = rolling.and_then(|rolling| rolling.max_surge.clone());
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.clone());
    resolve(
        &surge.unwrap_or_else(quarter),
        &unavailable.unwrap_or_else(quarter),
        wanted,
    )
}

fn quarter() -> IntOrString {
    IntOrString::String("25%".into())
}

/// Surge rounds up, unavailability down; when both come out as zero one pod may be missing, or
/// nothing could ever move.
pub fn resolve(surge: &IntOrString, unavailable: &IntOrString, wanted: i32) -> Bounds {
    let surge = scaled(surge, wanted, true);
    let unavailable = scaled(unavailable, wanted, false);
    let unavailable = if surge == 0 && unavailable == 0 {
        1
    } else {
        unavailable
    };
    Bounds {
        surge,
        unavailable: unavailable.min(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surge_rounds_up_and_unavailable_down_and_never_both_zero() {
        let percent = |text: &str| IntOrString::String(text.into());
        let cases = [
            (percent("25%"), percent("25%"), 3, (1, 0)),
            (percent("25%"), percent("25%"), 4, (1, 1)),
            (percent("25%"), percent("25%"), 10, (3, 2)),
            (percent("0%"), percent("10%"), 5, (0, 1)),
            (IntOrString::Int(0), IntOrString::Int(0), 5, (0, 1)),
            (IntOrString::Int(2), IntOrString::Int(9), 5, (2, 5)),
            (percent("100%"), percent("100%"), 7, (7, 7)),
            (percent("25%"), percent("25%"), 0, (0, 0)),
        ];
        for (surge, unavailable, wanted, (s, u)) in cases {
            let got = resolve(&surge, &unavailable, wanted);
            assert_eq!(
                got,
                Bounds {
                    surge: s,
                    unavailable: u
                },
                "{surge:?} {unavailable:?} of {wanted}"
            );
        }
    }
}
