//! The hint that a fault began soon after a rollout.

mod histories;

use crate::domain::{
    observation::Phase,
    policy::{Check, Policy},
    testing::{Harness, Pod, at, only, web_named},
};

/// A change of the template, and its reversal.
const NEW: &str = "pod-template-hash 7d9 → 8f2";
const BACK: &str = "pod-template-hash 8f2 → 7d9";

/// NotReady that fires at once.
fn strict() -> Policy {
    only(Check::NotReady, 0)
}

/// A Pod of `Deployment/web` with this hash of its template, created in this second. Its sidecar has version 1.
fn replica(name: &str, hash: &str, created: i64) -> Pod {
    web_named(name)
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
    let mut harness = Harness::with(strict());
    let old = create(&mut harness, "old", "7d9", 0);
    (harness, old)
}

/// Creates a Pod of `Deployment/web` at this second.
fn create(harness: &mut Harness, name: &str, hash: &str, second: i64) -> Pod {
    let pod = replica(name, hash, second);
    harness.pod_at(second, &pod);
    pod
}

/// The sidecar of a Pod fails at this second. Returns the hint, such as `5s after pod-template-hash 7d9 → 8f2`.
fn fail(harness: &mut Harness, pod: &Pod, second: i64) -> String {
    harness.pod_at(second, &failing(pod, second));
    let prefix = format!("{} ", pod.0.name);
    let hint = hints(harness)
        .into_iter()
        .find_map(|hint| Some(hint.strip_prefix(&prefix)?.to_owned()));
    hint.unwrap().trim_start_matches("began ").to_owned()
}

#[test]
fn the_event_the_status_and_the_checks_of_the_pod_name_the_rollout() {
    let (mut harness, _) = with_old();
    let new = image(replica("new", "8f2", 100), "registry.example/envoy:1.28.1");
    harness.pod_at(100, &new).pod_at(140, &failing(&new, 140));
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
    let listed = harness.report().violations.remove(0);
    assert_eq!(harness.index.cause(&listed.violation), Some(listed.detail));
    harness.at(9000);
    // It stays as long as the violation.
    assert_eq!(hints(&harness), [format!("new {hint}")]);
}

#[test]
fn only_pods_of_the_new_template_have_a_hint_and_only_for_ten_minutes() {
    let (mut harness, old) = with_old();
    let early = create(&mut harness, "early", "8f2", 100);
    let late = create(&mut harness, "late", "8f2", 100);
    assert_eq!(fail(&mut harness, &old, 110), "-");
    assert_eq!(fail(&mut harness, &early, 110), format!("10s after {NEW}"));
    assert_eq!(fail(&mut harness, &late, 701), "-");
}

#[test]
fn the_first_template_and_another_workload_have_no_hint() {
    let mut harness = Harness::with(strict());
    let first = replica("first", "8f2", 100);
    let other = replica("other", "7d9", 0).of("Deployment", "api");
    let bare = replica("bare", "7d9", 0).of("Pod", "bare");
    harness.pod_at(100, &other).pod(&bare).pod(&first);
    let bare = bare.labels(&[("pod-template-hash", "8f2")]);
    assert_eq!(fail(&mut harness, &first, 110), "-");
    assert_eq!(fail(&mut harness, &bare, 110), "-");
}

#[test]
fn a_rollback_is_a_rollout_from_the_template_before() {
    let (mut harness, old) = with_old();
    let new = create(&mut harness, "new", "8f2", 100);
    harness.at(110).delete(&old);
    let back = create(&mut harness, "back", "7d9", 200);
    assert_eq!(fail(&mut harness, &back, 205), format!("5s after {BACK}"));
    harness.delete(&new).delete(&back);
    let again = create(&mut harness, "again", "8f2", 300);
    assert_eq!(fail(&mut harness, &again, 303), format!("3s after {NEW}"));
}

