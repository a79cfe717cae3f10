//! The cost of each step of an update: decode, evaluate, report. `make bench` measures. `cargo test` runs each once.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark of a broken program may panic"
)]

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use divan::{Bencher, black_box};
use parking_lot::Mutex;
use serde_json::json;
use sidewatch::{
    clock::SystemClock,
    domain::{
        index::{Index, series::SeriesLimits},
        observation::Observation,
        policy::{Policy, PolicyKey, PolicyKind},
        roles::Roles,
    },
    http::health::Health,
    http::metrics::MetricsPages,
    telemetry::metrics::Metrics,
};

use testkit::{
    fleet::{self, Fleet, at, index_of, index_under, unready},
    pods,
};

/// The number of Pods in the index.
const PODS: u32 = 10_000;

/// The number of Pods with an unready sidecar.
const UNREADY: usize = 50;

fn main() {
    divan::main();
}

fn platform() -> PolicyKey {
    PolicyKey {
        kind: PolicyKind::ClusterSidecarPolicy,
        namespace: "".into(),
        name: "platform".into(),
    }
}

/// Returns the whole fleet. Its unready Pods violate two checks each, which makes a hundred violations.
fn cluster() -> (Vec<Observation>, Index) {
    let pods = Fleet::new(4).pods(PODS);
    let mut index = index_of(pods.iter().cloned(), &json!({}));
    for pod in &pods[..UNREADY] {
        let _ = index.apply(unready(pod.clone()), at(0));
    }
    assert_eq!(index.violations().count(), 2 * UNREADY);
    (pods, index)
}

/// Decoding of one Pod of 17 kB.
mod decode {
    use k8s_openapi::api::core::v1::Pod;
    use sidewatch::kubernetes::{
        decode::{
            intern::Interner,
            object::{from_json, from_protobuf},
            pod::{LeanPod, observe},
        },
        json::Lines,
        protobuf::{Event, WatchFrames, decode_event},
    };
    use testkit::protobuf;

    use super::{Bencher, black_box, json, pods::meshed_pod};

    #[divan::bench]
    fn whole_pod(bencher: Bencher<'_, '_>) {
        let text = meshed_pod(7).to_string();
        bencher.bench(|| serde_json::from_str::<Pod>(black_box(&text)).unwrap());
    }

    #[divan::bench]
    fn lean_pod(bencher: Bencher<'_, '_>) {
        let text = meshed_pod(7).to_string();
        bencher.bench(|| serde_json::from_str::<LeanPod>(black_box(&text)).unwrap());
    }

    /// Decodes a line of a watch in JSON.
    #[divan::bench]
    fn watch_event(bencher: Bencher<'_, '_>) {
        // The API server writes the type first. An ordered map does not.
        let text = format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", json!(meshed_pod(7)));
        let mut lines = Lines::default();
        bencher.bench_local(|| {
            lines.push(black_box(text.as_bytes()));
            match lines.next_event().unwrap().unwrap() {
                Event::Object(_, pod) => from_json::<LeanPod>(pod).unwrap(),
                other => panic!("{other:?}"),
            }
        });
    }

    #[divan::bench]
    fn to_observation(bencher: Bencher<'_, '_>) {
        let text = meshed_pod(7).to_string();
        let mut interner = Interner::default();
        let _first = observe(serde_json::from_str(&text).unwrap(), &mut interner).unwrap();
        bencher.bench_local(|| {
            let pod: LeanPod = serde_json::from_str(black_box(&text)).unwrap();
            observe(pod, &mut interner).unwrap()
        });
    }

