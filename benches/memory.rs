//! Memory per Pod, in allocated bytes. The load of the machine does not change this figure, so it has limits, and
//! `cargo test` verifies them.

#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark of a broken program may panic"
)]

use allocation_counter::measure;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use sidewatch::{domain::index::Index, kubernetes::decode::pod::LeanPod};

use testkit::{
    fleet::{self, Fleet, at, finish_work, index_of, index_under},
    pods,
};

/// Limit for a decoded Pod of 17 kB, in bytes.
const LEAN_POD: i64 = 4_000;
/// Limit for a Pod of two containers in an index, in bytes. It includes the data shared by the workload.
const KEPT_POD: i64 = 600;
/// Limit for what the checks on workloads and images add to a Pod of two containers, in bytes.
const WORKLOADS_AND_IMAGES: i64 = 200;
/// Limit for a policy that selects all of 2,000 healthy Pods, in bytes.
const POLICY: i64 = 4_000;

fn main() {
    if std::env::args().any(|argument| argument == "--bench") {
        // This runs first, because later runs can reuse freed memory.
        many();
        many_policies();
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
    // A hash table has the most free space directly after it grows.
    let worst = kept(2, 14_400);
    println!("the same with the checks on workloads and images");
    let with_subjects = kept_under(2, 10_000, &fleet::workloads_and_images("istio-proxy"));
    println!("the same, all Pods lack an expected sidecar");
    kept_under(2, 10_000, &fleet::workloads_and_images("log-shipper"));
    let (one, many) = (under_policies(2_000, 1), under_policies(2_000, 101));
    let policy = (many - one) / 100;
    println!("of a policy that selects 2000 Pods: {policy} bytes");

    assert!(lean_bytes <= LEAN_POD, "a decoded Pod holds {lean_bytes} bytes");
    assert!(
        two.max(worst) <= KEPT_POD,
        "{} bytes are kept of a Pod",
        two.max(worst)
    );
    assert!(
        with_subjects - two <= WORKLOADS_AND_IMAGES,
        "{with_subjects} bytes are kept of a Pod with the checks on workloads and images"
    );
    assert!(policy <= POLICY, "{policy} bytes are kept of a policy");
}

/// Returns an index of Pods of two containers, to which policies are added that select all of them.
fn index_under_policies(pods: u32, policies: u32) -> Index {
    let mut fleet = Fleet::new(2);
    let mut index = index_of(fleet.iter(pods), &json!({}));
    for number in 1..policies {
        let _ = index.apply_policy(fleet::policy(&format!("policy-{number}"), 1, &json!({})), at(0));
        finish_work(&mut index, at(0));
    }
    index
}

/// Returns the allocated bytes of an index of Pods under a number of policies.
fn under_policies(pods: u32, policies: u32) -> i64 {
    let mut index = None;
    measure(|| index = Some(index_under_policies(pods, policies))).bytes_current
}

/// Returns the allocated bytes per Pod of `containers` containers in an index of `count` Pods.
fn kept(containers: usize, count: u32) -> i64 {
    kept_under(containers, count, &json!({}))
}

/// The same under a policy with this spec.
fn kept_under(containers: usize, count: u32, spec: &Value) -> i64 {
    let mut kept = None;
    let what = format!("  {containers} containers, {count} Pods");
    retained(&what, count.into(), || {
        let mut fleet = Fleet::new(containers);
        let index = index_under(fleet.iter(count), spec);
        kept = Some((fleet, index));
    })
}

/// Prints the resident memory that the allocator and the system use for the index.
fn many() {
    const PODS: u32 = 100_000;
    let before = resident();
    let mut fleet = Fleet::new(2);
    let index = index_of(fleet.iter(PODS), &json!({}));
    let grown = resident() - before;
    println!("resident memory for {PODS}: {grown} kB");
    drop(index);
}

/// Prints the resident memory of the process with 50,000 Pods under 200 policies that all select them.
fn many_policies() {
    let before = resident();
    let index = index_under_policies(50_000, 200);
    let after = resident();
    println!(
        "resident memory for 50000 Pods under 200 policies: {} kB, process {after} kB",
        after - before
    );
    drop(index);
}

/// Returns `VmRSS` in kB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// Returns the bytes that `make` leaves allocated, per item of `count`.
fn retained(what: &str, count: i64, make: impl FnOnce()) -> i64 {
    let info = measure(make);
    let (bytes, allocations) = (
        info.bytes_current / count,
        info.count_current as f64 / count as f64,
    );
    println!(
        "{what}: {bytes} bytes in {allocations:.1} allocations, {} in total",
        info.count_total as i64 / count
    );
    bytes
}
