//! The versions of sidecar images: what counts, what is listed, and the limits.

use crate::domain::{
    index::series::{ImageSeries, SeriesLimits},
    index::{MAX_VERSIONS, MAX_VERSIONS_PER_NAMESPACE},
    observation::Phase,
    policy::{Mode, PolicyKey},
    summary::Images,
    testing::{Harness, Pod, cluster_key, key, one_of, policy},
};

/// A Pod with a main container and a native sidecar with this image.
pub(super) fn pod(name: &str, image: &str) -> Pod {
    Pod::named(name)
        .of("Pod", name)
        .regular("app")
        .native("envoy")
        .spec("envoy", |container| container.image = image.into())
}

/// The lines of a report, such as `docker.io/mesh/proxy: 1.0.0 2, 1.1.0 1`.
fn lines(images: &Images) -> Vec<String> {
    let repositories = images.repositories.iter().map(|repository| {
        let versions = repository.versions.iter();
        let versions: Vec<_> = versions
            .map(|version| format!("{} {}", version.version, version.pods))
            .collect();
        let others = match (repository.omitted, repository.omitted_pods) {
            (0, 0) => String::new(),
            (versions, pods) => format!(", {versions} others {pods}"),
        };
        format!("{}: {}{others}", repository.repository, versions.join(", "))
    });
    let mut lines: Vec<_> = repositories.collect();
    if (images.omitted, images.omitted_pods) != (0, 0) {
        lines.push(format!("{} others {}", images.omitted, images.omitted_pods));
    }
    lines
}

/// A change of a Pod.
type Change = fn(Pod) -> Pod;

fn images(harness: &Harness) -> Vec<String> {
    lines(&harness.report().images)
}

fn images_of(harness: &Harness, policy: &PolicyKey) -> Vec<String> {
    lines(&harness.index.report(policy).unwrap().images)
}

#[test]
fn tags_digests_and_variants_of_a_version_are_counted_together() {
    let mut harness = Harness::with(policy());
    let table = [
        "istio/proxyv2:1.28.1",
        "docker.io/istio/proxyv2:v1.28.1",
        "istio/proxyv2:1.28.1-distroless",
        "istio/proxyv2:1.28.1@sha256:0123456789abcdef",
        "istio/proxyv2:1.27.4",
        "istio/proxyv2",
        "istio/proxyv2@sha256:0123456789abcdef",
        "reg.example/istio/proxyv2:1.28.1",
    ];
    for (n, image) in table.iter().enumerate() {
        harness.pod(&pod(&format!("web-{n}"), image));
    }
    let expected = [
        "docker.io/istio/proxyv2: 1.28.1 4, 1.27.4 1, latest 1, sha256:0123456789ab 1",
        "reg.example/istio/proxyv2: 1.28.1 1",
    ];
    assert_eq!(images(&harness), expected);
}

#[test]
fn evaluated_pods_and_their_sidecars_count() {
    let mut harness = Harness::with(policy().with(|policy| policy.pods = one_of("app", "web")));
    let web = pod("web-1", "proxy:1.0.0").labels(&[("app", "web")]);
    harness.pod(&web);
    let one = ["docker.io/library/proxy: 1.0.0 1"];
    assert_eq!(images(&harness), one);
    let changes: [(&str, Change); 6] = [
        ("not on a node", |pod| pod.with(|pod| pod.scheduled = false)),
        ("being deleted", |pod| pod.with(|pod| pod.terminating = true)),
        ("ended", |pod| pod.with(|pod| pod.phase = Phase::Succeeded)),
        ("being evicted", |pod| {
            pod.conditions(|c| c.disruption_target = true)
        }),
        ("not selected", |pod| pod.labels(&[("app", "db")])),
        ("an image that no runtime accepts", |pod| {
            pod.spec("envoy", |container| container.image = "proxy:a b".into())
        }),
    ];
    for (why, change) in changes {
        harness.pod(&change(web.clone()));
        assert!(images(&harness).is_empty(), "{why}");
        harness.pod(&web);
        assert_eq!(images(&harness), one, "again after: {why}");
    }
    // Sidecars that are not ready, and two sidecars with variants of one version.
    let two = web.clone().unready("envoy").native("agent");
    let two = two.spec("agent", |container| container.image = "proxy:1.0.0-debug".into());
    harness.pod(&two);
    assert_eq!(images(&harness), one);
    harness.pod(&two.spec("agent", |container| container.image = "proxy:1.1.0".into()));
    assert_eq!(images(&harness), ["docker.io/library/proxy: 1.0.0 1, 1.1.0 1"]);
    harness.delete(&web);
    assert!(images(&harness).is_empty());
}

