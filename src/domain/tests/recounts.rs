//! The facts of workloads and the counts of image versions equal a recount after any history.

use proptest::{collection, option, prelude::*};

use super::{images::pod, missing::expecting};
use crate::domain::{
    observation::Phase,
    policy::{Mode, Policy},
    testing::{Harness, Pod, at, cluster_key, minutes, one_of, policy, seconds},
};

/// A step of a history. A Pod and an image have a number.
#[derive(Clone, Debug)]
enum Step {
    Pod(usize, usize, Change),
    Delete(usize),
    /// Whether a namespace has the label `team: pay`.
    Namespace(&'static str, bool),
    /// An edit of the policy of `pay`, or its mode `Off`.
    Policy(Option<bool>, Edit),
    /// An edit or the deletion of a policy of the cluster.
    Cluster(Option<bool>, Edit),
    Hold,
    Resume,
    Relist(Vec<(usize, usize)>),
    Work,
    Wait(i64),
}

/// Whether the checks on images are on, and whether a Pod may lack the sidecar for ten minutes.
type Edit = (bool, bool);

#[derive(Clone, Copy, Debug)]
enum Change {
    Running,
    Unready,
    Bare,
    OptedOut,
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

/// The Pods have two namespaces. In each of them, two Pods share a workload.
fn changed(number: usize, image: usize, change: Change) -> Pod {
    let name = format!("web-{number}");
    let namespace = if number.is_multiple_of(2) { "pay" } else { "shop" };
    let bare = Pod::named(&name).regular("app");
    let pod = match change {
        Change::Bare => bare,
        Change::OptedOut => bare.labels(&[("mesh", "off")]),
        _ => pod(&name, IMAGES[image]),
    };
    let created = i64::try_from(number).unwrap();
    let pod = pod
        .in_namespace(namespace)
        .with(|pod| pod.created = Some(at(created)).into())
        .of("Deployment", if number < 4 { "web" } else { &name });
    match change {
        Change::Running | Change::Bare | Change::OptedOut => pod,
        Change::Unready => pod.unready("envoy"),
        Change::Pending => pod.with(|pod| pod.scheduled = false),
        Change::Ended => pod.with(|pod| pod.phase = Phase::Succeeded),
        Change::Terminating => pod.with(|pod| pod.terminating = true),
        Change::Relabelled => pod.labels(&[("app", "db")]),
        Change::TwoSidecars => pod.native("proxy"),
        Change::Moved => pod.of("StatefulSet", "db"),
    }
}

/// A policy that expects `envoy`.
fn edited((checks_images, waits): Edit) -> Policy {
    let mode = if checks_images { Mode::Alert } else { Mode::Off };
    policy().with(|policy| {
        policy.expected = expecting().expected;
        policy.expected[0].hold_for = minutes(if waits { 10 } else { 0 });
        policy.checks.version_drift.common.mode = mode;
        policy.checks.not_ready.limits.hold_for = minutes(0);
        policy.checks.not_ready.limits.keep_firing_for = minutes(0);
    })
}

fn step() -> impl Strategy<Value = Step> {
    let pods = 0..8usize;
    let images = 0..IMAGES.len();
    let change = prop_oneof![
        4 => Just(Change::Running),
        3 => Just(Change::Unready),
        3 => Just(Change::Bare),
        1 => Just(Change::OptedOut),
        1 => Just(Change::Pending),
        1 => Just(Change::Ended),
        1 => Just(Change::Terminating),
        1 => Just(Change::Relabelled),
        1 => Just(Change::TwoSidecars),
        1 => Just(Change::Moved),
    ];
    let edit = (option::of(any::<bool>()), any::<Edit>());
    prop_oneof![
        8 => (pods.clone(), images.clone(), change).prop_map(|(pod, image, change)| Step::Pod(pod, image, change)),
        2 => pods.clone().prop_map(Step::Delete),
        1 => any::<bool>().prop_map(|pays| Step::Namespace("pay", pays)),
        1 => any::<bool>().prop_map(|pays| Step::Namespace("shop", pays)),
        1 => edit.clone().prop_map(|(selects, edit)| Step::Policy(selects, edit)),
        2 => edit.prop_map(|(selects, edit)| Step::Cluster(selects, edit)),
        1 => Just(Step::Hold),
        2 => Just(Step::Resume),
        1 => collection::vec((pods, images), 0..4).prop_map(Step::Relist),
        2 => Just(Step::Work),
        1 => Just(Step::Wait(1)),
        3 => (1..1000i64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn facts_and_counts_equal_a_recount(steps in collection::vec(step(), 1..60), units in 1..40usize) {
        let mut harness = Harness::with(edited((true, true)));
        harness.units_per_step(units);
        for step in steps {
            // The harness compares everything with a recount after each step.
            match step {
                Step::Pod(number, image, change) => harness.pod(&changed(number, image, change)),
                Step::Delete(number) => harness.delete(&changed(number, 0, Change::Running)),
                Step::Namespace(name, pays) => harness.namespace(name, if pays { "pay" } else { "other" }),
                Step::Policy(None, _) => harness.policy(policy().with(|policy| policy.mode = Mode::Off)),
                Step::Policy(Some(selects), edit) => {
                    let selector = if selects { one_of("app", "db") } else { policy().pods };
                    harness.policy(edited(edit).with(|policy| policy.pods = selector))
                }
                Step::Cluster(None, _) => harness.delete_policy(&cluster_key("all")),
                Step::Cluster(Some(pays), edit) => {
                    let selector = if pays { one_of("team", "pay") } else { policy().namespaces };
                    harness.add(cluster_key("all"), edited(edit).with(|policy| policy.namespaces = selector))
                }
                Step::Hold => harness.hold(),
                Step::Resume => harness.resume(),
                Step::Relist(pods) => {
                    let pods = pods.into_iter().map(|(number, image)| changed(number, image, Change::Running));
                    harness.resync(&pods.collect::<Vec<_>>())
                }
                Step::Work => harness.work(),
                Step::Wait(n) => harness.until(harness.now + seconds(n)),
            };
        }
        harness.resync([]).resume().finish_work();
        harness.index.assert_no_pods();
        prop_assert!(harness.firing().is_empty() && harness.pending().is_empty());
    }
}
