//! Edits of every field of the spec on a running index: a valid value and its reversal, the bounds, invalid values,
//! removal. A reversal restores the previous state, an invalid version that can be decoded leaves the last valid one in effect,
//! and no edit affects another policy.
//!
//! The fields come from the schemas of the CRDs ([`fields`]). The test fails for a field without a [`cases::Case`], and
//! for a case whose valid value has no effect in the [`simulation`].

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests panic where their expectation fails"
)]

mod cases;
mod expected;
mod fields;
mod script;
mod simulation;

use std::collections::HashMap;

use serde_json::{Value, json};
use sidewatch::domain::policy::PolicyKind;

use cases::{Case, cases};
use simulation::{EDIT_TIMES, Observed, Outcome, Simulation};

const KINDS: [PolicyKind; 2] = [PolicyKind::SidecarPolicy, PolicyKind::ClusterSidecarPolicy];

/// Runs a test for every case, and every kind that has the field.
fn each(mut test: impl FnMut(PolicyKind, &Case)) {
    for kind in KINDS {
        let fields = fields::of(kind);
        for case in cases().iter().filter(|case| fields.contains_key(&case.field)) {
            test(kind, case);
        }
    }
}

/// The second at which an edit has no effects any more.
const EFFECTS_END: i64 = 9000;

/// Simulations without edits. Each runs once.
#[derive(Default)]
struct Undisturbed {
    simulations: HashMap<(PolicyKind, String, i64), Simulation>,
    outcomes: HashMap<(PolicyKind, String), Outcome>,
}

impl Undisturbed {
    fn at(&mut self, kind: PolicyKind, spec: &Value, moment: i64) -> &Simulation {
        let key = (kind, spec.to_string(), moment);
        self.simulations
            .entry(key)
            .or_insert_with(|| Simulation::at(kind, spec, moment))
    }

    fn outcome(&mut self, kind: PolicyKind, spec: &Value) -> &Outcome {
        let key = (kind, spec.to_string());
        self.outcomes
            .entry(key)
            .or_insert_with(|| Simulation::outcome(kind, spec))
    }
}

/// The spec of a case with this value.
fn spec(case: &Case, value: &Value) -> Value {
    let mut spec = case.before.clone();
    fields::set(&mut spec, &case.field, Some(value.clone()));
    spec
}

#[test]
fn every_field_has_a_case() {
    let cases = cases();
    for kind in KINDS {
        for field in fields::of(kind).keys() {
            let number = cases.iter().filter(|case| case.field == *field).count();
            assert_eq!(number, 1, "cases of {field}");
        }
    }
    for case in &cases {
        let is_known = KINDS
            .iter()
            .any(|kind| fields::of(*kind).contains_key(&case.field));
        assert!(is_known, "no field {}", case.field);
    }
}

#[test]
fn every_value_of_an_enum_is_tried() {
    let cases = cases();
    for (field, schema) in fields::of(PolicyKind::ClusterSidecarPolicy) {
        let Some(values) = schema["enum"].as_array() else {
            continue;
        };
        let case = cases.iter().find(|case| case.field == *field).unwrap();
        for value in values
            .iter()
            .filter(|value| **value != schema["default"] && case.value_before() != Some(value))
        {
            let tried = case.valid.contains(value) || case.invalid.contains(value);
            assert!(tried, "{field} lacks {value}");
        }
    }
}

#[test]
fn every_valid_value_has_an_effect() {
    let mut undisturbed = Undisturbed::default();
    each(|kind, case| {
        let before = undisturbed.outcome(kind, &case.before);
        for value in &case.valid {
            let after = Simulation::outcome(kind, &spec(case, value));
            assert!(
                *before != after,
                "{kind:?}: {} = {value} has no effect",
                case.field
            );
        }
    });
}

#[test]
fn an_edit_and_its_reversal_restore_the_state() {
    let mut undisturbed = Undisturbed::default();
    each(|kind, case| {
        let valid = case
            .valid
            .iter()
            .flat_map(|value| EDIT_TIMES.map(|moment| (value, moment)));
        let boundary = case.boundary.iter().map(|value| (value, EDIT_TIMES[1]));
        let complete = valid
            .chain(boundary)
            .map(|(value, moment)| (value, moment, false));
        // The reversal comes when some Pods are under the edit and the others are not.
        let partial = case.valid.iter().map(|value| (value, EDIT_TIMES[1], true));
        for (value, moment, is_partial) in complete.chain(partial) {
            // The Pods do not show since when several versions have run, so a policy without the check loses that time.
            if case.field == "checks.versionDrift.mode" && *value == "Off" {
                continue;
            }
            let what = format!("{kind:?} at {moment}: {} = {value} and back", case.field);
            let same = undisturbed.at(kind, &case.before, moment);
            let mut simulation = Simulation::at(kind, &case.before, moment);
            if is_partial {
                simulation.begin_edit(&spec(case, value));
            } else {
                simulation.edit(&spec(case, value));
                assert!(simulation.is_ready(), "{what}: {:?}", simulation.observed());
            }
            simulation.edit(&case.before);
            same.observed().assert_same(&simulation.observed(), &what);
            assert_eq!(simulation.others(), same.others(), "{what}: the other policies");
            let same = undisturbed.at(kind, &case.before, EFFECTS_END);
            simulation.pass(EFFECTS_END);
            same.observed()
                .assert_same(&simulation.observed(), &format!("{what}, later"));
            same.assert_same_events(&simulation, &what);
            assert_eq!(
                simulation.others(),
                same.others(),
                "{what}: the other policies, later"
            );
        }
    });
}

