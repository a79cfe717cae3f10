//! The counts of versions equal a recount after any history.

use jiff::SignedDuration;
use proptest::{collection, prelude::*};

use super::pod;
use crate::domain::{
    observation::Phase,
    policy::{Mode, Policy},
    testing::{Harness, Pod, cluster_key, minutes, one_of, policy},
};

/// A step of a history. A Pod has a number.
#[derive(Clone, Debug)]
enum Step {
    Pod(u8, u8, Change),
    Delete(u8),
    Namespace(bool),
    Policy(Option<bool>, bool),
    Cluster(Option<bool>, bool),
    Hold,
    Resume,
    Relist(Vec<(u8, u8)>),
    Work,
    Later(u8),
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Running,
    Unready,
    Pending,
    Ended,
    Terminating,
    Relabelled,
    TwoSidecars,
    Moved,
}

const IMAGES: [&str; 6] = [
    "proxy:1.0.0",
    "proxy:1.0.0-distroless",
    "docker.io/library/proxy:v1.1.0",
    "reg.io/proxy@sha256:0123456789abcdef",
    "reg.io/proxy",
    "reg.io/proxy:a b",
];

fn changed(number: u8, image: u8, change: Change) -> Pod {
    let image = IMAGES[usize::from(image) % IMAGES.len()];
    let namespace = if number.is_multiple_of(2) { "pay" } else { "shop" };
    let pod = pod(&format!("web-{number}"), image).in_namespace(namespace);
    match change {
        Change::Running => pod,
        Change::Unready => pod.unready("envoy"),
        Change::Pending => pod.with(|pod| pod.scheduled = false),
        Change::Ended => pod.with(|pod| pod.phase = Phase::Succeeded),
        Change::Terminating => pod.with(|pod| pod.terminating = true),
        Change::Relabelled => pod.labels(&[("app", "db")]),
        Change::TwoSidecars => pod.native("proxy"),
        Change::Moved => pod.of("Deployment", "web"),
    }
}

/// A policy with or without the checks on images. Two workloads have a common cause.
fn with_image_checks(is_on: bool) -> Policy {
    let mode = if is_on { Mode::Alert } else { Mode::Off };
    policy().with(|policy| {
        policy.checks.version_drift.common.mode = mode;
        policy.checks.common_cause.common.mode = mode;
        policy.checks.common_cause.limits.workloads = 2;
        policy.checks.not_ready.limits.hold_for = minutes(0);
        policy.checks.not_ready.limits.keep_firing_for = minutes(0);
    })
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0..8u8;
    let image = 0..6u8;
    let change = prop_oneof![
        4 => Just(Change::Running),
        3 => Just(Change::Unready),
        1 => Just(Change::Pending),
        1 => Just(Change::Ended),
        1 => Just(Change::Terminating),
        1 => Just(Change::Relabelled),
        1 => Just(Change::TwoSidecars),
        1 => Just(Change::Moved),
    ];
    prop_oneof![
        8 => (number.clone(), image.clone(), change).prop_map(|(number, image, change)| Step::Pod(number, image, change)),
        2 => number.clone().prop_map(Step::Delete),
        1 => any::<bool>().prop_map(Step::Namespace),
        1 => any::<(Option<bool>, bool)>().prop_map(|(selects, is_on)| Step::Policy(selects, is_on)),
        2 => any::<(Option<bool>, bool)>().prop_map(|(selects, is_on)| Step::Cluster(selects, is_on)),
        1 => Just(Step::Hold),
        2 => Just(Step::Resume),
        1 => collection::vec((number, image), 0..4).prop_map(Step::Relist),
        2 => Just(Step::Work),
        3 => (0..4u8).prop_map(Step::Later),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_equal_a_recount(steps in collection::vec(step(), 1..60), units in 1..40usize) {
        let mut harness = Harness::with(policy());
        harness.units_per_step(units);
        for step in &steps {
            // The harness compares all counts with a recount after each step.
            match step {
                Step::Pod(number, image, change) => {
                    harness.pod(&changed(*number, *image, *change));
                }
                Step::Delete(number) => {
                    harness.delete(&changed(*number, 0, Change::Running));
                }
                Step::Namespace(pays) => {
                    harness.namespace("shop", if *pays { "pay" } else { "shop" });
                }
                Step::Policy(None, _) => {
                    harness.policy(policy().with(|policy| policy.mode = Mode::Off));
                }
                Step::Policy(Some(selects), is_on) => {
                    let selector = if *selects { one_of("app", "db") } else { policy().pods };
                    harness.policy(with_image_checks(*is_on).with(|policy| policy.pods = selector));
                }
                Step::Cluster(None, _) => {
                    harness.delete_policy(&cluster_key("all"));
                }
                Step::Cluster(Some(pays), is_on) => {
                    let selector = if *pays { one_of("team", "pay") } else { policy().namespaces };
                    let policy = with_image_checks(*is_on).with(|policy| policy.namespaces = selector);
                    harness.policy_as(cluster_key("all"), Ok(policy), Vec::new());
                }
                Step::Hold => {
                    harness.hold();
                }
                Step::Resume => {
                    harness.resume();
                }
                Step::Relist(pods) => {
                    let pods: Vec<_> = pods
                        .iter()
                        .map(|(number, image)| changed(*number, *image, Change::Running))
                        .collect();
                    harness.resync(&pods);
                }
                Step::Work => {
                    harness.work();
                }
                Step::Later(minutes) => {
                    let passed = SignedDuration::from_secs(i64::from(*minutes) * 240 + 1);
                    harness.until(harness.now + passed);
                }
            }
        }
        harness.resync([]).resume().finish_work();
        harness.index.assert_no_pods();
    }
}
