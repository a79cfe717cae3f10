//! What happens to Pods and policies, drawn step by step beside an undisturbed run of it.
//!
//! Where nobody looks, only happens what the API still shows when somebody looks again, or what is lost by design:
//! * of several versions only the last is seen, so a Pod changes at most once in a time of blindness (and a flap within it
//!   is in no run, as nobody can know of it);
//! * an end that is noticed late lets a violation fire on for as long, so its Pod then rests until that is over;
//! * a deadline that passes unseen acts late, and only if the fault is still there, so nothing ends a fault whose deadline
//!   passed unseen;
//! * flaps have no time of their own, so a flap that is seen late stands alone;
//! * an instant (a memory kill, restarts in a row) is unseen only so briefly that it still counts afterwards;
//! * an operator that restarts knows no flaps, no restarts before the last, no valid version of a policy that has become
//!   invalid, and nothing that its predecessor did not write.

use std::collections::{BTreeMap, BTreeSet};

use sidewatch::domain::policy::Check;

use testkit::{kubelet::Pod, rng::Rng};

use crate::{
    life::{Life, Template, Trouble},
    plan::{Blind, CALM, Kind, Plan},
    policies::{EDITS, INVALID, LONG, Stored, policies},
    reference::Reference,
};

/// How many Events of one Pod a story may have. More would meet the limits of a Pod, which are not the subject here.
const EVENTS: usize = 14;
/// Longer than any `keepFiringFor`, and than any window of flaps.
const REST: i64 = 150;

/// One change of the world.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A Pod is written.
    Pod(Pod),
    /// A Pod is gone.
    Gone(Pod),
    /// A policy has another spec.
    Policy(Stored),
    /// A policy is deleted and made anew.
    Anew(Stored, Stored),
}

/// What happens when, in order.
pub(crate) struct History {
    pub(crate) changes: Vec<(i64, Change)>,
    /// The undisturbed run of it, until the calm.
    pub(crate) reference: Reference,
}

impl History {
    pub(crate) fn new(plan: &Plan, rng: &mut Rng) -> Self {
        let mut writer = Writer {
            plan,
            rng,
            reference: Reference::new(),
            changes: Vec::new(),
            lives: BTreeMap::new(),
            policies: policies(),
            born: 0,
        };
        for policy in writer.policies.clone() {
            writer.say(0, Change::Policy(policy));
        }
        for _ in 0..5 {
            writer.birth(1);
        }
        let mut at = 2;
        while at < CALM {
            at += writer.rng.between(1, 25);
            writer.look_ahead(at);
            let is_due = plan.edits.iter().any(|edit| (at - 25..at).contains(edit));
            if is_due && plan.blind(at).is_none() {
                writer.edit(at);
            } else if at < CALM {
                writer.step(at);
            }
        }
        Self {
            changes: writer.changes,
            reference: writer.reference,
        }
    }
}

struct Writer<'a> {
    plan: &'a Plan,
    rng: &'a mut Rng,
    reference: Reference,
    changes: Vec<(i64, Change)>,
    lives: BTreeMap<String, Life>,
    policies: Vec<Stored>,
    born: usize,
}

