//! How large a pod's packets may be, and whether what was decided about it still holds.

use naru_ebpf_common::overlay::OVERHEAD;

use crate::config::Routing;

/// The least that a link of IPv6 carries (RFC 8200, section 5).
const LEAST_V6: u32 = 1280;
/// The least that every host of IPv4 takes (RFC 791).
const LEAST_V4: u32 = 576;

/// An uplink carries too little for pods.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the MTU of {uplink} is {mtu}: pods would get {left} of it, and IPv{family} needs {least}; \
     raise it to {needed} or more"
)]
pub struct TooSmall {
    uplink: String,
    mtu: u32,
    left: u32,
    family: u8,
    least: u32,
    needed: u32,
}

/// The MTU of pods behind an uplink with this MTU, all in bytes. The overlay takes its part of it.
///
/// # Errors
/// When it is too small for a family that pods have.
pub(super) fn of_pods(
    uplink: &str,
    mtu: u32,
    routing: Routing,
    with_v6: bool,
) -> Result<u32, TooSmall> {
    let taken = match routing {
        Routing::Native => 0,
        Routing::Vxlan => OVERHEAD,
    };
    let left = mtu.saturating_sub(taken);
    let (family, least) = if with_v6 {
        (6, LEAST_V6)
    } else {
        (4, LEAST_V4)
    };
    if left >= least {
        return Ok(left);
    }
    Err(TooSmall {
        uplink: uplink.to_owned(),
        mtu,
        left,
        family,
        least,
        needed: least + taken,
    })
}

/// What is wrong when pods get `given`, and the uplink is good for `right` now. `largest` is the
/// largest MTU that a pod of this node has.
pub(super) fn fault(given: u32, right: Result<u32, TooSmall>, largest: u32) -> Option<String> {
    match right {
        Err(too_small) => Some(too_small.to_string()),
        Ok(right) if right != given => Some(format!(
            "the uplink's MTU has changed: pods get {given} and should get {right}; restart the \
             daemon, then the pods"
        )),
        Ok(right) if largest > right => Some(format!(
            "pods from before a change have an MTU of {largest}, which is above {right}: restart \
             them"
        )),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_takes_its_part_of_the_uplinks_mtu() {
        let native = of_pods("eth0", 1500, Routing::Native, true);
        assert_eq!(native, Ok(1500));
        assert_eq!(of_pods("eth0", 1500, Routing::Vxlan, true), Ok(1450));
        assert_eq!(of_pods("eth0", 9001, Routing::Vxlan, false), Ok(8951));
        assert_eq!(of_pods("eth0", 1330, Routing::Vxlan, true), Ok(1280));
        assert_eq!(of_pods("eth0", 1329, Routing::Vxlan, false), Ok(1279));
    }

    #[test]
    fn an_uplink_that_leaves_too_little_is_refused_with_what_it_takes() {
        let error = of_pods("eth0", 1329, Routing::Vxlan, true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the MTU of eth0 is 1329: pods would get 1279 of it, and IPv6 needs 1280; raise it to \
             1330 or more"
        );
        let error = of_pods("eth0", 40, Routing::Vxlan, false).unwrap_err();
        assert!(
            error.to_string().contains("pods would get 0 of it"),
            "{error}"
        );
    }

    #[test]
    fn a_change_of_the_uplink_is_told_until_everybody_has_followed() {
        let right = |mtu| of_pods("eth0", mtu, Routing::Vxlan, false);
        assert_eq!(fault(1450, right(1500), 1450), None);
        assert_eq!(fault(1450, right(1500), 1280), None);
        let changed = fault(1450, right(1400), 1450).unwrap();
        assert!(
            changed.contains("pods get 1450 and should get 1350"),
            "{changed}"
        );
        let left_over = fault(1350, right(1400), 1450).unwrap();
        assert!(
            left_over.contains("1450, which is above 1350"),
            "{left_over}"
        );
        assert!(
            fault(1450, right(500), 1450)
                .unwrap()
                .contains("IPv4 needs 576")
        );
    }
}
