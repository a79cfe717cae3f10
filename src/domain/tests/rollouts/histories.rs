//! Random rollouts of one Deployment: the state of the index equals a recount, and exactly the Pods of a new template have a hint.

use std::collections::BTreeMap;

use proptest::{collection, prelude::*};

use super::{failing, hints, replica, strict};
use crate::domain::{
    testing::{Harness, Pod, seconds},
    time::Human,
};

const TEMPLATES: [&str; 3] = ["a", "b", "c"];
const PODS: usize = 4;

/// A step of a history of one Deployment.
#[derive(Clone, Debug)]
enum Step {
    /// Seconds pass.
    Wait(i64),
    /// A Pod of this template is created, unless the Pod exists.
    Create(usize, usize),
    /// The sidecar of a Pod fails.
    Fail(usize),
    Terminate(usize),
    Delete(usize),
    Relist,
}

fn step() -> impl Strategy<Value = Step> {
    let pod = 0..PODS;
    prop_oneof![
        6 => (1..300i64).prop_map(Step::Wait),
        8 => (pod.clone(), 0..TEMPLATES.len()).prop_map(|(pod, template)| Step::Create(pod, template)),
        5 => pod.clone().prop_map(Step::Fail),
        2 => pod.clone().prop_map(Step::Terminate),
        4 => pod.prop_map(Step::Delete),
        1 => Just(Step::Relist),
    ]
}

/// The live Pods of each template after a step.
type Live = BTreeMap<&'static str, usize>;

/// The time since which a template has had live Pods without a pause, from the whole history. A pause in which no template has
/// Pods does not count.
fn present_since(history: &[(i64, Live)], template: &str) -> i64 {
    let busy = history.iter().rev().filter(|(_, live)| !live.is_empty());
    let present = busy.take_while(|(_, live)| live.contains_key(template));
    present.last().map_or(i64::MAX, |(second, _)| *second)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_pods_of_a_new_template_have_a_hint(steps in collection::vec(step(), 1..60)) {
        let mut harness = Harness::with(strict());
        let (mut now, mut births) = (0, 0);
        let mut pods: [Option<(Pod, &'static str)>; PODS] = Default::default();
        let mut history: Vec<(i64, Live)> = Vec::new();
        for step in &steps {
            now += if let Step::Wait(seconds) = step { *seconds } else { 1 };
            harness.at(now);
            match step {
                Step::Create(number, template) if pods[*number].is_none() => {
                    births += 1;
                    let pod = replica(&format!("pod-{births}"), TEMPLATES[*template], now);
                    harness.pod(&pod);
                    pods[*number] = Some((pod, TEMPLATES[*template]));
                }
                Step::Fail(number) => {
                    if let Some((pod, template)) = &mut pods[*number] {
                        let is_new = !pod.0.terminating && pod.0.statuses[0].as_ref().is_some_and(|s| s.ready);
                        *pod = failing(pod, now);
                        harness.pod(pod);
                        let name = format!("{} ", pod.0.name);
                        let hint = hints(&harness).into_iter().find(|hint| hint.starts_with(&name));
                        let since = present_since(&history, template);
                        let is_recent = now - since <= 600;
                        // Another template had Pods before.
                        let others = history.iter().any(|(second, live)| *second < since && !live.is_empty());
                        if is_new {
                            let has_hint = hint.as_ref().is_some_and(|hint| !hint.ends_with('-'));
                            prop_assert_eq!(has_hint, is_recent && others, "{:?}: {:?}", hint, history);
                        }
                        if let Some(hint) = hint.filter(|hint| is_new && !hint.ends_with('-')) {
                            let after = Human(seconds(now - since));
                            prop_assert!(hint.contains(&format!("began {after} after")), "{}: {:?}", hint, history);
                            prop_assert!(hint.ends_with(&format!(" → {template}")), "{}", hint);
                            prop_assert!(!hint.contains(&format!(" {template} → ")), "{}", hint);
                        }
                    }
                }
                Step::Terminate(number) => {
                    if let Some((pod, _)) = &mut pods[*number] {
                        pod.0.terminating = true;
                        harness.pod(pod);
                    }
                }
                Step::Delete(number) => {
                    if let Some((pod, _)) = pods[*number].take() {
                        harness.delete(&pod);
                    }
                }
                Step::Relist => {
                    harness.resync(pods.iter().flatten().map(|(pod, _)| pod));
                }
                Step::Wait(_) | Step::Create(..) => {}
            }
            let mut live = Live::new();
            for (_, template) in pods.iter().flatten().filter(|(pod, _)| !pod.0.terminating) {
                *live.entry(*template).or_default() += 1;
            }
            history.push((now, live));
        }
    }
}
