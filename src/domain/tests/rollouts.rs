//! The hint that a fault began soon after a rollout.

mod histories;

use crate::domain::{
    observation::Phase,
    policy::{Check, Policy},
    testing::{Harness, Pod, at, policy, seconds},
};

/// NotReady that fires at once.
fn strict() -> Policy {
    let policy = policy().only(Check::NotReady);
    policy.check(Check::NotReady, |c| c.hold_for = seconds(0))
}

/// A Pod of `Deployment/web` with this hash of its template, created in this second. Its sidecar has version 1.
fn replica(name: &str, hash: &str, created: i64) -> Pod {
    Pod::named(name)
        .native("envoy")
        .regular("app")
        .labels(&[("pod-template-hash", hash)])
        .with(|pod| pod.created = Some(at(created)).into())
}

fn image(pod: Pod, image: &str) -> Pod {
    pod.spec("envoy", |container| container.image = image.into())
}

fn failing(pod: &Pod, second: i64) -> Pod {
    pod.clone().unready("envoy").containers_unready_since(second)
}

/// The hints in the status of the policy, in the order of the Pods' names.
fn hints(harness: &Harness) -> Vec<String> {
    let reported = harness.report().violations;
    let mut hints: Vec<_> = reported
        .iter()
        .map(|listed| {
            let hint = listed.detail.split_once("; ").map_or("-", |(_, hint)| hint);
            format!("{} {hint}", listed.violation.container().pod)
        })
        .collect();
    hints.sort_unstable();
    hints
}

/// Starts with a Pod `old` of the template `7d9`, created in second 0.
fn with_old() -> (Harness, Pod) {
    let old = replica("old", "7d9", 0);
    let mut harness = Harness::with(strict());
    harness.pod(&old);
    (harness, old)
}

#[test]
fn the_event_the_status_and_the_checks_of_the_pod_name_the_rollout() {
    let (mut harness, _) = with_old();
    let new = image(replica("new", "8f2", 100), "registry.example/envoy:1.28.1");
    harness.at(100).pod(&new).at(140).pod(&failing(&new, 140));
    let hint = "began 40s after pod-template-hash 7d9 → 8f2, envoy 1 → 1.28.1";
    let events = harness.events();
    let note = &events.first().unwrap().note;
    assert!(note.ends_with(&format!("endpoints. It {hint}.")), "{note}");
    assert_eq!(hints(&harness), [format!("new {hint}")]);
    let states = harness.index.check_states("pay", "uid-of-new");
    let causes: Vec<_> = states
        .iter()
        .map(|state| &*state.cause)
        .filter(|cause| !cause.is_empty())
        .collect();
    assert_eq!(causes, [format!("its readiness probe fails; {hint}")]);
    let listed = harness.report().violations;
    assert_eq!(
        harness.index.cause(&listed[0].violation),
        Some(listed[0].detail.clone())
    );
    harness.at(9000);
    assert_eq!(
        hints(&harness),
        [format!("new {hint}")],
        "it stays as long as the violation"
    );
}

#[test]
fn only_pods_of_the_new_template_have_a_hint_and_only_for_ten_minutes() {
    let (mut harness, old) = with_old();
    let (early, late) = (replica("early", "8f2", 100), replica("late", "8f2", 100));
    harness.at(100).pod(&early).pod(&late);
    harness
        .at(110)
        .pod(&failing(&old, 110))
        .pod(&failing(&early, 110));
    harness.at(701).pod(&failing(&late, 701));
    let hint = "began 10s after pod-template-hash 7d9 → 8f2";
    assert_eq!(
        hints(&harness),
        [format!("early {hint}"), "late -".into(), "old -".into()]
    );
}

