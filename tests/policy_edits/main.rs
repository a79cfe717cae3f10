//! Every field of the spec, changed in every way, on a running index: {valid change, back again, boundary, invalid,
//! removed}. A change and its way back leave what was there; an invalid version leaves the last good one at work; no
//! edit disturbs another policy.
//!
//! The fields are those of the CRDs' schemas ([`fields`]); a field without a [`cases::Case`] fails, and so does a case
//! whose change nobody would notice in the [`world`].

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests panic where their expectation fails"
)]

mod cases;
mod fields;
mod world;

use std::collections::HashMap;

use serde_json::{Value, json};
use sidewatch::domain::policy::PolicyKind;

use cases::{Case, cases};
use world::{MOMENTS, ObservedStatus, Story, World};

const KINDS: [PolicyKind; 2] = [PolicyKind::SidecarPolicy, PolicyKind::ClusterSidecarPolicy];

/// Every case on every kind that has its field.
fn each(mut test: impl FnMut(PolicyKind, &Case)) {
    for kind in KINDS {
        let fields = fields::of(kind);
        for case in cases().iter().filter(|case| fields.contains_key(case.field)) {
            test(kind, case);
        }
    }
}

/// When all that an edit can leave is over.
const LATER: i64 = 9000;

/// Worlds in which nobody edits anything, each made once.
#[derive(Default)]
struct Undisturbed {
    worlds: HashMap<(PolicyKind, String, i64), World>,
    stories: HashMap<(PolicyKind, String), Story>,
}

impl Undisturbed {
    fn at(&mut self, kind: PolicyKind, spec: &Value, moment: i64) -> &World {
        let key = (kind, spec.to_string(), moment);
        self.worlds
            .entry(key)
            .or_insert_with(|| World::at(kind, spec, moment))
    }

    fn story(&mut self, kind: PolicyKind, spec: &Value) -> &Story {
        let key = (kind, spec.to_string());
        self.stories
            .entry(key)
            .or_insert_with(|| World::story(kind, spec))
    }
}

/// A spec with one value, among what the case needs beside it.
fn spec(case: &Case, value: &Value) -> Value {
    let mut spec = case.beside.clone();
    fields::set(&mut spec, case.field, Some(value.clone()));
    spec
}

#[test]
fn every_field_has_a_case() {
    let cases = cases();
    for kind in KINDS {
        for field in fields::of(kind).keys() {
            let number = cases.iter().filter(|case| case.field == field).count();
            assert_eq!(number, 1, "cases of {field}");
        }
    }
    let known: Vec<_> = KINDS
        .into_iter()
        .flat_map(|kind| fields::of(kind).keys())
        .collect();
    for case in &cases {
        assert!(
            known.iter().any(|field| **field == *case.field),
            "no field {}",
            case.field
        );
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
            .filter(|value| **value != schema["default"] && case.base() != Some(value))
        {
            let tried = case.valid.contains(value) || case.invalid.contains(value);
            assert!(tried, "{field} lacks {value}");
        }
    }
}

#[test]
fn every_valid_change_makes_a_difference() {
    let mut undisturbed = Undisturbed::default();
    each(|kind, case| {
        let before = undisturbed.story(kind, &case.beside);
        for value in &case.valid {
            let after = World::story(kind, &spec(case, value));
            assert!(
                *before != after,
                "{kind:?}: nobody would notice {} = {value}",
                case.field
            );
        }
    });
}

#[test]
fn there_and_back_is_where_it_was() {
    let mut undisturbed = Undisturbed::default();
    each(|kind, case| {
        let valid = case
            .valid
            .iter()
            .flat_map(|value| MOMENTS.map(|moment| (value, moment)));
        let boundary = case.boundary.iter().map(|value| (value, MOMENTS[1]));
        for (value, moment) in valid.chain(boundary) {
            let what = format!("{kind:?} at {moment}: {} = {value} and back", case.field);
            let same = undisturbed.at(kind, &case.beside, moment);
            let mut world = World::at(kind, &case.beside, moment);
            world.edit(&spec(case, value));
            assert!(world.is_ready(), "{what}: {:?}", world.shown());
            world.edit(&case.beside);
            same.shown().assert_same(&world.shown(), &what);
            assert_eq!(world.bystander(), same.bystander(), "{what}: the bystander");
            let same = undisturbed.at(kind, &case.beside, LATER);
            world.pass(LATER);
            same.shown()
                .assert_same(&world.shown(), &format!("{what}, later"));
            same.assert_same_events(&world, &what);
            assert_eq!(
                world.bystander(),
                same.bystander(),
                "{what}: the bystander, later"
            );
        }
    });
}

