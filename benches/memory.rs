//! What is kept of a Pod, in allocated bytes: a figure that a busy machine does not change, so it has limits, and
//! `cargo test` holds it to them.

#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark of a broken program may panic"
)]

use allocation_counter::measure;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use sidewatch::kubernetes::decode::pod::LeanPod;

use testkit::{
    fleet::{self, Fleet, index_of},
    pods,
};

/// The most that a decoded Pod of 17 kB may hold.
const LEAN_POD: i64 = 4_000;
/// The most that an index may keep of a Pod of two containers, what its workload shares included.
const KEPT_POD: i64 = 600;

fn main() {
    if std::env::args().any(|argument| argument == "--bench") {
        // First, while there is no freed memory to use again.
        many();
    }
    let text = pods::meshed_pod(7).to_string();
    println!("a Pod of {} bytes of JSON, decoded", text.len());
    let mut whole = None;
    retained("  whole, by k8s_openapi", 1, || {
        whole = Some(serde_json::from_str::<Pod>(&text).unwrap());
    });
    let mut lean = None;
    let lean_bytes = retained("  lean", 1, || {
        lean = Some(serde_json::from_str::<LeanPod>(&text).unwrap());
    });

    println!(
        "kept in the index of a Pod, of {} in a Deployment, with",
        fleet::REPLICAS
    );
    let two = kept(2, 10_000);
    kept(4, 10_000);
    // Hash tables are emptiest when they have just grown.
    let worst = kept(2, 14_400);

    assert!(lean_bytes <= LEAN_POD, "a decoded Pod holds {lean_bytes} bytes");
    assert!(
        two.max(worst) <= KEPT_POD,
        "{} bytes are kept of a Pod",
        two.max(worst)
    );
}

/// What a Pod of that many containers leaves in an index of `count` Pods.
fn kept(containers: usize, count: u32) -> i64 {
    let mut world = None;
    let what = format!("  {containers} containers, {count} Pods");
    retained(&what, count.into(), || {
        let mut fleet = Fleet::new(containers);
        let index = index_of((0..count).map(|number| fleet.pod(number)), &json!({}));
        world = Some((fleet, index));
    })
}

/// What the allocator and the system make of it.
fn many() {
    const PODS: u32 = 100_000;
    let before = resident();
    let mut fleet = Fleet::new(2);
    let index = index_of((0..PODS).map(|number| fleet.pod(number)), &json!({}));
    let grown = resident() - before;
    println!("resident memory for {PODS}: {grown} kB");
    drop(index);
}

/// `VmRSS` in kB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// How many bytes `make` leaves allocated for each of `count`.
fn retained(what: &str, count: i64, make: impl FnOnce()) -> i64 {
    let info = measure(make);
    let (bytes, allocations) = (
        info.bytes_current / count,
        info.count_current as f64 / count as f64,
    );
    println!(
        "{what}: {bytes} bytes in {allocations:.1} allocations, {} made on the way",
        info.count_total as i64 / count
    );
    bytes
}
