use super::*;

fn found(name: &str, image: &str) -> Option<&'static Product> {
    product(name, &Repository::of(image))
}

#[test]
fn a_container_is_found_by_name_then_by_image_then_by_pattern() {
    #[rustfmt::skip]
    let table = [
        ("istio-proxy", "own/mirror", Some("Istio proxy"), "by name"),
        ("proxy", "gcr.io/istio-release/proxyv2:1.24", Some("Istio proxy"), "by image in another project"),
        ("proxy", "registry.example:5000/mirror/istio/proxyv2@sha256:00", Some("Istio proxy"), "by image in a mirror"),
        ("p", "linkerd/proxy:edge", Some("Linkerd proxy"), "by image without a registry"),
        ("p", "mycorp/proxy:1", None, "fewer parts than the image of the table"),
        ("logs", "fluent/fluent-bit:3", Some("Fluent Bit"), "a log shipper"),
        ("agent", "gcr.io/datadoghq/agent:7", Some("Datadog agent"), "the owner decides"),
        ("agent", "docker.datadoghq.com/agent:7", Some("Datadog agent"), "the registry decides"),
        ("agent", "mycorp/agent", None, "an agent of another owner"),
        ("driver-kube-rbac-proxy", "quay.io/x@sha256:00", Some("kube-rbac-proxy"), "an affix before"),
        ("kube-rbac-proxy-main", "quay.io/x@sha256:00", Some("kube-rbac-proxy"), "an affix after"),
        ("metrics", "oliver006/redis_exporter:v1", Some("Prometheus exporter"), "an affix of the image"),
        ("sidecar", "own/thing", Some("sidecar"), "the name says it"),
        ("log-sidecar", "own/thing", Some("sidecar"), "the end of the name says it"),
        ("sidecar-log", "own/thing", None, "the beginning does not"),
        ("log-sidecar", "fluent/fluentd:v1", Some("Fluentd"), "an image tells more than a pattern"),
        ("thanos-sidecar", "thanosio/thanos:v0", Some("Thanos sidecar"), "a name tells more than a pattern"),
        ("thanos-query", "thanosio/thanos:v0", None, "an image that runs as the app"),
        ("vault", "hashicorp/vault:1", None, "a Vault server"),
        ("shop-cloud-sql-proxy", "own/csp", Some("Cloud SQL proxy"), "the name of a release before"),
        ("cloud-sql-proxy-orders", "own/csp", Some("Cloud SQL proxy"), "an instance after"),
        ("shop-git-sync", "own/x@sha256:00", Some("git-sync"), "the name of a release before"),
        ("my-sidecar-1", "own/thing", Some("sidecar"), "a number after"),
        ("my-sidecar-injector", "own/thing", None, "an injector is an app"),
        ("d", "1.dkr.ecr.eu-west-1.amazonaws.com/tw_1/twistlock/defender:1", Some("Prisma Cloud defender"), "a mirror"),
        ("web", "nginx", None, "an app"),
        ("svc-0", "postgres:16", None, "a name that counts only beside another container"),
        ("csi-driver", "own/csi-driver", None, "a driver"),
        ("csi-rbdplugin", "quay.io/cephcsi/cephcsi:v3", None, "a driver"),
    ];
    for (name, image, expected, why) in table {
        assert_eq!(
            found(name, image).map(|known| known.title),
            expected,
            "{name} {image}: {why}"
        );
    }
}

#[test]
fn some_names_count_only_beside_another_container() {
    let table = [
        ("svc-0", "build", Some("GitLab CI service")),
        ("sidecar-server", "step-test", Some("Tekton sidecar")),
        ("sidecar-server", "app", None),
        ("webhook", "external-dns", Some("ExternalDNS webhook provider")),
        ("webhook", "manager", None),
        ("agent", "copy-agent", Some("Buildkite agent")),
        ("agent", "kserve-container", Some("KServe agent")),
        ("agent", "app", None),
    ];
    for (name, other, expected) in table {
        let found = find(name, &Repository::of("own/image"), &[name, other].into_iter());
        assert_eq!(found.map(|known| known.title), expected, "{name} beside {other}");
    }
}

