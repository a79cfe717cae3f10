//! The deterministic names of Events, and the length limit of their notes.

use std::collections::BTreeSet;

use crate::domain::{
    effects::Event,
    observation::{Exit, RestartPolicy, State},
    policy::{Check, Policy, PolicyUpdate},
    testing::{Harness, Pod, at, key, policy, policy_update, seconds, unready_since, web, web_named},
};

fn at_once(check: Check) -> Policy {
    policy().only(check).check(check, |c| {
        (c.hold_for, c.count) = (seconds(0), 1);
    })
}

/// Applies the Pods one after another with one check, and returns all Events.
fn events(check: Check, pods: &[Pod]) -> Vec<Event> {
    let mut harness = Harness::with(at_once(check));
    for (second, pod) in (0..).zip(pods) {
        harness.pod_at(100 * second, pod);
    }
    harness.at(100_000);
    harness.events()
}

fn first_name(check: Check, pods: &[Pod]) -> String {
    events(check, pods).remove(0).name
}

fn bad() -> Pod {
    unready_since(50)
}

#[test]
fn the_same_objects_give_the_same_name() {
    let name = first_name(Check::NotReady, &[web(), bad()]);
    assert_eq!(
        first_name(Check::NotReady, &[bad()]),
        name,
        "the name does not depend on the observed history"
    );
    let mut later = Harness::with(at_once(Check::NotReady));
    later.pod_at(5000, &bad());
    assert_eq!(
        later.events()[0].name,
        name,
        "the name does not depend on the observation time"
    );
    assert!(name.starts_with("web-1."), "{name}");
    assert_eq!(name.len(), "web-1.".len() + 16, "{name}");
}

#[test]
fn each_policy_pod_container_check_and_episode_has_its_own_name() {
    let mut harness = Harness::with(at_once(Check::NotReady));
    let all = policy()
        .hold_for(Check::NotReady, seconds(0))
        .hold_for(Check::MainReadySidecarNotReady, seconds(0));
    harness.add(key("other"), all);
    let two = web().native("linkerd").unready("envoy").unready("linkerd");
    let same_name = two.clone().with(|pod| pod.uid = "another".into());
    harness.pod(&two).pod(&same_name).at(10);
    harness.pod(&web().native("linkerd")).at(1000);
    let events = harness.events();
    let names: BTreeSet<_> = events.iter().map(|event| event.name.clone()).collect();
    // Two Pods with two containers each fire under three checks: 12 Events. One Pod recovers: an Event per container and
    // policy.
    assert_eq!((events.len(), names.len()), (16, 16));
}

#[test]
fn each_check_distinguishes_episodes_by_fields_of_the_pod() {
    let restarted = |n| (0..n).fold(web(), |pod, i| pod.restarted("envoy", i));
    let killed_with = |change: &dyn Fn(&mut Exit)| {
        web().oom_killed("envoy", 5).status("envoy", |s| {
            if let State::Terminated(exit) = &mut s.state {
                change(exit);
            }
        })
    };
    let killed = |run| killed_with(&|exit| exit.run = run);
    let flapping = |since| vec![web(), bad().containers_unready_since(since)];
    let blocked = |since| vec![web().uninitialized().starting("envoy", since)];
    let job = |second| {
        let pod = Pod::named("web-1")
            .regular("app")
            .regular("envoy")
            .restart_policy(RestartPolicy::Never);
        vec![pod.exits("app", 0, second)]
    };
    #[rustfmt::skip]
    let table = [
        (Check::NotReady, vec![bad()], vec![bad().containers_unready_since(60)], true, "ContainersReady"),
        (Check::NotReady, vec![bad()], vec![bad().unready("app")], false, "no other condition"),
        (Check::MainReadySidecarNotReady, vec![bad()], vec![bad().containers_unready_since(60)], true,
            "ContainersReady"),
        (Check::Flapping, flapping(50), flapping(60), true, "ContainersReady"),
        (Check::FrequentRestarts, vec![web(), restarted(1)], vec![web(), restarted(2)], true, "restartCount / count"),
        (Check::OOMKilled, vec![web(), killed(7)], vec![web(), killed(8)], true, "the exit's containerID"),
        (Check::StartupBlocked, blocked(0), blocked(10), false, "none"),
        (Check::JobHeldOpen, job(10), job(20), false, "none"),
    ];
    for (check, one, other, differ, why) in table {
        let names = (first_name(check, &one), first_name(check, &other));
        assert_eq!(names.0 != names.1, differ, "{check:?}: {why}");
    }
    let then_failed = killed(7).restarted("envoy", 6).exits("envoy", 1, 8);
    let names =
        [vec![web(), killed(7)], vec![web(), then_failed]].map(|pods| first_name(Check::OOMKilled, &pods));
    assert_eq!(
        names[0], names[1],
        "the kill names the Event, also after a later exit"
    );
    let nameless = |second| killed_with(&|exit| (exit.run, exit.finished_at) = (0, Some(at(second))));
    let names = [5, 6].map(|second| first_name(Check::OOMKilled, &[web(), nameless(second)]));
    assert_ne!(
        names[0], names[1],
        "without a containerID the end time distinguishes kills"
    );
    let in_threes = |n| {
        let policy = at_once(Check::FrequentRestarts).check(Check::FrequentRestarts, |c| c.count = 3);
        let mut harness = Harness::with(policy);
        harness.pod(&web()).pod_at(10, &restarted(n));
        harness.events().remove(0).name
    };
    assert_eq!(in_threes(3), in_threes(5), "restartCount / count is rounded down");
    assert_ne!(in_threes(5), in_threes(6));
}