#[test]
fn an_invalid_version_leaves_the_last_valid_one_in_effect_unless_it_cannot_be_decoded() {
    let mut undisturbed = Undisturbed::default();
    let wrong_types = [json!({"not": "this"}), json!(1.5), json!([{}]), json!(true)];
    each(|kind, case| {
        let wrong_types = wrong_types.iter().filter(|_| case.is_typed);
        for value in case.invalid.iter().chain(wrong_types) {
            let what = format!("{kind:?}: {} = {value}", case.field);
            let mut simulation = Simulation::at(kind, &case.before, EDIT_TIMES[1]);
            simulation.edit(&spec(case, value));
            assert!(!simulation.is_ready(), "{what} is accepted");
            if simulation.is_undecodable(&spec(case, value)) {
                assert!(simulation.observed().violations.is_empty(), "{what}");
                simulation.pass(EDIT_TIMES[2]);
                simulation.edit(&case.before);
                assert!(simulation.is_ready(), "{what}, corrected");
                let same = undisturbed.at(kind, &case.before, EDIT_TIMES[2]);
                assert_eq!(simulation.others(), same.others(), "{what}: the other policies");
                continue;
            }
            let same = undisturbed.at(kind, &case.before, EDIT_TIMES[1]);
            same.observed()
                .assert_same_but_ready(&simulation.observed(), &what);
            let same = undisturbed.at(kind, &case.before, EDIT_TIMES[2]);
            simulation.pass(EDIT_TIMES[2]);
            same.observed()
                .assert_same_but_ready(&simulation.observed(), &format!("{what}, later"));
            simulation.edit(&case.before);
            assert!(simulation.is_ready(), "{what}, corrected");
            same.observed()
                .assert_same(&simulation.observed(), &format!("{what}, corrected"));
            same.assert_same_events(&simulation, &what);
            assert_eq!(simulation.others(), same.others(), "{what}: the other policies");
        }
    });
}

#[test]
fn a_value_that_only_the_server_refuses_does_not_affect_other_policies() {
    let mut undisturbed = Undisturbed::default();
    each(|kind, case| {
        for value in &case.refused {
            let what = format!("{kind:?}: {} = {value}", case.field);
            let mut simulation = Simulation::at(kind, &case.before, EDIT_TIMES[1]);
            simulation.edit(&spec(case, value));
            let same = undisturbed.at(kind, &case.before, EDIT_TIMES[1]);
            assert_eq!(simulation.others(), same.others(), "{what}: the other policies");
            simulation.edit(&case.before);
            same.observed().assert_same(&simulation.observed(), &what);
        }
    });
}

#[test]
fn a_removed_field_has_its_default() {
    let mut undisturbed = Undisturbed::default();
    each(|kind, case| {
        let Some(default) = fields::of(kind)[&case.field].get("default") else {
            return;
        };
        let changed = spec(case, &case.valid[0]);
        let mut removed = Simulation::at(kind, &changed, EDIT_TIMES[1]);
        let mut explicit = Simulation::at(kind, &changed, EDIT_TIMES[1]);
        removed.edit(&case.before);
        explicit.edit(&spec(case, default));
        let what = format!("{kind:?}: {} removed, or {default}", case.field);
        explicit.observed().assert_same(&removed.observed(), &what);
        assert_eq!(
            explicit.policy_transitions(),
            removed.policy_transitions(),
            "{what}"
        );
        let explicit = Simulation::outcome(kind, &spec(case, default));
        assert!(
            *undisturbed.outcome(kind, &case.before) == explicit,
            "{what}: the default is another one"
        );
    });
}

/// The other tests rely on this: every check fires, and violations exist at the times of the edits.
#[test]
fn every_check_fires_in_the_simulation() {
    for kind in KINDS {
        let outcome = Simulation::outcome(kind, &expected::all_checks());
        for check in sidewatch::domain::policy::Check::ALL {
            assert!(outcome.fired(check), "{kind:?}: {check:?} never fires");
        }
        let observed: Vec<Observed> = EDIT_TIMES
            .map(|moment| Simulation::at(kind, &json!({}), moment).observed())
            .into();
        assert!(
            observed.iter().all(|observed| observed.violations.len() >= 3),
            "{observed:?}"
        );
    }
}