#[test]
fn only_proxies_are_ambassadors() {
    let table = [
        ("istio-proxy", "own/mirror", true),
        ("cloud-sql-proxy", "x", true),
        ("oauth2-proxy", "x", true),
        ("fluent-bit", "fluent/fluent-bit", false),
        ("redis-exporter", "x", false),
        ("fetch-sidecar", "x", false),
        ("app", "x", false),
    ];
    for (name, image, expected) in table {
        assert_eq!(is_ambassador(name, &Repository::of(image)), expected, "{name}");
    }
}

#[test]
fn a_misplaced_init_container_has_the_name_of_a_sidecar_that_never_exits() {
    let table = [
        ("cloud-sql-proxy", true, "a proxy"),
        (
            "gke-gcsfuse-sidecar",
            true,
            "a name of the table, although it has a general suffix",
        ),
        ("istio-init", false, "another container with the image of a proxy"),
        ("git-sync", false, "it can run once"),
        ("vault-agent", false, "it can run once"),
        ("install-sidecar", false, "a pattern"),
        ("sidecar", false, "a general name"),
        (
            "docker",
            false,
            "a name that counts only beside another container",
        ),
    ];
    for (name, expected, why) in table {
        assert_eq!(is_misplaced_init(name), expected, "{name}: {why}");
    }
}

#[test]
fn the_facts_of_products() {
    let argo = found("wait", "quay.io/argoproj/argoexec:v3").unwrap();
    assert!(argo.outlives && argo.app && argo.class == Class::JobHelper);
    for name in ["queue-proxy", "daprd", "thanos-sidecar"] {
        assert!(reflects_app(name, &Repository::of("x")), "{name}");
    }
    assert!(!reflects_app("istio-proxy", &Repository::of("x")));
}

#[test]
fn every_product_can_be_found_and_no_name_is_in_two() {
    let mut seen = std::collections::BTreeSet::new();
    for product in PRODUCTS {
        assert!(
            !(product.names.is_empty() && product.images.is_empty()),
            "{}",
            product.title
        );
        for name in product.names {
            assert!(seen.insert((name, product.beside)), "{name} is in two products");
        }
    }
}

/// The lookup finds what a search of the whole table finds.
#[test]
fn the_first_product_of_the_table_counts() {
    let by_table = |name: &str, image: &Repository<'_>| {
        let here = || PRODUCTS.iter().filter(|product| product.beside.is_none());
        let named = here().find(|product| product.names.contains(&name));
        let with_image = || {
            PRODUCTS
                .iter()
                .find(|product| product.images.iter().any(|known| ends_with(image, known)))
        };
        let matching = || here().find(|product| product.names.iter().any(|known| matches(known, name)));
        named.or_else(with_image).or_else(matching)
    };
    let known_names = PRODUCTS.iter().flat_map(|product| product.names);
    let known_images = PRODUCTS.iter().flat_map(|product| product.images);
    let names: Vec<_> = known_names.map(|name| name.replace('*', "x")).collect();
    let images: Vec<_> = known_images.map(|image| image.replace('*', "x")).collect();
    let any_name = names.iter().map(String::as_str).chain(["app"]);
    let any_image = || images.iter().map(String::as_str).chain(["own/app"]);
    for (n, name) in any_name.enumerate() {
        for image in any_image().skip(n % 7).step_by(7) {
            for image in [format!("registry.test/a/{image}"), image.to_owned()] {
                let image = Repository::of(&image);
                let (found, expected) = (product(name, &image), by_table(name, &image));
                let title = |product: Option<&Product>| product.map(|product| product.title);
                assert_eq!(title(found), title(expected), "{name} {}", image.full());
            }
        }
    }
}
