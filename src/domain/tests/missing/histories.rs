//! The facts of the workloads equal a recount after any history.

use proptest::{collection, prelude::*};

use super::{bare, expecting, injected};
use crate::domain::{
    observation::Phase,
    policy::Mode,
    testing::{Harness, cluster_key},
};

/// A step of a history. A Pod has a number.
#[derive(Clone, Debug)]
enum Step {
    Pod(u8, Change),
    Delete(u8),
    Namespace(bool),
    Policy(bool),
    Cluster(Option<bool>),
    Hold,
    Resume,
    Relist(Vec<u8>),
    Work,
    Wait(u16),
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Bare,
    Injected,
    OptedOut,
    Ended,
    Terminating,
    Other,
}

fn pod(number: u8, change: Change) -> crate::domain::testing::Pod {
    let name = format!("web-{number}");
    let created = i64::from(number);
    match change {
        Change::Bare => bare(&name, created),
        Change::Injected => injected(&name, created),
        Change::OptedOut => bare(&name, created).labels(&[("mesh", "off")]),
        Change::Ended => bare(&name, created).with(|pod| pod.phase = Phase::Succeeded),
        Change::Terminating => bare(&name, created).with(|pod| pod.terminating = true),
        Change::Other => bare(&name, created).of("StatefulSet", "db"),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0..6u8;
    let change = prop_oneof![
        3 => Just(Change::Bare),
        2 => Just(Change::Injected),
        1 => Just(Change::OptedOut),
        1 => Just(Change::Ended),
        1 => Just(Change::Terminating),
        1 => Just(Change::Other),
    ];
    prop_oneof![
        6 => (number.clone(), change).prop_map(|(number, change)| Step::Pod(number, change)),
        2 => number.clone().prop_map(Step::Delete),
        1 => any::<bool>().prop_map(Step::Namespace),
        1 => any::<bool>().prop_map(Step::Policy),
        1 => proptest::option::of(any::<bool>()).prop_map(Step::Cluster),
        1 => Just(Step::Hold),
        2 => Just(Step::Resume),
        1 => collection::vec(number, 0..4).prop_map(Step::Relist),
        2 => Just(Step::Work),
        2 => (1..400u16).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn facts_equal_a_recount(steps in collection::vec(step(), 1..60), units in 1..40usize) {
        let mut harness = Harness::with(expecting());
        harness.units_per_step(units);
        let mut second = 1000;
        harness.at(second);
        for step in &steps {
            // The harness compares all facts with a recount after each step.
            match step {
                Step::Pod(number, change) => {
                    harness.pod(&pod(*number, *change));
                }
                Step::Delete(number) => {
                    harness.delete(&pod(*number, Change::Bare));
                }
                Step::Namespace(expects) => {
                    harness.namespace("pay", if *expects { "pay" } else { "shop" });
                }
                Step::Policy(on) => {
                    let mode = if *on { Mode::Alert } else { Mode::Off };
                    harness.policy(expecting().with(|policy| policy.mode = mode));
                }
                Step::Cluster(None) => {
                    harness.delete_policy(&cluster_key("all"));
                }
                Step::Cluster(Some(short)) => {
                    let hold_for = super::minutes(if *short { 0 } else { 10 });
                    let policy = expecting().with(|policy| policy.expected[0].hold_for = hold_for);
                    harness.policy_as(cluster_key("all"), Ok(policy), Vec::new());
                }
                Step::Hold => {
                    harness.hold();
                }
                Step::Resume => {
                    harness.resume();
                }
                Step::Relist(numbers) => {
                    let pods: Vec<_> = numbers.iter().map(|number| pod(*number, Change::Bare)).collect();
                    harness.resync(&pods);
                }
                Step::Work => {
                    harness.work();
                }
                Step::Wait(seconds) => {
                    second += i64::from(*seconds);
                    harness.at(second);
                }
            }
        }
        harness.resync([]).resume().finish_work();
        harness.index.assert_no_pods();
        prop_assert!(harness.firing().is_empty() && harness.pending().is_empty());
    }
}