#[test]
fn a_template_that_still_has_pods_is_not_new() {
    let (mut harness, old) = with_old();
    create(&mut harness, "new", "8f2", 100);
    // A Pod of the old template is replaced while the rollout is stuck.
    let second = create(&mut harness, "second", "7d9", 200);
    harness.at(201).delete(&old);
    assert_eq!(fail(&mut harness, &second, 210), "-");
}

#[test]
fn the_only_pod_of_a_workload_is_replaced() {
    let (mut harness, old) = with_old();
    harness.at(90).delete(&old);
    let same = create(&mut harness, "same", "7d9", 100);
    assert_eq!(fail(&mut harness, &same, 105), "-", "by one of the same template");
    harness.at(190).delete(&same);
    let new = create(&mut harness, "new", "8f2", 200);
    assert_eq!(fail(&mut harness, &new, 205), format!("5s after {NEW}"));
    harness.at(290).delete(&new);
    let same = create(&mut harness, "same", "8f2", 300);
    // The template stays as old as it is.
    assert_eq!(fail(&mut harness, &same, 305), format!("1m45s after {NEW}"));
    harness.pod_at(390, &same.clone().with(|pod| pod.terminating = true));
    let back = create(&mut harness, "back", "7d9", 400);
    harness.delete(&same);
    assert_eq!(fail(&mut harness, &back, 405), format!("5s after {BACK}"));
}

#[test]
fn finished_pods_do_not_keep_a_template() {
    let (mut harness, old) = with_old();
    create(&mut harness, "new", "8f2", 100);
    harness.pod(&old.with(|pod| pod.phase = Phase::Failed));
    let back = create(&mut harness, "back", "7d9", 200);
    assert_eq!(fail(&mut harness, &back, 205), format!("5s after {BACK}"));
}

#[test]
fn an_injected_sidecar_changes_without_a_new_template() {
    let (mut harness, _) = with_old();
    let new = image(replica("new", "7d9", 100), "registry.example/envoy:2");
    harness.pod_at(100, &new);
    assert_eq!(fail(&mut harness, &new, 107), "7s after envoy 1 → 2");
}

#[test]
fn the_image_of_a_running_pod_changes() {
    let (mut harness, old) = with_old();
    let patched = image(old.clone(), "registry.example/envoy:2");
    harness.pod_at(1000, &patched);
    assert_eq!(fail(&mut harness, &patched, 1007), "7s after envoy 1 → 2");
    let (mut harness, old) = with_old();
    harness.pod_at(900, &failing(&old, 900));
    harness.pod_at(1000, &failing(&image(old, "registry.example/envoy:2"), 900));
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
    let hint = "1s after controller-revision-hash db-1 → db-2";
    assert_eq!(fail(&mut harness, &new, 101), hint);
}

#[test]
fn after_a_restart_the_creation_times_tell_which_template_is_new() {
    let old = replica("old", "7d9", 0);
    let failing = |pod: &Pod, second| pod.clone().starting("envoy", second);
    let new = failing(&replica("new", "8f2", 100), 110);
    let listed = |pods: &[&Pod]| {
        let mut harness = Harness::starting();
        harness
            .without_tick(120)
            .policy(strict())
            .resync(pods.iter().copied());
        hints(&harness)
    };
    let hint = format!("new began 10s after {NEW}");
    for pods in [[&old, &new], [&new, &old]] {
        assert_eq!(listed(&pods), [&*hint], "in any order of the list");
    }
    assert_eq!(listed(&[&new]), ["new -"], "the template before is not known");
    let old = failing(&old, 110);
    // The older template is not new.
    assert_eq!(listed(&[&new, &old]), [&hint, "old -"]);
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
    let new = create(&mut harness, "new", "8f2", 100);
    assert_eq!(fail(&mut harness, &new, 101), format!("1s after {NEW}"));
}

#[test]
fn a_workload_with_many_revisions_at_the_same_time_has_no_hint() {
    let (mut harness, _) = with_old();
    for number in 1..9 {
        let pod = replica(&format!("web-{number}"), &format!("hash-{number}"), number);
        harness.recounts = number < 8;
        harness.pod_at(number, &pod);
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
