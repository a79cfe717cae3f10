//! A replica receives checkpoints of a leader whose clock is behind its own.

use crate::domain::{
    policy::{Check, Policy},
    testing::{Harness, Pod, only, policy, seconds, unready_since, web},
};

/// The seconds by which the clock of the second replica is ahead. This is longer than the windows of the checks.
const AHEAD: i64 = 2000;

/// Two replicas that make the same observations at the same time. Their clocks differ.
struct Replicas {
    leader: Harness,
    ahead: Harness,
}

impl Replicas {
    fn with(policy: impl Fn() -> Policy) -> Self {
        let mut replicas = Self {
            leader: Harness::with(policy()),
            ahead: Harness::with(policy()),
        };
        replicas.at(0).pod(&web());
        replicas
    }

    /// Advances both to a time of the leader's clock.
    fn at(&mut self, second: i64) -> &mut Self {
        self.leader.at(second);
        self.ahead.at(second + AHEAD);
        self
    }

    fn pod(&mut self, pod: &Pod) -> &mut Self {
        self.leader.pod(pod);
        self.ahead.pod(pod);
        self
    }

    /// The second replica imports a checkpoint of the leader.
    fn checkpoint(&mut self) -> &mut Self {
        self.ahead.import(self.leader.checkpoint());
        self
    }

    /// The firing violations of both.
    fn firing(&self) -> Vec<String> {
        let firing = self.leader.firing();
        assert_eq!(self.ahead.firing(), firing);
        firing
    }
}

#[test]
fn observed_restarts_stay_in_the_window() {
    let mut replicas = Replicas::with(|| policy().only(Check::FrequentRestarts));
    let once = web().exits("envoy", 1, 10).restarted("envoy", 11);
    let twice = once.clone().exits("envoy", 1, 12).restarted("envoy", 13);
    replicas.at(11).pod(&once).at(13).pod(&twice);
    replicas.at(30).checkpoint();
    assert_eq!(replicas.firing(), [""; 0], "two restarts");
    replicas
        .at(41)
        .pod(&twice.exits("envoy", 1, 40).restarted("envoy", 41));
    assert_eq!(replicas.firing().len(), 1, "three restarts");
    replicas.at(50).checkpoint();
    assert_eq!(replicas.firing().len(), 1);
}

#[test]
fn observed_readiness_changes_stay_in_the_window() {
    let limits = |policy: &mut Policy| policy.checks.flapping.limits.count = 3;
    let mut replicas = Replicas::with(|| policy().only(Check::Flapping).with(limits));
    for since in [10, 20] {
        replicas
            .at(since)
            .pod(&unready_since(since))
            .at(since + 5)
            .pod(&web());
    }
    replicas.at(28).checkpoint();
    assert_eq!(replicas.firing(), [""; 0], "two changes");
    replicas.at(30).pod(&unready_since(30));
    assert_eq!(replicas.firing().len(), 1, "three changes");
    replicas.at(50).checkpoint();
    assert_eq!(replicas.firing().len(), 1);
}

#[test]
fn an_observed_onset_holds() {
    let hour = || only(Check::NotReady, 3600);
    let mut replicas = Replicas::with(hour);
    replicas.at(10).pod(&unready_since(10));
    // By now the leader's clock shows more than the onset that the second replica has.
    replicas.at(AHEAD + 100).checkpoint();
    replicas.at(3600);
    assert_eq!(replicas.firing(), [""; 0]);
    replicas.at(3611);
    assert_eq!(replicas.firing().len(), 1);
}

#[test]
fn an_observed_end_holds() {
    let hour = || {
        policy().only(Check::NotReady).check(Check::NotReady, |check| {
            (check.hold_for, check.keep_firing_for) = (seconds(2), seconds(3600));
        })
    };
    // One fault is shorter than the difference of the clocks, the other is longer.
    for end in [50, AHEAD + 500] {
        let mut replicas = Replicas::with(hour);
        replicas.at(10).pod(&unready_since(10));
        replicas.at(end).pod(&web());
        // By now the leader's clock shows more than the end that the second replica has.
        replicas.at(end + AHEAD + 100).checkpoint();
        replicas.at(end + 3590);
        assert_eq!(replicas.firing().len(), 1, "{end}");
        replicas.at(end + 3601);
        assert_eq!(replicas.firing(), [""; 0], "{end}");
    }
}

#[test]
fn a_late_observation_is_not_another_clock() {
    let bad = unready_since(10);
    // The time of the observation, of the checkpoint and of its arrival, and the onset.
    for (observed, written, arrives, onset) in [
        (500, 550, 560, 10.0),
        (500, 550, 670, 10.0),
        (130, 150, 290, 10.0),
        (131, 150, 271, 131.0),
    ] {
        let mut leader = Harness::with(policy().only(Check::NotReady));
        let mut late = Harness::with(policy().only(Check::NotReady));
        leader.pod(&web()).at(10).pod(&bad).at(written);
        late.pod(&web()).at(observed).pod(&bad);
        late.at(arrives).import(leader.checkpoint());
        let found = late.onset("envoy", Check::NotReady);
        assert_eq!(found, Some(onset), "{observed} {written} {arrives}");
    }
}
