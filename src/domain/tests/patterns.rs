//! The memory of the patterns in policies.

use std::ops::Range;

use allocation_counter::measure;

use crate::domain::{
    expected::{Expected, MAX_EXPECTED, Rule, Sidecar},
    pattern::Pattern,
    policy::{Check, Policy, PolicyUpdate},
    testing::{Harness, at, key, minutes, policy, policy_update, web},
};

/// What a namespace may take above an empty process.
const LIMIT: u64 = 40 << 20;

/// The largest valid pattern of a form. Patterns differ in `NUMBER`.
fn largest(form: impl Fn(usize) -> String) -> String {
    let is_valid = |source: &String| Pattern::parse(&source.replace("NUMBER", "100000")).is_ok();
    let widths = (5..=1000).step_by(5);
    widths.map(form).take_while(is_valid).last().unwrap()
}

/// Policies of one namespace, each older than those before, so that it takes the place of one of them.
fn apply(harness: &mut Harness, numbers: Range<i64>, spec: impl Fn(i64) -> Policy) {
    for n in numbers {
        let update = PolicyUpdate {
            created: at(1000 - n),
            ..policy_update(key(&format!("p{n}")), Ok(spec(n)))
        };
        drop(harness.index.apply_policy(update, harness.now));
    }
}

fn harness() -> Harness {
    let mut harness = Harness::starting();
    harness.resync([&web()]).pod_at(10, &web().unready("envoy"));
    harness
}

#[test]
fn a_large_pattern_in_many_policies_takes_little_memory() {
    let mut harness = harness();
    let large = largest(|width| format!("NUMBER(?:[a-z]{{1,{width}}}-){{1,10}}"));
    let used = measure(|| {
        apply(&mut harness, 0..480, |n| {
            let source = large.replace("NUMBER", &(100_000 + n).to_string());
            policy().only(Check::NotReady).with(|policy| {
                policy.sidecars.name_pattern = Some(Pattern::parse(&source).unwrap());
            })
        });
    });
    assert_eq!(harness.index.violations().count(), 50, "the active policies");
    assert!(used.bytes_max < LIMIT, "{} bytes", used.bytes_max);
}

#[test]
fn all_patterns_of_all_active_policies_take_little_memory() {
    // Of the forms that were tried, groups that can be empty need the most memory in addition to the compiled form.
    let groups = "(a?)".repeat(100);
    let source = largest(|width| format!("{groups}(?:a?){{1,{width}}}NUMBER"));
    let spec = |n| {
        let pattern = |k: usize| {
            let number = 100_000 + 100 * usize::try_from(n).unwrap() + k;
            Pattern::parse(&source.replace("NUMBER", &number.to_string())).unwrap()
        };
        let expected = (0..MAX_EXPECTED).map(|k| Expected {
            name: format!("e{k}").into(),
            rule: Rule::Custom {
                sidecar: Sidecar::NamePattern(pattern(k)),
                when: Vec::new(),
                unless: Vec::new(),
            },
            hold_for: minutes(5),
        });
        policy().only(Check::SidecarMissing).with(|policy| {
            policy.sidecars.name_pattern = Some(pattern(MAX_EXPECTED));
            policy.sidecars.exclude_pattern = Some(pattern(MAX_EXPECTED + 1));
            policy.expected = expected.collect();
        })
    };
    let mut harness = harness();
    let active = measure(|| apply(&mut harness, 0..50, spec));
    assert!(active.bytes_max < LIMIT, "{} bytes: {source}", active.bytes_max);
    let is_compiled = active.bytes_current > 10 << 20;
    assert!(is_compiled, "{} bytes", active.bytes_current);
    let replaced = measure(|| apply(&mut harness, 50..60, spec)).bytes_current;
    let limit = active.bytes_current / 20;
    assert!(
        replaced < limit,
        "ten policies that have lost their place keep {replaced} of {} bytes",
        active.bytes_current
    );
}