#[test]
fn each_policy_counts_the_pods_that_it_selects() {
    let mut harness = Harness::with(policy());
    harness.namespace("pay", "pay").namespace("shop", "shop");
    let all = cluster_key("all");
    harness.add(all.clone(), policy());
    harness.pod(&pod("web-1", "proxy:1.0.0"));
    harness.pod(&pod("web-2", "proxy:1.1.0").in_namespace("shop"));
    let repository = "docker.io/library/proxy";
    let (own, both) = (
        format!("{repository}: 1.0.0 1"),
        format!("{repository}: 1.0.0 1, 1.1.0 1"),
    );
    assert_eq!(images(&harness), [&*own], "only its own namespace");
    assert_eq!(images_of(&harness, &all), [&*both]);
    for mode in [Mode::Off, Mode::Alert, Mode::Off, Mode::Observe] {
        let edited = policy().with(|policy| policy.mode = mode);
        harness.add(all.clone(), edited).finish_work();
        let expected = if mode == Mode::Off {
            vec![]
        } else {
            vec![both.clone()]
        };
        assert_eq!(images_of(&harness, &all), expected, "{mode:?}");
        assert_eq!(images(&harness), [&*own]);
    }
}

#[test]
fn a_version_that_comes_back_is_counted_as_before() {
    let mut harness = Harness::with(policy());
    let (old, new) = (pod("web-1", "proxy:1.0.0"), pod("web-1", "proxy:1.1.0"));
    let other = pod("web-2", "proxy:1.0.0");
    harness.pod(&other).pod(&old);
    let before = images(&harness);
    harness.pod(&new);
    assert_eq!(images(&harness), ["docker.io/library/proxy: 1.0.0 1, 1.1.0 1"]);
    harness.pod(&old);
    assert_eq!(images(&harness), before);
    assert!(harness.changed().contains(&key("mesh")), "the status may change");
}

#[test]
fn the_status_lists_what_most_pods_run() {
    let mut harness = Harness::with(policy());
    for repository in 0..12 {
        for n in 0..=repository {
            let name = format!("web-{repository}-{n}");
            harness.pod(&pod(&name, &format!("reg.io/r{repository:02}:1.0.0")));
        }
    }
    for version in 0..8 {
        for n in 0..=version {
            let name = format!("db-{version}-{n}");
            harness.pod(&pod(&name, &format!("reg.io/many:{version}.0.0")));
        }
    }
    let shown = images(&harness);
    assert_eq!(
        shown.first().unwrap(),
        "reg.io/many: 7.0.0 8, 6.0.0 7, 5.0.0 6, 4.0.0 5, 3.0.0 4, 3 others 6"
    );
    assert_eq!(shown.get(1).unwrap(), "reg.io/r11: 1.0.0 12");
    assert_eq!(shown.get(9).unwrap(), "reg.io/r03: 1.0.0 4");
    assert_eq!(shown.get(10).unwrap(), "3 others 6");
    assert_eq!(shown.len(), 11);
}