impl Writer<'_> {
    fn say(&mut self, at: i64, change: Change) {
        self.reference.change(at, &change);
        self.changes.push((at, change));
    }

    /// Lets Pods rest whose counts lose their weight while nobody looks: that is noticed late.
    fn look_ahead(&mut self, at: i64) {
        self.reference.pass(at);
        for blind in self
            .plan
            .blinds
            .iter()
            .filter(|blind| (blind.begin..=blind.end + 30).contains(&at))
        {
            let counted =
                self.reference
                    .pods_with(&[Check::FrequentRestarts, Check::Flapping, Check::OOMKilled]);
            let changed = self
                .reference
                .pods_that_changed(blind.begin - 1, at.min(blind.end));
            let counted: BTreeSet<String> = counted.chain(changed).collect();
            let until = blind.end + (blind.end - blind.begin) + LONG;
            for life in self
                .lives
                .values_mut()
                .filter(|life| counted.contains(&life.pod.name))
            {
                life.rests_until = life.rests_until.max(until);
            }
        }
    }

    fn birth(&mut self, at: i64) {
        let template = self.rng.pick(&Template::ALL);
        let name = format!(
            "{}-{}",
            if template == Template::Web { "web" } else { "other" },
            self.born
        );
        self.born += 1;
        self.give_birth(at, template, &name, &format!("uid-{}", self.born));
    }

    fn give_birth(&mut self, at: i64, template: Template, name: &str, uid: &str) {
        let namespace = if self.rng.chance(70) { "pay" } else { "shop" };
        let life = Life::new(at, template, Pod::new(namespace, name, at), uid);
        self.say(at, Change::Pod(life.pod.clone()));
        self.lives.insert(uid.to_owned(), life);
    }

    /// Something happens, if something may.
    fn step(&mut self, at: i64) {
        if self
            .plan
            .stalls
            .iter()
            .any(|(begin, end)| (begin - 1..=end + 1).contains(&at))
        {
            return;
        }
        let blind = self.plan.blind(at);
        let at_edge = self
            .plan
            .blinds
            .iter()
            .any(|blind| blind.begin == at || blind.end == at);
        if at_edge {
            return;
        }
        let ready: Vec<String> = self
            .lives
            .iter()
            .filter(|(_, life)| self.may_change(life, at, blind))
            .map(|(uid, _)| uid.clone())
            .collect();
        if ready.is_empty() || self.lives.len() < 4 {
            if blind.is_none_or(|blind| blind.kind.skips_versions()) && self.lives.len() < 9 {
                self.birth(at);
            }
            return;
        }
        let uid = ready[self.rng.below(ready.len())].clone();
        let life = self.lives[&uid].clone();
        let next = if life.trouble == Trouble::None {
            self.trouble(life.clone(), at, blind)
        } else {
            self.relief(life.clone(), at, blind)
        };
        let Some(mut next) = next else { return };
        next.last_change = at;
        if let Some(blind) = blind {
            next.rests_until = blind.end + REST;
        }
        let gone = next.trouble == Trouble::Terminating && life.trouble == Trouble::Terminating;
        if gone {
            self.lives.remove(&uid);
            let name = next.pod.name.clone();
            self.say(at, Change::Gone(next.pod));
            if self.rng.chance(50) {
                // As a StatefulSet does: another Pod of the same name.
                self.give_birth(at, life.template, &name, &format!("{uid}-again"));
            }
        } else {
            self.say(at, Change::Pod(next.pod.clone()));
            self.lives.insert(uid, next);
        }
    }

    /// Whether anything may happen to a Pod now.
    fn may_change(&self, life: &Life, at: i64, blind: Option<Blind>) -> bool {
        if at <= life.rests_until || self.reference.events_of(&life.pod.uid) > EVENTS {
            return false;
        }
        let Some(blind) = blind else { return true };
        let mut since = blind.begin;
        if let Kind::Restarted { .. } = blind.kind {
            since = self.plan.unwritten_since(blind.begin);
        }
        life.last_change < since.min(blind.begin - 10) && !self.reference.changed(&life.pod.name, since, at)
    }

    /// Whether an operator ends so soon that it may not tell its successor of an end that comes now.
    fn ends_soon(&self, at: i64) -> bool {
        self.plan.blinds.iter().any(|blind| {
            matches!(blind.kind, Kind::Restarted { .. })
                && (self.plan.unwritten_since(blind.begin)..=blind.begin).contains(&at)
        })
    }

    /// Something breaks.
    fn trouble(&mut self, mut life: Life, at: i64, blind: Option<Blind>) -> Option<Life> {
        let (sidecar, main) = (life.template.sidecar(), life.template.main());
        let pod = life.pod.clone();
        // Flaps and restarts are counted, and what is counted does not outlive an operator.
        let counts = |last: i64| !self.plan.restarts || at - last > LONG;
        let is_brief = blind.is_none_or(|blind| blind.end - at <= 7);
        let is_lone = |last: i64| blind.is_none_or(|blind| last < blind.begin - LONG);
        // A run shorter than a window would count for an operator that starts later; and nothing is over just now.
        let was_calm = at - life.last_change > REST;
        match self.rng.below(9) {
            0..=2 if counts(life.last_flap) && is_lone(life.last_flap) => {
                (life.pod, life.trouble) = (pod.ready(sidecar, false, at), Trouble::Unready(sidecar));
                life.last_flap = at;
            }
            3 => (life.pod, life.trouble) = (pod.ready(main, false, at), Trouble::Unready(main)),
            4 if !self.plan.restarts
                && is_brief
                && is_lone(life.last_restart)
                && life.template != Template::Job =>
            {
                let times = u32::try_from(self.rng.between(1, 3)).unwrap();
                let who = if self.rng.chance(30) { main } else { sidecar };
                life.pod = pod.restarted(who, times, "Error", at);
                life.last_restart = at;
            }
            5 if was_calm
                && is_brief
                && counts(life.last_restart)
                && is_lone(life.last_restart)
                && !self.ends_soon(at)
                && life.template != Template::Job =>
            {
                life.pod = pod.restarted(sidecar, 1, "OOMKilled", at);
                life.last_restart = at;
            }
            6 if life.template == Template::Job => {
                (life.pod, life.trouble) = (pod.exits(main, 0, at), Trouble::HeldOpen);
            }
            6 if was_calm && counts(life.last_restart) && is_lone(life.last_restart) => {
                (life.pod, life.trouble) = (pod.backs_off(sidecar, at), Trouble::Down(sidecar));
                life.last_restart = at;
            }
            7 if was_calm => (life.pod, life.trouble) = (pod.node_lost(true), Trouble::NodeLost),
            8 if self.rng.chance(50) => (life.pod, life.trouble) = (pod.terminating(), Trouble::Terminating),
            // Nobody ever knows of a flap that is over before the next look.
            8 if blind.is_some_and(|blind| blind.kind.skips_versions()) && is_lone(life.last_flap) => {
                life.pod = pod.ready(sidecar, false, at - 1).ready(sidecar, true, at);
            }
            _ => return None,
        }
        Some(life)
    }

    /// What is broken is repaired, or gone.
    fn relief(&mut self, mut life: Life, at: i64, blind: Option<Blind>) -> Option<Life> {
        let pod = life.pod.clone();
        if life.trouble != Trouble::Terminating && self.ends_soon(at) {
            return None;
        }
        match life.trouble {
            Trouble::Unready(name) => life.pod = pod.ready(name, true, at),
            Trouble::Down(_) if blind.is_some() => return None,
            Trouble::Down(name) => life.pod = pod.starts_again(name, true, at),
            Trouble::Starting(name) => life.pod = pod.started(name, at),
            Trouble::HeldOpen => life.pod = pod.exits("fluent-bit", 0, at),
            Trouble::NodeLost => life.pod = pod.node_lost(false),
            Trouble::Terminating => return Some(life),
            Trouble::None => return None,
        }
        life.trouble = if life.trouble == Trouble::HeldOpen {
            Trouble::Terminating
        } else {
            Trouble::None
        };
        if life.trouble == Trouble::Terminating {
            life.pod = life.pod.terminating();
        }
        Some(life)
    }

    /// Somebody edits a policy, or replaces it.
    fn edit(&mut self, at: i64) {
        let (name, place, value) = if !self.plan.restarts && self.rng.chance(20) {
            INVALID
        } else {
            self.rng.pick(&EDITS)
        };
        let policy = self
            .policies
            .iter_mut()
            .find(|policy| policy.name == name)
            .unwrap();
        let before = policy.clone();
        if self.rng.chance(20) {
            policy.uid.push_str("-anew");
            policy.generation = 1;
            let policy = policy.clone();
            self.say(at, Change::Anew(before, policy));
            return;
        }
        let value = serde_json::from_str(value).unwrap();
        let (parent, field) = place.rsplit_once('/').unwrap();
        policy.spec.pointer_mut(parent).unwrap()[field] = value;
        policy.generation += 1;
        let policy = policy.clone();
        self.say(at, Change::Policy(policy));
    }
}
