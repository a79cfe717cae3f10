//! The rules of the election, one transition at a time, and elections between two replicas.

use super::*;
use crate::kubernetes::named_object::Version;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A reading `seconds` after the start of the test.
fn at(seconds: u64) -> Reading {
    Reading {
        boot: secs(1000 + seconds),
        wall: wall(seconds),
    }
}

fn wall(seconds: u64) -> jiff::Timestamp {
    let start: jiff::Timestamp = "2026-11-20T11:00:00Z".parse().unwrap();
    start + secs(seconds)
}

fn election(identity: &str) -> Election {
    Election {
        identity: identity.into(),
    }
}

fn version(number: u64) -> Version {
    Version {
        uid: "u".to_owned(),
        resource_version: number.to_string(),
    }
}

/// A Lease that this holder renewed `renewed` seconds after the start.
fn lease(holder: &str, number: u64, renewed: u64) -> LeaseRecord {
    LeaseRecord {
        version: version(number),
        term: Term {
            holder: holder.to_owned(),
            seconds: 15,
            acquired: Some(wall(0)),
            renewed: Some(wall(renewed)),
            transitions: 4,
        },
    }
}

fn released(version: u64) -> LeaseRecord {
    let mut released = lease("", version, 0);
    released.term.seconds = RELEASED_SECONDS;
    released
}

fn leader(version: u64, sent: u64) -> State {
    State::Leader {
        record: lease("a", version, sent),
        sent: at(sent),
    }
}

fn standby(seen: Option<LeaseRecord>, since: u64) -> State {
    let since = at(since);
    State::Standby { seen, since }
}

/// Describes an action: `read 0.5`, `wait 3`, or the holder, the version and the transitions of a write.
fn brief(action: &Action) -> String {
    match action {
        Action::Read(wait) => format!("read {}", wait.as_secs_f64()),
        Action::Wait(wait) => format!("wait {}", wait.as_secs_f64()),
        Action::Write(write) => {
            let version = write.precondition.as_ref();
            let version = version.map_or("new", |version| &version.resource_version);
            format!("write {} {version} {}", write.term.holder, write.term.transitions)
        }
    }
}

fn role(state: &State) -> &'static str {
    match state {
        State::Unknown => "unknown",
        State::Standby { .. } => "standby",
        State::Leader { .. } => "leader",
    }
}