    /// Decodes one frame of a watch in protobuf.
    fn decode_frame(frames: &mut WatchFrames, bytes: &[u8]) -> LeanPod {
        frames.push(bytes);
        match decode_event(frames.next_frame().unwrap().unwrap()).unwrap() {
            Event::Object(_, pod) => from_protobuf(pod).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Decodes a watch event in protobuf, the format that the operator requests.
    #[divan::bench]
    fn protobuf_event(bencher: Bencher<'_, '_>) {
        let bytes = protobuf::event("MODIFIED", &meshed_pod(7));
        let mut frames = WatchFrames::default();
        bencher.bench_local(|| decode_frame(&mut frames, black_box(&bytes)));
    }

    #[divan::bench]
    fn protobuf_to_observation(bencher: Bencher<'_, '_>) {
        let bytes = protobuf::event("MODIFIED", &meshed_pod(7));
        let (mut frames, mut interner) = (WatchFrames::default(), Interner::default());
        let _first = observe(decode_frame(&mut frames, &bytes), &mut interner).unwrap();
        bencher.bench_local(|| {
            let pod = decode_frame(&mut frames, black_box(&bytes));
            observe(pod, &mut interner).unwrap()
        });
    }
}

/// Updates of an index with 10,000 Pods.
mod index {
    use super::{
        Bencher, Cell, Fleet, Index, Observation, PODS, RefCell, at, black_box, cluster, fleet, index_under,
        json, unready,
    };

    /// A change of a Pod in fields that the operator does not read.
    #[divan::bench]
    fn no_change(bencher: Bencher<'_, '_>) {
        let (pods, index) = cluster();
        apply_again(bencher, &pods[super::UNREADY..], index);
    }

    /// The same with the checks on workloads and images.
    #[divan::bench]
    fn no_change_workloads_and_images(bencher: Bencher<'_, '_>) {
        let pods = Fleet::new(4).pods(PODS);
        let index = index_under(pods.iter().cloned(), &fleet::workloads_and_images("istio-proxy"));
        apply_again(bencher, &pods, index);
    }

    /// Applies Pods as they are in the index.
    fn apply_again(bencher: Bencher<'_, '_>, pods: &[Observation], mut index: Index) {
        let mut number = 0;
        let next = || {
            number = (number + 7919) % pods.len();
            // Decoding allocates the name and the UID of each Pod.
            let mut pod = pods[number].clone();
            (pod.name, pod.uid) = ((&*pod.name).into(), (&*pod.uid).into());
            pod
        };
        bencher
            .with_inputs(next)
            .bench_local_values(|pod| index.apply(pod, at(1)));
    }

    /// A sidecar becomes unready or ready again. Two checks start or stop failing.
    #[divan::bench]
    fn readiness_flip(bencher: Bencher<'_, '_>) {
        let (pods, mut index) = cluster();
        let mut step = 0;
        let next = || {
            step += 1;
            let pod = pods[(step / 2 * 7919) % PODS as usize].clone();
            if step % 2 == 0 { unready(pod) } else { pod }
        };
        bencher
            .with_inputs(next)
            .bench_local_values(|pod| index.apply(pod, at(1)));
    }

    /// A tick without a due deadline.
    #[divan::bench]
    fn idle_tick(bencher: Bencher<'_, '_>) {
        let (_, mut index) = cluster();
        bencher.bench_local(|| index.tick(black_box(at(1))));
    }

    /// A tick that fires two pending violations, each with an Event: the probe of the app goes through the proxy, so NotReady has
    /// the limit of MainReadySidecarNotReady.
    #[divan::bench(sample_size = 1)]
    fn firing_tick(bencher: Bencher<'_, '_>) {
        let (pods, index) = cluster();
        let (index, round) = (RefCell::new(index), Cell::new(0));
        let next = || {
            // The Pod of the previous round recovers. No Event is repeated within these two minutes.
            let (number, begun) = (
                super::UNREADY + round.get(),
                1_500 + 1_000 * i64::try_from(round.get()).unwrap(),
            );
            let mut index = index.borrow_mut();
            let _ = index.apply(
                pods[number - 1 + usize::from(round.get() == 0)].clone(),
                at(begun - 500),
            );
            let _ = index.apply(unready(pods[number].clone()), at(begun));
            // Earlier deadlines act before the measured tick.
            let _ = index.tick(at(begun));
            round.set(round.get() + 1);
            at(begun + 120)
        };
        bencher.with_inputs(next).bench_local_values(|due| {
            let effects = index.borrow_mut().tick(due);
            assert_eq!(effects.events.len(), 2);
            effects
        });
    }

    /// An edit of a policy that covers all Pods.
    #[divan::bench(sample_size = 1, sample_count = 10)]
    fn policy_edit(bencher: Bencher<'_, '_>) {
        let (_, mut index) = cluster();
        let mut generation = 1;
        let next = || {
            generation += 1;
            let minutes = format!("{}m", 6 + generation % 2);
            fleet::policy("platform", generation, &json!({"notReady": {"for": minutes}}))
        };
        bencher.with_inputs(next).bench_local_values(|policy| {
            let _ = index.apply_policy(policy, at(1));
            fleet::finish_work(&mut index, at(1));
        });
    }

    /// A complete list without changes.
    #[divan::bench(sample_size = 1, sample_count = 10)]
    fn relist(bencher: Bencher<'_, '_>) {
        let (pods, mut index) = cluster();
        bencher.with_inputs(|| pods.clone()).bench_local_values(|pods| {
            index.begin_resync(&None, at(1));
            for pod in pods {
                let _ = index.apply(pod, at(1));
            }
            let _ = index.finish_resync(&None, at(1));
            fleet::finish_work(&mut index, at(1));
        });
    }
}

/// Assigns the roles in a Pod of four containers. The index does this once per shape and policy.
#[divan::bench]
fn roles(bencher: Bencher<'_, '_>) {
    let policy: Policy = fleet::policy("platform", 1, &json!({})).spec.unwrap();
    let pod = Fleet::new(4).pod(0);
    bencher.bench(|| Roles::assign(black_box(&policy), black_box(&pod.shape)));
}

/// Reports of 10,000 Pods, 100 violations and one policy.
mod show {
    use super::{
        Arc, Bencher, Health, Metrics, MetricsPages, Mutex, SeriesLimits, SystemClock, black_box, cluster,
        platform,
    };

    /// The content of the status of a policy.
    #[divan::bench]
    fn report(bencher: Bencher<'_, '_>) {
        let (_, index) = cluster();
        let key = platform();
        bencher.bench_local(|| index.report(black_box(&key)).unwrap());
    }

    /// The text of `/metrics`.
    #[divan::bench]
    fn metrics_page(bencher: Bencher<'_, '_>) {
        let (_, index) = cluster();
        let metrics = Metrics::new().unwrap();
        let pages = MetricsPages::new(
            &metrics,
            Arc::new(Mutex::new(index)),
            Arc::new(Health::new(Vec::new())),
            SeriesLimits::default(),
            Arc::new(SystemClock::default()),
        )
        .unwrap();
        bencher.bench_local(|| pages.text().unwrap());
    }
}
