//! The memory of the patterns in policies.

use allocation_counter::measure;

use crate::domain::{
    pattern::Pattern,
    policy::{Check, PolicyUpdate},
    testing::{Harness, at, key, policy, policy_update, web},
};

/// The number of policies in the namespace of the Pod.
const POLICIES: i64 = 480;

/// A pattern whose compiled form is nearly as large as permitted.
fn large(number: i64) -> Pattern {
    let widest = |number| {
        let source = |width: usize| format!("n{number}(?:[a-z]{{1,{width}}}-){{1,10}}");
        let widths = (50..).step_by(50);
        let valid = widths
            .map(source)
            .take_while(|source| Pattern::parse(source).is_ok());
        valid.last().unwrap()
    };
    Pattern::parse(&widest(number)).unwrap()
}

#[test]
fn large_patterns_of_a_namespace_take_little_memory() {
    let mut harness = Harness::starting();
    harness.resync([&web()]).pod_at(10, &web().unready("envoy"));
    let pattern = large(POLICIES);
    let used = measure(|| {
        for n in 0..POLICIES {
            let source = pattern.source().replacen("n480", &format!("n{n}"), 1);
            let spec = policy().only(Check::NotReady).with(|policy| {
                policy.sidecars.name_pattern = Some(Pattern::parse(&source).unwrap());
            });
            let update = PolicyUpdate {
                created: at(n),
                ..policy_update(key(&format!("p{n}")), Ok(spec))
            };
            drop(harness.index.apply_policy(update, harness.now));
        }
    });
    assert_eq!(harness.index.violations().count(), 50, "the active policies");
    assert!(used.bytes_max < 40 << 20, "{} bytes", used.bytes_max);
}
