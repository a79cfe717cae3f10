//! Threats by authors of policies.

use anyhow::ensure;
use e2e::simulated_kubelet::{Container, PodSpec, Step};
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::{AT_ONCE, CONCURRENCY, Tenant, is_invalid, policy, threatened};
use crate::support::{condition, eventually, series, web};

/// The default of `--max-policies-per-namespace`.
const MAX_POLICIES: usize = 50;

/// A spec in which this pattern finds sidecars, and every fault fires at once.
fn pattern(pattern: &str) -> Value {
    json!({"sidecars": {"namePattern": pattern}, "checks": {"notReady": {"for": "0s"}}})
}

#[tokio::test]
async fn expensive_pattern() {
    let cluster = threatened().await;
    let tenant = Tenant::new("expensive").await;
    // Exponential with backtracking, if the name does not match; nearly as large as permitted; too large.
    for (n, (spec, is_valid)) in [
        (pattern("(?:a+)+b"), true),
        (pattern("(?:a|aa|a*)*"), true),
        (pattern("(?:[a-z0-9]{1,31}-){0,4}"), true),
        (pattern("a{1001}"), false),
        (pattern("(?:a{1000}){1000}"), false),
        (pattern(&"a".repeat(513)), false),
    ]
    .into_iter()
    .enumerate()
    {
        let created = tenant
            .create("sidecarpolicies", &policy(&format!("p{n}"), &spec))
            .await;
        assert_eq!(is_invalid(&created), !is_valid, "{spec}: {created:?}");
    }
    let name = "a".repeat(60);
    let spec = PodSpec::new("web")
        .container(Container::regular(&name).readiness_probe())
        .container(Container::regular("app").readiness_probe());
    let mut pod = tenant
        .place
        .kubelet
        .run(&tenant.place.namespace, spec)
        .await
        .unwrap();
    pod.step(Step::Unready(&name)).await.unwrap();
    for (policy, firing) in [("p0", 0), ("p1", 1), ("p2", 0)] {
        tenant
            .place
            .status_when(policy, "its violations", |status| {
                condition(status, "Ready") == Some(("True", "Evaluating"))
                    && status["summary"]["pods"] == 1
                    && status["summary"]["firing"] == firing
            })
            .await;
    }
    cluster.others_are_served().await;
}

#[tokio::test]
async fn pattern_read_differently() {
    let cluster = threatened().await;
    let tenant = Tenant::new("differently").await;
    // In Go these are literal characters, in Rust operators.
    for text in ["[a&&b]", "[a-z--q]", "[a~~b]", "[a[b]]", r"[\d&&1]"] {
        let created = tenant
            .create("sidecarpolicies", &policy("p", &pattern(text)))
            .await;
        assert!(is_invalid(&created), "{text}: {created:?}");
    }
    cluster.others_are_served().await;
}

