//! The limits on the exemptions of a namespace.

use super::{failing, not_ready, until};
use crate::domain::{
    exemption::{
        ExemptedPods, ExemptionState, ExemptionUpdate, MAX_EXEMPTIONS_PER_NAMESPACE, MAX_KNOWN_PER_NAMESPACE,
    },
    testing::{Harness, at, edited_exemption, exemption, exemption_key, one_of},
};

/// An exemption of other Pods, created at this second.
fn other(second: i64) -> ExemptionUpdate {
    ExemptionUpdate {
        created: at(second),
        ..edited_exemption(&format!("other-{second}"), |spec| {
            spec.pods = ExemptedPods::Selected(one_of("app", "db"));
        })
    }
}

fn state(harness: &Harness, name: &str) -> Option<ExemptionState> {
    Some(harness.index.exemption_report(&exemption_key(name))?.state)
}

#[test]
fn the_oldest_exemptions_of_a_namespace_have_an_effect() {
    let mut harness = failing(not_ready());
    let limit = i64::try_from(MAX_EXEMPTIONS_PER_NAMESPACE).unwrap();
    for second in 0..limit {
        harness.exempt(other(second));
    }
    let young = ExemptionUpdate {
        created: at(limit),
        ..until("young", 1000)
    };
    harness.exempt(young.clone()).at(100);
    assert_eq!(harness.firing(), ["envoy NotReady"], "one too many");
    assert_eq!(state(&harness, "young"), Some(ExemptionState::OverLimit));
    assert_eq!(
        state(&harness, "other-99"),
        Some(ExemptionState::Active(at(1000)))
    );
    assert!(!harness.relists());

    harness.end_exemption("other-7").at(100);
    assert!(harness.relists(), "its spec has to be read");
    assert_eq!(state(&harness, "young"), None);
    harness.exempt(young.clone());
    assert_eq!(harness.firing(), [""; 0]);
    assert_eq!(state(&harness, "young"), Some(ExemptionState::Active(at(1000))));

    // An older exemption that the API server lists later takes the last place.
    let old = ExemptionUpdate {
        created: at(-1),
        ..other(-1)
    };
    harness.exempt(old);
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    assert_eq!(state(&harness, "young"), Some(ExemptionState::OverLimit));
    harness.exempt(ExemptionUpdate {
        generation: 2,
        ..young
    });
    let report = harness.index.exemption_report(&exemption_key("young")).unwrap();
    assert_eq!((report.generation, report.state), (2, ExemptionState::OverLimit));

    harness.end_exemption("other-8").at(129);
    assert!(!harness.relists(), "not more often than every 30 seconds");
    harness.at(130);
    assert!(harness.relists());
}

#[test]
fn the_known_exemptions_of_a_namespace_are_bounded() {
    let mut harness = failing(not_ready());
    harness.recounts = false;
    let limit = i64::try_from(MAX_KNOWN_PER_NAMESPACE).unwrap();
    for second in (0..limit + 5).rev() {
        harness.exempt(other(second));
    }
    assert_eq!(harness.index.exemptions().count(), MAX_KNOWN_PER_NAMESPACE);
    assert_eq!(
        state(&harness, &format!("other-{}", limit - 1)),
        Some(ExemptionState::OverLimit)
    );
    assert_eq!(
        state(&harness, &format!("other-{limit}")),
        None,
        "the youngest is forgotten"
    );
    let mut elsewhere = exemption("snooze");
    elsewhere.key.namespace = "shop".into();
    harness.exempt(elsewhere);
    assert_eq!(
        harness.index.exemptions().count(),
        MAX_KNOWN_PER_NAMESPACE + 1,
        "each namespace has its own limit"
    );
}

#[test]
fn many_namespaces_cause_no_more_lists_than_one() {
    let mut harness = failing(not_ready());
    harness.recounts = false;
    let in_namespace = |namespace: &str, second: i64| {
        let mut exemption = other(second);
        exemption.key.namespace = namespace.into();
        exemption
    };
    let namespaces = ["pay", "shop", "a", "b"];
    let limit = i64::try_from(MAX_EXEMPTIONS_PER_NAMESPACE).unwrap();
    for namespace in namespaces {
        for second in 0..limit + 90 {
            harness.exempt(in_namespace(namespace, second));
        }
    }
    // Each second an exemption that is above the limit takes a place, in each namespace.
    let mut lists = Vec::new();
    for second in 100..190 {
        harness.at(second);
        for namespace in namespaces {
            let key = in_namespace(namespace, second - 100).key;
            harness.change(|index, now| index.delete_exemption(&key, now));
        }
        if harness.at(second).relists() {
            lists.push(second);
        }
    }
    assert_eq!(lists, [100, 130, 160], "one in 30 seconds, for the whole cluster");
}
