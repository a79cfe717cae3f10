//! A small run of the scale benchmark: 2,000 Pods. No limit on time, as other tests run at the same time.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

use e2e::bench_scale::{self, ClientKind, Figure, MassFault, Options, Run};

const PODS: u32 = 2000;

#[tokio::test(flavor = "multi_thread")]
async fn a_small_run_stays_within_the_limits_on_bytes_and_requests() {
    let options = Options {
        pods: PODS,
        runs: 1,
        updates: 200,
        probes: 4,
        scrapes: 5,
    };
    let report = bench_scale::run(options).await.unwrap();
    let run = |client| report.of(client).next().unwrap();
    let (operator, other) = (run(ClientKind::Sidewatch), run(ClientKind::KubeStateMetrics));
    let standby = run(ClientKind::Standby);
    let value = |run: &Run, figure| run.figures[&figure];

    assert!(
        (11_000..14_000).contains(&report.pod_json_bytes),
        "{}",
        report.pod_json_bytes
    );
    let bytes = value(operator, Figure::ScrapeBytes);
    assert!(bytes < 40_000.0, "a scrape without violations has {bytes} bytes");
    assert!(
        value(other, Figure::ScrapeBytes) > 10.0 * bytes,
        "{:?}",
        other.figures
    );
    let requests = &operator.requests;
    let pages = f64::from(PODS.div_ceil(500));
    assert!(value(operator, Figure::PodLists) <= pages, "{requests:?}");
    assert!(value(operator, Figure::Requests) <= pages + 10.0, "{requests:?}");
    // The API server watches Pods itself, the operator is the second client, and its second replica the third.
    let ratio = value(standby, Figure::UpdateWatchMb) / value(operator, Figure::UpdateWatchMb);
    assert!((1.4..1.6).contains(&ratio), "{ratio}: {:?}", standby.figures);
    let table = report.table().unwrap();
    for figure in Figure::all() {
        for run in [operator, standby, other] {
            assert!(
                run.figures.contains_key(&figure),
                "{figure:?} is missing: {run:?}"
            );
        }
        assert!(table.contains(figure.label()), "{table}");
    }
}

/// All sidecars of 2,000 Pods are unready. The limits are those of the metrics, so they do not depend on the number of Pods.
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_and_concurrent_scrapes_of_a_mass_fault_need_little_memory() {
    let measured = bench_scale::mass_fault(PODS, PODS).await.unwrap();
    let MassFault {
        violations,
        rss,
        peak_rss,
        ..
    } = measured;
    assert!((violations - 2.0 * f64::from(PODS)).abs() < 1.0, "{measured:?}");
    assert!(peak_rss - rss <= 20.0, "{measured:?}");
}