#[tokio::test]
async fn large_policy() {
    let cluster = threatened().await;
    let tenant = Tenant::new("large").await;
    let names = |count: usize| (0..count).map(|n| format!("{n:063}")).collect::<Vec<_>>();
    for (what, spec) in [
        ("65 names", json!({"sidecars": {"names": names(65)}})),
        (
            "a name of 64 characters",
            json!({"sidecars": {"names": ["a".repeat(64)]}}),
        ),
        (
            "a URL of 513 characters",
            json!({"runbookURL": format!("https://a.test/{}", "a".repeat(498))}),
        ),
        (
            "a count of 2^40",
            json!({"checks": {"frequentRestarts": {"count": 1_u64 << 40}}}),
        ),
    ] {
        let created = tenant.create("sidecarpolicies", &policy("p", &spec)).await;
        assert!(is_invalid(&created), "{what}: {created:?}");
    }
    let images: Vec<_> = names(64).iter().map(|name| format!("*/{name}/*")).collect();
    let spec = json!({"sidecars": {"names": names(64), "images": images}});
    // The largest annotations that the API server accepts, and as much in `managedFields`.
    let fields: Value = (0..2000)
        .map(|n| (format!("f:{n:0200}"), json!({})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let objects: Vec<_> = (0..20)
        .map(|n| {
            let mut object = policy(&format!("p{n}"), &spec);
            object["metadata"]["annotations"] = json!({"a": "v".repeat(250_000)});
            object["metadata"]["managedFields"] = json!([{
                "manager": "x", "operation": "Update", "apiVersion": "sidewatch.dev/v1alpha1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:status": fields}, "time": "2026-01-01T00:00:00Z",
            }]);
            object
        })
        .collect();
    tenant.create_all("sidecarpolicies", &objects).await;
    tenant
        .place
        .status_when("p19", "the policy evaluated", |status| {
            condition(status, "Ready") == Some(("True", "Evaluating"))
        })
        .await;
    cluster.others_are_served().await;
}

#[tokio::test]
async fn many_policies() {
    let cluster = threatened().await;
    let tenant = Tenant::new("many").await;
    let objects: Vec<_> = (0..MAX_POLICIES + 10)
        .map(|n| policy(&format!("p{n}"), &json!({})))
        .collect();
    tenant.create_all("sidecarpolicies", &objects).await;
    let get = format!(
        "get sidecarpolicies -n {} -o jsonpath={{.items[*].status.conditions[?(@.type==\"Ready\")].reason}}",
        tenant.place.namespace
    );
    eventually("the conditions", || async {
        let reasons = cluster.plane.kubectl_line(&get).await?;
        let count = |reason: &str| {
            reasons
                .split_whitespace()
                .filter(|other| *other == reason)
                .count()
        };
        let counts = (count("Evaluating"), count("TooManyPolicies"));
        ensure!(counts == (MAX_POLICIES, 10), "{counts:?}");
        Ok(())
    })
    .await;
    cluster.others_are_served().await;
}

#[tokio::test]
async fn severe_alerts() {
    let cluster = threatened().await;
    let tenant = Tenant::new("severe").await;
    let spec = json!({"checks": {"notReady": {"for": "0s", "severity": "Critical"}}});
    tenant
        .create("sidecarpolicies", &policy("p", &spec))
        .await
        .unwrap();
    tenant.run_unready(vec![web()]).await;
    cluster.is_served(&tenant.place, "p").await;
    let labels = [("namespace", &*tenant.place.namespace), ("check", "NotReady")];
    let found = series(&cluster.operator, "sidewatch_workload_violations", &labels).await;
    assert!(
        found.len() == 1 && found[0].contains("severity=\"warning\""),
        "{found:?}"
    );
    let status = tenant.place.status("p").await;
    let message = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let message = message.unwrap()["message"].as_str().unwrap();
    assert!(
        message.contains("notReady") || message.contains("NotReady"),
        "{message}"
    );
    cluster.others_are_served().await;
}

#[tokio::test]
async fn malicious_link() {
    let cluster = threatened().await;
    let tenant = Tenant::new("link").await;
    for link in [
        "javascript:alert(1)",
        "data:text/html,x",
        "//a.test",
        "https://",
        "https://a.test/\n## b",
    ] {
        let created = tenant
            .create("sidecarpolicies", &policy("p", &json!({"runbookURL": link})))
            .await;
        assert!(is_invalid(&created), "{link}: {created:?}");
    }
    let link = "https://a.test/?q=(x)[y]";
    let spec = json!({"runbookURL": link, "checks": {"notReady": {"for": "0s"}}});
    tenant
        .create("sidecarpolicies", &policy("p", &spec))
        .await
        .unwrap();
    tenant.run_unready(vec![web()]).await;
    let event = tenant.place.event("SidecarContainerNotReady").await;
    let note = event.note.unwrap();
    assert!(
        note.ends_with(link) || note.contains(&format!("{link}.")),
        "shown as it is: {note}"
    );
    cluster.others_are_served().await;
}

#[tokio::test]
async fn policy_edits() {
    const POLICIES: usize = 20;
    let cluster = threatened().await;
    let tenant = Tenant::new("edits").await;
    let objects: Vec<_> = (0..POLICIES)
        .map(|n| policy(&format!("p{n}"), &json!({})))
        .collect();
    tenant.create_all("sidecarpolicies", &objects).await;
    let pods = (0..50)
        .map(|n| {
            PodSpec::new(&format!("web-{n}"))
                .container(Container::native("istio-proxy").readiness_probe())
                .container(Container::regular("app"))
        })
        .collect();
    tenant.run_unready(pods).await;
    let edits = async {
        for round in 1..=10 {
            let spec = json!({"spec": {"checks": {"notReady": {"for": format!("{round}s")}}}});
            stream::iter(0..POLICIES)
                .for_each_concurrent(CONCURRENCY, async |n| {
                    tenant
                        .patch("sidecarpolicies", &format!("p{n}"), &spec)
                        .await
                        .unwrap();
                })
                .await;
        }
    };
    tokio::join!(edits, cluster.others_are_served());
    let name = format!("p{}", POLICIES - 1);
    tenant
        .place
        .status_when(&name, "the last edit", |status| {
            // The creation is the first generation.
            status["observedGeneration"] == 11 && status["summary"]["firing"].as_u64() >= Some(50)
        })
        .await;
    tenant.place.policy("last", AT_ONCE).await;
    cluster.is_served(&tenant.place, "last").await;
}
