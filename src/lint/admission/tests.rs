use std::{env, fs, path::Path};

use regex::Regex;

use super::*;
use crate::domain::{catalogue, pattern::Repository};

#[test]
fn the_file_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/admission/policies.yaml");
    let expected = yaml().unwrap();
    if env::var_os("UPDATE_ADMISSION").is_some() {
        fs::write(&file, &expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not up to date: make admission",
        file.display()
    );
}

#[test]
fn nothing_is_refused() {
    for object in objects() {
        match object["kind"].as_str().unwrap() {
            "ValidatingAdmissionPolicy" => assert_eq!(object["spec"]["failurePolicy"], "Ignore"),
            _ => assert_eq!(object["spec"]["validationActions"], json!(["Warn", "Audit"])),
        }
    }
}

#[test]
fn images_are_those_of_the_catalogue() {
    let pattern = Regex::new(&expressions::image_pattern()).unwrap();
    let mut images = vec![
        "app",
        "nginx",
        "mycorp/agent",
        "mycorp/payments:1",
        "hashicorp/vault:1",
        "gcr.io/istio-release/proxyv2:1.24",
        "docker.io/istio/proxyv2:1.24",
        "istio/proxyv2",
        "cr.l5d.io/linkerd/proxy:edge",
        "linkerd/proxy@sha256:00",
        "localhost:5000/git-sync:v4",
        "git-sync",
        "library/git-sync",
        "a/b/git-sync-x",
        "fluent/fluent-bit:3.0@sha256:00",
        "registry.k8s.io/sig-storage/csi-provisioner:v5",
        "own/proxyv2x",
        "localhost/linkerd/proxy",
        "mycorp/linkerd/proxy",
        "",
        "telegraf:1",
        "my/telegraf",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect::<Vec<_>>();
    for image in catalogue::images() {
        for registry in ["", "x", "x/", "gcr.io/x/", "localhost:5000/"] {
            images.push(format!("{registry}{}:1", image.replace('*', "any")));
        }
    }
    for image in images {
        let matches = |text: &str| pattern.is_match(text);
        let expected = catalogue::product("app", &Repository::of(&image)).is_some();
        assert_eq!(matches(&image), expected, "{image}");
    }
    let names = Regex::new(&expressions::name_pattern()).unwrap();
    for name in catalogue::names() {
        let name = name.replace('*', "any");
        for name in [name.clone(), format!("{name}-x"), format!("x{name}")] {
            let expected = catalogue::product(&name, &Repository::of("own/app")).is_some();
            assert_eq!(names.is_match(&name), expected, "{name}");
        }
    }
}