#[test]
fn the_first_template_and_another_workload_have_no_hint() {
    let mut harness = Harness::with(strict());
    let first = replica("first", "8f2", 100);
    let other = replica("other", "7d9", 0).of("Deployment", "api");
    let bare = replica("bare", "7d9", 0).of("Pod", "bare");
    harness.at(100).pod(&other).pod(&bare).pod(&first);
    let bare = bare.labels(&[("pod-template-hash", "8f2")]);
    harness
        .at(110)
        .pod(&failing(&first, 110))
        .pod(&failing(&bare, 110));
    assert_eq!(hints(&harness), ["bare -", "first -"]);
}

#[test]
fn a_rollback_is_a_rollout_from_the_template_before() {
    let (mut harness, old) = with_old();
    let new = replica("new", "8f2", 100);
    harness.at(100).pod(&new).at(110).delete(&old);
    let back = replica("back", "7d9", 200);
    harness.at(200).pod(&back).at(205).pod(&failing(&back, 205));
    assert_eq!(
        hints(&harness),
        ["back began 5s after pod-template-hash 8f2 → 7d9"]
    );
    harness.delete(&new).delete(&back);
    let again = replica("again", "8f2", 300);
    harness.at(300).pod(&again).at(303).pod(&failing(&again, 303));
    assert_eq!(
        hints(&harness),
        ["again began 3s after pod-template-hash 7d9 → 8f2"]
    );
}

#[test]
fn a_template_that_still_has_pods_is_not_new() {
    let (mut harness, old) = with_old();
    let new = replica("new", "8f2", 100);
    harness.at(100).pod(&new);
    // A Pod of the old template is replaced while the rollout is stuck.
    let second = replica("second", "7d9", 200);
    harness.at(200).pod(&second).at(201).delete(&old);
    harness.at(210).pod(&failing(&second, 210));
    assert_eq!(hints(&harness), ["second -"]);
}

#[test]
fn the_only_pod_of_a_workload_is_replaced() {
    let (mut harness, old) = with_old();
    let same = replica("same", "7d9", 100);
    harness
        .at(90)
        .delete(&old)
        .at(100)
        .pod(&same)
        .at(105)
        .pod(&failing(&same, 105));
    assert_eq!(hints(&harness), ["same -"], "by one of the same template");
    let new = replica("new", "8f2", 200);
    harness
        .at(190)
        .delete(&same)
        .at(200)
        .pod(&new)
        .at(205)
        .pod(&failing(&new, 205));
    assert_eq!(
        hints(&harness),
        ["new began 5s after pod-template-hash 7d9 → 8f2"]
    );
    let same = replica("same", "8f2", 300);
    harness
        .at(290)
        .delete(&new)
        .at(300)
        .pod(&same)
        .at(305)
        .pod(&failing(&same, 305));
    let hint = "same began 1m45s after pod-template-hash 7d9 → 8f2";
    assert_eq!(hints(&harness), [hint], "the template stays as old as it is");
    let (ended, terminating) = (same.clone(), same.clone().with(|pod| pod.terminating = true));
    let back = replica("back", "7d9", 400);
    harness
        .at(390)
        .pod(&terminating)
        .at(400)
        .pod(&back)
        .delete(&ended);
    harness.at(405).pod(&failing(&back, 405));
    assert_eq!(
        hints(&harness),
        ["back began 5s after pod-template-hash 8f2 → 7d9"]
    );
}

#[test]
fn finished_pods_do_not_keep_a_template() {
    let (mut harness, old) = with_old();
    let evicted = old.clone().with(|pod| pod.phase = Phase::Failed);
    let new = replica("new", "8f2", 100);
    harness.at(100).pod(&new).pod(&evicted);
    let back = replica("back", "7d9", 200);
    harness.at(200).pod(&back).at(205).pod(&failing(&back, 205));
    assert_eq!(
        hints(&harness),
        ["back began 5s after pod-template-hash 8f2 → 7d9"]
    );
}

#[test]
fn an_injected_sidecar_changes_without_a_new_template() {
    let (mut harness, _) = with_old();
    let new = image(replica("new", "7d9", 100), "registry.example/envoy:2");
    harness.at(100).pod(&new).at(107).pod(&failing(&new, 107));
    assert_eq!(hints(&harness), ["new began 7s after envoy 1 → 2"]);
}