#[test]
fn the_election_follows_its_rules() {
    let other = |version, renewed| Some(lease("b", version, renewed));
    let own = |version| Some(lease("a", version, 0));
    let written = |sent: u64, version| Input::Written {
        sent: at(sent),
        record: lease("a", version, sent),
    };
    #[rustfmt::skip]
    let table = [
        // Acquire.
        (State::Unknown, Input::Elapsed, 0, "unknown", "read 0", "the first step"),
        (State::Unknown, Input::Seen(None), 0, "unknown", "write a new 0", "no Lease: create it"),
        (State::Unknown, written(0, 1), 1, "leader", "wait 1", "acquired: renew 2 s after the write was sent"),
        (State::Unknown, Input::Conflict, 0, "unknown", "read 0.5", "another replica created it first"),
        (State::Unknown, Input::Failed, 0, "unknown", "read 0.5", "the API server is down"),
        (State::Unknown, Input::Seen(other(7, 0)), 3, "standby", "wait 15", "another holder"),
        (State::Unknown, Input::Seen(Some(released(7))), 3, "standby", "write a 7 5", "released: take it over at once"),
        (State::Unknown, Input::Seen(Some(lease("", 7, 0))), 3, "standby", "wait 15", "an empty holder that is no release"),
        (State::Unknown, Input::Seen(own(7)), 3, "standby", "write a 7 4", "this replica wrote it and received no response"),
        (State::Unknown, written(0, 1), 10, "standby", "read 0", "the response arrives after the deadline"),
        // A standby.
        (standby(other(7, 0), 0), Input::Seen(other(8, 2)), 2, "standby", "wait 15", "the holder renews"),
        (standby(other(7, 0), 0), Input::Seen(other(8, 0)), 2, "standby", "wait 13", "somebody adds a label: no renewal"),
        (standby(other(7, 0), 0), Input::Elapsed, 14, "standby", "wait 1", "not yet"),
        (standby(other(7, 0), 0), Input::Elapsed, 15, "standby", "write a 7 5", "expired"),
        (standby(other(7, 0), 0), Input::Seen(other(9, 0)), 15, "standby", "write a 9 5", "expired, with the new version"),
        (standby(other(7, 0), 0), Input::Seen(other(3, 0)), 15, "standby", "write a 3 5", "expired, etcd was restored"),
        (standby(other(7, 0), 0), Input::Seen(other(3, 1)), 15, "standby", "wait 15", "restored to an earlier renewal"),
        (standby(other(7, 0), 0), Input::Conflict, 15, "standby", "read 0.5", "another replica was faster"),
        (standby(other(7, 0), 0), Input::Failed, 15, "standby", "read 0.5", "no response"),
        (standby(other(7, 0), 0), Input::Seen(Some(released(8))), 5, "standby", "write a 8 5", "the holder released it"),
        (standby(other(7, 0), 0), Input::Seen(Some(lease("", 8, 0))), 5, "standby", "wait 15", "somebody removed the holder"),
        (standby(other(7, 0), 0), Input::Seen(None), 5, "standby", "wait 15", "deleted: its leader may still write"),
        (standby(None, 5), Input::Seen(None), 19, "standby", "wait 1", "still deleted"),
        (standby(None, 5), Input::Seen(None), 20, "standby", "write a new 0", "deleted, and the leader is gone"),
        (standby(None, 5), Input::Failed, 12, "standby", "read 0.5", "it may have been created and deleted again"),
        (standby(None, 5), Input::Seen(other(1, 6)), 6, "standby", "wait 15", "the leader created it again"),
        (standby(other(7, 0), 0), written(15, 8), 15, "leader", "wait 2", "taken over"),
        // A leader.
        (leader(7, 0), Input::Elapsed, 2, "leader", "write a 7 4", "renew"),
        (leader(7, 0), written(2, 8), 3, "leader", "wait 1", "renewed"),
        (leader(7, 0), Input::Conflict, 2, "leader", "read 0.5", "somebody edited the Lease"),
        (leader(7, 0), Input::Seen(own(9)), 3, "leader", "write a 9 4", "edited, but still held: renew"),
        (leader(7, 0), Input::Seen(own(2)), 3, "leader", "write a 2 4", "etcd was restored: renew"),
        (leader(7, 0), Input::Seen(Some(lease("", 9, 0))), 3, "leader", "write a 9 5", "somebody removed the holder"),
        (leader(7, 0), Input::Seen(None), 3, "leader", "write a new 0", "deleted: create it again"),
        (leader(7, 0), Input::Seen(other(9, 2)), 3, "standby", "wait 15", "lost to another holder"),
        (leader(7, 0), Input::Failed, 9, "leader", "read 0.5", "no response, but time remains"),
        (leader(7, 0), Input::Failed, 10, "standby", "read 0.5", "the deadline"),
        (leader(7, 0), Input::Elapsed, 10, "standby", "write a 7 4", "a pause beyond the deadline: try to take it over again"),
        (leader(7, 0), Input::Seen(own(7)), 12, "standby", "write a 7 4", "expired, but nobody took it over"),
        (leader(7, 0), Input::Seen(None), 12, "standby", "wait 15", "expired and deleted: another leader may write"),
        (leader(7, 0), written(9, 8), 12, "leader", "wait 0", "the response of a renewal arrives late, but before its deadline"),
    ];
    for (state, input, now, expected_role, expected_action, why) in table {
        let (state, action) = election("a").step(state, input, at(now));
        assert_eq!(role(&state), expected_role, "{why}");
        assert_eq!(brief(&action), expected_action, "{why}");
    }
}

#[test]
fn a_failed_read_of_a_deleted_lease_starts_the_wait_again() {
    let (state, _) = election("a").step(standby(None, 5), Input::Failed, at(12));
    let (_, action) = election("a").step(state, Input::Seen(None), at(20));
    assert_eq!(brief(&action), "wait 7");
}

#[test]
fn a_step_of_the_wall_clock_ends_a_term_but_does_not_begin_one() {
    let ahead = |seconds| Reading {
        boot: at(seconds).boot,
        wall: wall(seconds + 300),
    };
    let (state, _) = election("a").step(leader(7, 0), Input::Elapsed, ahead(2));
    assert_eq!(role(&state), "standby", "the leader stops");
    let state = standby(Some(lease("b", 7, 0)), 0);
    let (_, action) = election("a").step(state, Input::Elapsed, ahead(2));
    assert_eq!(brief(&action), "wait 13", "the standby waits");
}

