//! The values that the charts accept and refuse.

use e2e::process::Scratch;
use e2e::project::repository;

use crate::helm::{CHART, CHARTS, Helm, VERSIONS, documents, of_kind};

#[tokio::test]
async fn unknown_and_wrong_values_are_refused_by_name() {
    let table = [
        ("wacth.namespaces[0]=pay", "wacth"),
        ("watch.namespace=pay", "namespace"),
        ("image.repo=x", "repo"),
        ("crds.install=true", "install"),
        ("podMonitor.honorLabels=true", "honorLabels"),
        ("replicas=0", "replicas"),
        ("log.level=loud", "level"),
        ("watch.namespaces[0]=Pay", "namespaces"),
        ("image.digest=sha256:12", "digest"),
        ("service.port=0", "port"),
        ("limits.policiesPerNamespace=0", "policiesPerNamespace"),
        ("limits.tenantSeverity=critical", "tenantSeverity"),
        ("defaultPolicy.enabled=true", "defaultPolicy"),
        ("serviceMonitor.relabeling=x", "relabeling"),
        ("prometheusRule.disabled={SidewatchUp}", "disabled"),
        ("prometheusRule.runbookBaseURL=wiki", "runbookBaseURL"),
        ("prometheusRole.serviceAccount.name=", "name"),
    ];
    let policies = [
        ("namespace=pay", "namespace"),
        ("namespaces[0]=Pay", "namespaces"),
        ("name=Mesh", "name"),
        ("excludedNamespaces=kube-system", "excludedNamespaces"),
    ];
    for version in VERSIONS {
        let helm = Helm::new(version).await.unwrap();
        for ((release, chart), rows) in CHARTS.into_iter().zip([&table[..], &policies]) {
            for (flag, name) in rows {
                let rendered = helm.template_chart(release, chart, &["--set", flag]).await;
                let error = rendered.unwrap_err().to_string();
                let (_, reason) = error.split_once("values don't meet").unwrap_or_default();
                assert!(reason.contains(name), "{flag}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn values_that_contradict_each_other_are_refused_with_a_reason() {
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    #[rustfmt::skip]
    let table = [
        ("podMonitor.enabled=true,serviceMonitor.enabled=true", "scrapes each Pod twice"),
        ("serviceMonitor.enabled=true,service.enabled=false", "requires service.enabled"),
        // The metrics would be in clear text, with the token.
        ("metrics.auth.enabled=true", "requires metrics.tls.enabled"),
        (
            "metrics.tls.enabled=true,metrics.auth.enabled=true,podMonitor.enabled=true",
            "requires metrics.auth.tokenSecret.name",
        ),
    ];
    for (values, reason) in table {
        let error = helm.template(&["--set", values]).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{values}: {error}");
    }
}

/// A parent chart passes `global`, and uses the value `enabled` as the condition of its dependency.
#[tokio::test]
async fn a_parent_chart_can_depend_on_the_chart() {
    let parent = Scratch::new().unwrap();
    let chart = "{apiVersion: v2, name: platform, version: 1.0.0, \
                 dependencies: [{name: sidewatch, version: '>=0', condition: sidewatch.enabled}]}";
    std::fs::create_dir(parent.path().join("charts")).unwrap();
    std::fs::write(parent.path().join("Chart.yaml"), chart).unwrap();
    let link = parent.path().join("charts/sidewatch");
    std::os::unix::fs::symlink(repository().join(CHART), link).unwrap();
    let parent = parent.path().to_str().unwrap();
    for version in VERSIONS {
        let helm = Helm::new(version).await.unwrap();
        for (enabled, deployments) in [("true", 1), ("false", 0)] {
            let values = format!("sidewatch.enabled={enabled},global.x=y,sidewatch.log.level=debug");
            let yaml = helm
                .run(&["template", "platform", parent, "--set", &values])
                .await;
            let objects = documents(&yaml.unwrap());
            assert_eq!(of_kind(&objects, "Deployment").len(), deployments, "{enabled}");
        }
    }
}