#[test]
fn a_namespace_cannot_take_the_place_of_others() {
    let mut harness = Harness::with(policy());
    let all = cluster_key("all");
    harness.add(all.clone(), policy());
    let tenant = |n: usize| pod(&format!("web-{n}"), &format!("reg.io/own:1.0.{n}")).in_namespace("tenant");
    for n in 0..MAX_VERSIONS_PER_NAMESPACE + 20 {
        harness.pod(&tenant(n));
    }
    let shown = images_of(&harness, &all);
    assert_eq!(shown.get(1).unwrap(), "1 others 20");
    harness.pod(&pod("web-1", "reg.io/proxy:1.0.0").in_namespace("shop"));
    assert_eq!(images_of(&harness, &all).get(1).unwrap(), "reg.io/proxy: 1.0.0 1");
    for n in 0..MAX_VERSIONS_PER_NAMESPACE + 20 {
        harness.delete(&tenant(n));
    }
    assert_eq!(images_of(&harness, &all), ["reg.io/proxy: 1.0.0 1"]);
    let mut count = 0;
    for namespace in 0..=MAX_VERSIONS / MAX_VERSIONS_PER_NAMESPACE {
        for n in 0..MAX_VERSIONS_PER_NAMESPACE {
            let image = format!("reg.io/r{namespace}:{n}.0.0");
            let pod = pod(&format!("web-{n}"), &image).in_namespace(&format!("n{namespace}"));
            let _ = harness.index.apply(pod.0, harness.now);
            count += 1;
        }
    }
    harness.index.assert_counts();
    let images = harness.index.report(&all).unwrap().images;
    let listed: u32 = images
        .repositories
        .iter()
        .map(crate::domain::summary::RepositoryImages::pods)
        .sum();
    assert_eq!(listed + images.omitted_pods, count + 1);
}

/// The rows of a metric, such as `all reg.io/proxy 1.0.0 2`.
fn rows(series: &ImageSeries) -> Vec<String> {
    let rows = series.rows.iter();
    rows.map(|row| {
        format!(
            "{} {} {} {}",
            row.policy.name, row.repository, row.version, row.pods
        )
    })
    .collect()
}

#[test]
fn the_metric_is_complete_and_its_series_are_limited() {
    let mut harness = Harness::with(policy());
    let all = cluster_key("all");
    harness.add(all, policy());
    for n in 0..7 {
        harness.pod(&pod(&format!("web-{n}"), &format!("reg.io/proxy:{n}.0.0")));
    }
    harness.pod(&pod("db-1", "reg.io/proxy:1.0.0").in_namespace("shop"));
    let of_limit = |harness: &mut Harness, images| {
        let limits = SeriesLimits {
            images,
            ..SeriesLimits::default()
        };
        harness.index.series(&limits, harness.now).images
    };
    let series = of_limit(&mut harness, 12);
    let expected = [
        "mesh reg.io/proxy 0.0.0 1",
        "mesh reg.io/proxy 1.0.0 1",
        "mesh reg.io/proxy 2.0.0 1",
        "mesh reg.io/proxy 3.0.0 1",
        "mesh reg.io/proxy 4.0.0 1",
        "mesh reg.io/proxy  2",
        "all reg.io/proxy 1.0.0 2",
        "all reg.io/proxy 0.0.0 1",
        "all reg.io/proxy 2.0.0 1",
        "all reg.io/proxy 3.0.0 1",
        "all reg.io/proxy 4.0.0 1",
        "all reg.io/proxy  2",
    ];
    assert_eq!(rows(&series), expected);
    assert_eq!(series.collapsed, 0);
    let series = of_limit(&mut harness, 11);
    assert_eq!(rows(&series).first().unwrap(), "mesh   7", "the namespaces first");
    assert_eq!((series.rows.len(), series.collapsed), (7, 1));
    let series = of_limit(&mut harness, 2);
    assert_eq!(rows(&series), ["mesh   7", "all   8"]);
    assert_eq!(series.collapsed, 2);
}
