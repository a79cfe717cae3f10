//! Names of the seeded Pods.
//!
//! Pod `i` belongs to workload `i / 20`. Workloads are spread over 200 namespaces, and three of ten have a native sidecar.

/// Pods of one workload.
pub(super) const PODS_PER_WORKLOAD: u32 = 20;
pub(super) const NAMESPACES: u32 = 200;
const PODS_PER_NODE: u32 = 50;

/// The seeded Pods.
#[derive(Debug, Clone, Copy)]
pub(super) struct Population {
    pub(super) pods: u32,
}

/// Kinds of seeded Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodKind {
    /// An init container, a native sidecar and a main container.
    Native,
    /// A main container and a classic sidecar.
    Classic,
}

impl Population {
    /// The number of series of kube-state-metrics: three for each init container, two for each other container.
    pub(super) fn kube_state_metrics_series(self) -> usize {
        let series = |pod| match kind(pod) {
            PodKind::Native => 2 * 3 + 2,
            PodKind::Classic => 2 * 2,
        };
        (0..self.pods).map(series).sum()
    }
}

pub(super) fn kind(pod: u32) -> PodKind {
    if pod / PODS_PER_WORKLOAD % 10 < 3 {
        PodKind::Native
    } else {
        PodKind::Classic
    }
}

/// What the placeholders of the template Pod become. All values of a field have the same length.
pub(super) struct Identity {
    pub(super) namespace: String,
    pub(super) workload: String,
    pub(super) suffix: String,
    pub(super) uid: String,
    pub(super) owner_uid: String,
    pub(super) node: String,
    pub(super) pod_ip: String,
    pub(super) host_ip: String,
    pub(super) container_id: String,
}

impl Identity {
    /// The placeholders themselves. None of them is part of another or of a word in the Pod.
    pub(super) fn placeholders() -> Self {
        Self {
            namespace: "team-zzz".into(),
            workload: "wzzzzzz".into(),
            suffix: "qzzzz".into(),
            uid: String::new(),
            owner_uid: "ownerzzzzzzz".into(),
            node: "node-zzzzz".into(),
            pod_ip: "100.199.199.199".into(),
            host_ip: "100.198.198.198".into(),
            container_id: "cidzzzzzzzzz".into(),
        }
    }

    pub(super) fn of(pod: u32) -> Self {
        let (workload, node) = (pod / PODS_PER_WORKLOAD, pod / PODS_PER_NODE);
        Self {
            namespace: namespace(workload % NAMESPACES),
            workload: format!("w{workload:06}"),
            suffix: format!("q{:04}", pod % PODS_PER_WORKLOAD),
            uid: uid(1, pod),
            owner_uid: format!("{:012x}", mixed(workload) & 0xffff_ffff_ffff),
            node: format!("node-{node:05}"),
            pod_ip: address(100, pod),
            host_ip: address(101, node),
            container_id: format!("{:012x}", mixed(pod) & 0xffff_ffff_ffff),
        }
    }

    /// The values in the order of the fields.
    #[rustfmt::skip]
    pub(super) fn values(&self) -> [&str; 9] {
        let Self { namespace, workload, suffix, uid, owner_uid, node, pod_ip, host_ip, container_id } = self;
        [namespace, workload, suffix, uid, owner_uid, node, pod_ip, host_ip, container_id]
    }

    pub(super) fn pod_name(&self) -> String {
        format!("{}-{}", self.replica_set(), self.suffix)
    }

    pub(super) fn replica_set(&self) -> String {
        format!("checkout-{}-7d9f8c6b5d", self.workload)
    }
}

pub(super) fn namespace(number: u32) -> String {
    format!("team-{number:03}")
}

/// A UID of version 4 whose last digits are the number.
pub(super) fn uid(kind: u16, number: u32) -> String {
    let random = mixed(number);
    format!(
        "{:08x}-{kind:04x}-4{:03x}-a{:03x}-{number:012x}",
        random & 0xffff_ffff,
        random >> 32 & 0xfff,
        random >> 44 & 0xfff
    )
}

/// An address whose numbers all have three digits.
fn address(first: u8, number: u32) -> String {
    let part = |divisor| 100 + number / divisor % 155;
    format!("{first}.{}.{}.{}", part(155 * 155), part(155), part(1))
}

/// The splitmix64 generator: numbers that look random and are the same in every run.
fn mixed(number: u32) -> u64 {
    let mut x = u64::from(number)
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_pod_has_a_name_a_uid_and_an_address_of_its_own() {
        let pods = 0..100_000;
        let identities: Vec<Identity> = pods.clone().map(Identity::of).collect();
        let distinct =
            |of: &dyn Fn(&Identity) -> String| identities.iter().map(of).collect::<BTreeSet<_>>().len();
        assert_eq!(
            distinct(&|i| format!("{}/{}", i.namespace, i.pod_name())),
            pods.len()
        );
        assert_eq!(distinct(&|i| i.uid.clone()), pods.len());
        assert_eq!(distinct(&|i| i.pod_ip.clone()), pods.len());
    }

    #[test]
    fn three_of_ten_pods_have_a_native_sidecar() {
        let native = (0..2000).filter(|pod| kind(*pod) == PodKind::Native).count();
        assert_eq!(native, 600);
        assert_eq!(
            Population { pods: 2000 }.kube_state_metrics_series(),
            600 * 8 + 1400 * 4
        );
    }
}