#[test]
fn the_image_of_a_running_pod_changes() {
    let (mut harness, old) = with_old();
    let patched = image(old.clone(), "registry.example/envoy:2");
    harness
        .at(1000)
        .pod(&patched)
        .at(1007)
        .pod(&failing(&patched, 1007));
    assert_eq!(hints(&harness), ["old began 7s after envoy 1 → 2"]);
    let (mut harness, old) = with_old();
    harness.at(900).pod(&failing(&old, 900));
    harness
        .at(1000)
        .pod(&failing(&image(old, "registry.example/envoy:2"), 900));
    assert_eq!(hints(&harness), ["old -"], "the fault is older");
}

#[test]
fn other_controllers_write_another_label() {
    let mut harness = Harness::with(strict());
    let member = |name: &str, revision: &str, created| {
        let pod = replica(name, "", created).of("StatefulSet", "db");
        pod.labels(&[
            ("controller-revision-hash", revision),
            ("statefulset.kubernetes.io/pod-name", name),
        ])
    };
    harness
        .pod(&member("db-0", "db-1", 0))
        .pod(&member("db-1", "db-1", 1));
    let new = member("db-1", "db-2", 100).with(|pod| pod.uid = "new".into());
    harness.at(100).delete(&member("db-1", "db-1", 1)).pod(&new);
    harness.at(101).pod(&failing(&new, 101));
    assert_eq!(
        hints(&harness),
        ["db-1 began 1s after controller-revision-hash db-1 → db-2"]
    );
}

#[test]
fn after_a_restart_the_creation_times_tell_which_template_is_new() {
    let old = replica("old", "7d9", 0);
    let new = failing(&replica("new", "8f2", 100), 110);
    for pods in [[&old, &new], [&new, &old]] {
        let mut harness = Harness::starting();
        harness.without_tick(120).policy(strict()).resync(pods);
        let hint = "new began 10s after pod-template-hash 7d9 → 8f2";
        assert_eq!(hints(&harness), [hint], "in any order of the list");
    }
    let mut harness = Harness::starting();
    harness.without_tick(120).policy(strict()).resync([&new]);
    assert_eq!(hints(&harness), ["new -"], "the template before is not known");
    let old = failing(&old, 110);
    let mut harness = Harness::starting();
    harness.without_tick(120).policy(strict()).resync([&new, &old]);
    assert_eq!(
        hints(&harness).last().unwrap(),
        "old -",
        "the older template is not new"
    );
}

#[test]
fn workloads_of_a_namespace_do_not_displace_those_of_another() {
    let (mut harness, old) = with_old();
    harness.recounts = false;
    harness.delete(&old);
    for number in 0..1_200 {
        let workload = format!("web-{number}");
        let pod = replica(&workload, "7d9", 0)
            .in_namespace("shop")
            .of("Deployment", &workload);
        harness.pod(&pod).delete(&pod);
    }
    let new = replica("new", "8f2", 100);
    harness.at(100).pod(&new).at(101).pod(&failing(&new, 101));
    assert_eq!(
        hints(&harness),
        ["new began 1s after pod-template-hash 7d9 → 8f2"]
    );
}

#[test]
fn a_workload_with_many_revisions_at_the_same_time_has_no_hint() {
    let (mut harness, _) = with_old();
    for number in 1..9 {
        let pod = replica(&format!("web-{number}"), &format!("hash-{number}"), number);
        harness.recounts = number < 8;
        harness.at(number).pod(&pod);
        if number > 6 {
            harness.pod(&failing(&pod, number));
        }
    }
    let expected = [
        "web-7 began 0s after pod-template-hash hash-6 → hash-7",
        "web-8 -",
    ];
    assert_eq!(hints(&harness), expected);
}