#[test]
fn the_api_server_accepts_the_names() {
    let names = [
        "a".to_owned(),
        "x".repeat(253),
        format!("{}.{}", "y".repeat(235), "z".repeat(17)),
        format!("{}-{}", "y".repeat(235), "z".repeat(17)),
        format!("{}-.-.-{}", "y".repeat(231), "z".repeat(10)),
    ];
    for pod_name in names {
        let pod = web_named(&pod_name).unready("envoy");
        let name = first_name(Check::NotReady, &[pod]);
        assert!(name.len() <= 253, "{name}");
        for label in name.split('.') {
            let alphanumeric =
                |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            assert!(
                alphanumeric(label.chars().next()) && alphanumeric(label.chars().last()),
                "{name}"
            );
        }
    }
    let longest = "x".repeat(236);
    let of = |name: &str| first_name(Check::NotReady, &[web_named(name).unready("envoy")]);
    let name = of(&longest);
    assert_eq!(name.len(), 253, "236 characters of the Pod name fit");
    assert!(name.starts_with(&longest), "{name}");
    let (a, b) = ("x".repeat(250) + "a", "x".repeat(250) + "b");
    assert_ne!(of(&a), of(&b), "the removed characters still affect the name");
}

#[test]
fn a_note_is_cut_to_1024_bytes_at_a_character() {
    let note = |words: String| {
        let mut harness = Harness::with(at_once(Check::NotReady).with(|p| p.runbook_url = words.into()));
        harness.pod(&bad());
        harness.events().remove(0).note
    };
    let plain = note(String::new());
    assert!(!plain.contains("Runbook"), "{plain}");
    let with_url = note("https://example/runbook".to_owned());
    assert_eq!(with_url, format!("{plain} Runbook: https://example/runbook"));
    for ahead in 0..4 {
        let long = note(format!("{}{}", "x".repeat(ahead), "€".repeat(2000)));
        assert!((1022..=1024).contains(&long.len()), "{}", long.len());
        assert!(long.ends_with('€'));
    }
}

#[test]
fn another_policy_of_the_same_name_has_other_event_names() {
    let mut harness = Harness::with(at_once(Check::NotReady));
    harness.pod(&bad());
    let first = harness.events().remove(0).name;
    let update = PolicyUpdate {
        uid: "another".into(),
        ..policy_update(key("mesh"), Ok(at_once(Check::NotReady)))
    };
    let effects = harness.index.apply_policy(update, at(10));
    assert_ne!(
        effects.events[0].name, first,
        "another policy of the same name has other Event names"
    );
    let none = web().unready("envoy");
    let without = none.conditions(|c| c.containers_ready = None);
    assert_ne!(
        first_name(Check::NotReady, &[without]),
        "",
        "an Event has a name without the condition"
    );
}

/// A later version of the operator must use the same names. Otherwise it writes every Event again.
#[test]
fn names_do_not_change_with_versions() {
    let job = Pod::named("web-1")
        .regular("app")
        .regular("envoy")
        .restart_policy(RestartPolicy::Never)
        .exits("app", 0, 10);
    #[rustfmt::skip]
    let table = [
        (Check::NotReady, bad(), "fe0254b54fdfdb85"),
        (Check::MainReadySidecarNotReady, bad(), "2267660d29096906"),
        (Check::StartupBlocked, web().uninitialized().starting("envoy", 0), "34bbfab3fdb410e4"),
        (Check::JobHeldOpen, job, "d29ad299255493c7"),
        (Check::OOMKilled, web().oom_killed("envoy", 5), "f3f82fbe028ead79"),
        (Check::FrequentRestarts, web().restarted("envoy", 5), "16627b34df87786c"),
    ];
    let names = table
        .each_ref()
        .map(|(check, pod, _)| (*check, first_name(*check, &[web(), pod.clone()])));
    let expected = table.map(|(check, _, name)| (check, format!("web-1.{name}")));
    assert_eq!(names, expected);
}