#[test]
fn an_invalid_version_changes_nothing_and_disturbs_nobody() {
    let mut undisturbed = Undisturbed::default();
    let wrong_types = [json!({"not": "this"}), json!(1.5), json!([{}]), json!(true)];
    each(|kind, case| {
        let wrong_types = wrong_types.iter().filter(|_| case.is_typed);
        for value in case.invalid.iter().chain(wrong_types) {
            let what = format!("{kind:?}: {} = {value}", case.field);
            let mut world = World::at(kind, &case.beside, MOMENTS[1]);
            world.edit(&spec(case, value));
            assert!(!world.is_ready(), "{what} is taken");
            let same = undisturbed.at(kind, &case.beside, MOMENTS[1]);
            same.shown().assert_same_but_ready(&world.shown(), &what);
            let same = undisturbed.at(kind, &case.beside, MOMENTS[2]);
            world.pass(MOMENTS[2]);
            same.shown()
                .assert_same_but_ready(&world.shown(), &format!("{what}, later"));
            world.edit(&case.beside);
            assert!(world.is_ready(), "{what}, corrected");
            same.shown()
                .assert_same(&world.shown(), &format!("{what}, corrected"));
            same.assert_same_events(&world, &what);
            assert_eq!(world.bystander(), same.bystander(), "{what}: the bystander");
        }
    });
}

#[test]
fn what_the_server_alone_refuses_disturbs_nobody() {
    let mut undisturbed = Undisturbed::default();
    each(|kind, case| {
        for value in &case.harmless {
            let what = format!("{kind:?}: {} = {value}", case.field);
            let mut world = World::at(kind, &case.beside, MOMENTS[1]);
            world.edit(&spec(case, value));
            let same = undisturbed.at(kind, &case.beside, MOMENTS[1]);
            assert_eq!(world.bystander(), same.bystander(), "{what}: the bystander");
            world.edit(&case.beside);
            same.shown().assert_same(&world.shown(), &what);
        }
    });
}

#[test]
fn a_field_that_is_removed_has_its_default() {
    let mut undisturbed = Undisturbed::default();
    each(|kind, case| {
        let Some(default) = fields::of(kind)[case.field].get("default") else {
            return;
        };
        let changed = spec(case, &case.valid[0]);
        let mut removed = World::at(kind, &changed, MOMENTS[1]);
        let mut explicit = World::at(kind, &changed, MOMENTS[1]);
        removed.edit(&case.beside);
        explicit.edit(&spec(case, default));
        let what = format!("{kind:?}: {} removed, or {default}", case.field);
        explicit.shown().assert_same(&removed.shown(), &what);
        assert_eq!(explicit.told(), removed.told(), "{what}");
        let explicit = World::story(kind, &spec(case, default));
        assert!(
            *undisturbed.story(kind, &case.beside) == explicit,
            "{what}: the default is another one"
        );
    });
}

/// Nothing in here is of use if the world is asleep.
#[test]
fn the_world_shows_every_check() {
    for kind in KINDS {
        let story = World::story(kind, &json!({}));
        for check in sidewatch::domain::policy::Check::ALL {
            assert!(story.fired(check), "{kind:?}: {check:?} never fires");
        }
        let shown: Vec<ObservedStatus> = MOMENTS
            .map(|moment| World::at(kind, &json!({}), moment).shown())
            .into();
        assert!(shown.iter().all(|shown| shown.violations.len() >= 3), "{shown:?}");
    }
}