#[test]
fn the_times_of_another_clock_do_not_count() {
    for offset in [
        "2026-11-20T10:00:00Z",
        "2026-11-20T11:05:00Z",
        "2030-01-01T00:00:00Z",
    ] {
        let mut seen = lease("b", 7, 0);
        seen.term.renewed = Some(offset.parse().unwrap());
        seen.term.acquired = None;
        let (state, action) = election("a").step(State::Unknown, Input::Seen(Some(seen)), at(0));
        assert_eq!(brief(&action), "wait 15", "{offset}");
        let (_, action) = election("a").step(state, Input::Elapsed, at(15));
        assert_eq!(brief(&action), "write a 7 5", "{offset}");
    }
}

#[test]
fn a_renewal_keeps_the_beginning_of_the_term_and_a_takeover_does_not() {
    let election = election("a");
    let renewal = election.write(Some(&lease("a", 7, 2)), at(4));
    assert_eq!(renewal.term.acquired, Some(wall(0)));
    assert_eq!(renewal.term.renewed, Some(wall(4)));
    let takeover = election.write(Some(&lease("b", 7, 2)), at(40));
    assert_eq!(takeover.term.acquired, Some(wall(40)));
    let mut invalid = lease("b", 7, 2);
    for (transitions, expected) in [(-5, 1), (i32::MAX, i32::MAX)] {
        invalid.term.transitions = transitions;
        assert_eq!(election.write(Some(&invalid), at(40)).term.transitions, expected);
    }
    let release = release(&lease("a", 7, 2), at(5));
    assert!(is_released(&release.term));
    assert_eq!(release.precondition, Some(version(7)));
}

/// A Lease on a simulated API server.
#[derive(Default)]
struct Server {
    lease: Option<LeaseRecord>,
    version: u64,
}

impl Server {
    fn answer(&mut self, action: &Action, now: Reading) -> Input {
        match action {
            Action::Read(_) | Action::Wait(_) => Input::Seen(self.lease.clone()),
            Action::Write(write) => {
                let current = self.lease.as_ref().map(|lease| &lease.version);
                if current != write.precondition.as_ref() {
                    return Input::Conflict;
                }
                self.version += 1;
                let record = LeaseRecord {
                    version: version(self.version),
                    term: write.term.clone(),
                };
                self.lease = Some(record.clone());
                Input::Written { sent: now, record }
            }
        }
    }
}

/// Two replicas with different clocks lose the API server at random, and somebody deletes the Lease at random.
#[test]
fn there_is_never_more_than_one_leader() {
    for seed in 0..200_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut chance = |one_in: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random.is_multiple_of(one_in)
        };
        let mut server = Server::default();
        let offsets = [0, 300];
        let clock = |replica: usize, now: u64| Reading {
            boot: secs(5000 * (replica as u64 + 1) + now),
            wall: wall(now + offsets[replica]),
        };
        let mut replicas = ["a", "b"].map(|identity| {
            let action = Action::Read(Duration::ZERO);
            (election(identity), State::Unknown, action, 0, false)
        });
        let mut terms = 0;
        for now in 0..600 {
            let is_known = replicas.iter().all(|(_, state, ..)| *state != State::Unknown);
            if chance(97) && is_known {
                server.lease = None;
            }
            for (replica, (election, state, action, due, is_cut)) in replicas.iter_mut().enumerate() {
                if chance(40) {
                    *is_cut = !*is_cut;
                }
                if *due > now {
                    continue;
                }
                let reading = clock(replica, now);
                let input = match (&*state, &*action) {
                    (State::Leader { .. }, Action::Wait(_)) => Input::Elapsed,
                    // A watch without a connection is silent. A Lease that does not exist is read repeatedly.
                    (State::Standby { seen: Some(_), .. }, Action::Wait(_)) if *is_cut => Input::Elapsed,
                    _ if *is_cut => Input::Failed,
                    (_, action) => server.answer(action, reading),
                };
                let was_leader = matches!(state, State::Leader { .. });
                let (next, todo) = election.step(state.clone(), input, reading);
                *due = now
                    + match &todo {
                        Action::Read(wait) | Action::Wait(wait) => wait.as_secs().min(2),
                        Action::Write(_) => 0,
                    };
                (*state, *action) = (next, todo);
                terms += u32::from(!was_leader && matches!(state, State::Leader { .. }));
            }
            let leaders = replicas.iter().enumerate().filter(|(replica, (_, state, ..))| {
                let remaining = state.remaining(clock(*replica, now));
                remaining.is_some_and(|remaining| !remaining.is_zero())
            });
            assert!(leaders.count() <= 1, "seed {seed}, second {now}");
        }
        assert!(terms > 0, "seed {seed}: there was a leader");
    }
}
