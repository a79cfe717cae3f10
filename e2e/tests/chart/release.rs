//! The release workflow: what of it can be tried without a registry.

use std::process::Command;

use e2e::process::{Scratch, copy_directory};
use e2e::project::{read_yaml, repository};
use serde_json::Value;

use crate::helm::{CHARTS, Helm, VERSIONS, documents, of_kind};

fn workflow() -> Value {
    read_yaml(".github/workflows/release.yaml").unwrap()
}

/// The scripts of a job, in order.
fn scripts(workflow: &Value, job: &str) -> Vec<String> {
    let steps = workflow["jobs"][job]["steps"].as_array().unwrap();
    let scripts = steps.iter().filter_map(|step| step["run"].as_str());
    scripts.map(str::to_owned).collect()
}

/// Runs a script as a step does, with these variables.
fn run(script: &str, directory: &std::path::Path, variables: &[(&str, &str)]) -> Result<(), String> {
    let output = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", script])
        .current_dir(directory)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or(text)
}

#[test]
fn jobs_need_existing_jobs_and_only_the_last_one_writes_to_the_repository() {
    let workflow = workflow();
    let jobs = workflow["jobs"].as_object().unwrap();
    for (name, job) in jobs {
        let needs = match &job["needs"] {
            Value::Null => Vec::new(),
            Value::String(need) => vec![need.as_str()],
            needs => needs
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect(),
        };
        for need in &needs {
            assert!(jobs.contains_key(*need), "{name} needs {need}");
        }
        assert_eq!(needs.is_empty(), name == "verify", "{name} runs after the tests");
        assert!(job["timeout-minutes"].is_u64(), "{name} has a time limit");
        let writes = job["permissions"]["contents"] == "write";
        assert_eq!(writes, name == "publish", "{name}");
    }
    assert_eq!(workflow["permissions"]["contents"], "read");
}

#[test]
fn the_tag_must_be_the_version_of_the_crate_and_the_charts() {
    let files = Scratch::new().unwrap();
    let output = files.path().join("output");
    let output = output.to_str().unwrap();
    let verify = scripts(&workflow(), "verify");
    let check = verify.first().unwrap();
    let with = |registry: &str, tag: &str| {
        let variables = [
            ("REGISTRY", registry),
            ("GITHUB_REF_NAME", tag),
            ("GITHUB_OUTPUT", output),
        ];
        run(check, repository(), &variables)
    };
    let version = env!("CARGO_PKG_VERSION");
    with("registry.example.test", &format!("v{version}")).unwrap();
    let written = std::fs::read_to_string(output).unwrap();
    assert_eq!(written, format!("version={version}\n"));
    assert!(
        with("registry.example.test", "v9.9.9").is_err(),
        "another version"
    );
    let error = with("", &format!("v{version}")).unwrap_err();
    assert!(error.contains("REGISTRY is not set"), "{error}");
}

#[tokio::test]
async fn the_packaged_charts_install_the_published_image() {
    let files = Scratch::new().unwrap();
    copy_directory(&repository().join("charts"), &files.path().join("charts")).unwrap();
    let set_image = &scripts(&workflow(), "charts")[0];
    let registry = [("REGISTRY", "registry.example.test/platform")];
    run(set_image, files.path(), &registry).unwrap();
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    let packages = files.path().join("packages");
    let version = env!("CARGO_PKG_VERSION");
    for (release, chart) in CHARTS {
        let chart = files.path().join(chart);
        let package = ["package", chart.to_str().unwrap(), "--destination"];
        helm.run(&[&package[..], &[packages.to_str().unwrap()]].concat())
            .await
            .unwrap();
        let package = packages.join(format!("{release}-{version}.tgz"));
        let yaml = helm
            .template_chart(release, package.to_str().unwrap(), &[])
            .await
            .unwrap();
        for deployment in of_kind(&documents(&yaml), "Deployment") {
            assert_eq!(
                deployment
                    .pointer("/spec/template/spec/containers/0/image")
                    .unwrap(),
                &format!("registry.example.test/platform/sidewatch:{version}")
            );
        }
    }
}

/// The lines of the script of `publish` that fill the manifest for krew.
fn krew_script(workflow: &Value) -> String {
    let publish = scripts(workflow, "publish").concat();
    let begin = publish.find("cp artifacts/command-").unwrap();
    let end = publish.find("(cd files && sha256sum").unwrap();
    publish[begin..end].to_owned()
}

#[test]
fn the_manifest_for_krew_has_the_archives_of_all_platforms() {
    let workflow = workflow();
    let platforms = workflow["jobs"]["command"]["strategy"]["matrix"]["include"]
        .as_array()
        .unwrap();
    let script = krew_script(&workflow);
    let fill = |platforms: &[Value]| {
        let files = Scratch::new().unwrap();
        std::fs::create_dir_all(files.path().join("files")).unwrap();
        std::fs::create_dir_all(files.path().join("config/krew")).unwrap();
        let manifest = repository().join("config/krew/sidewatch.yaml");
        std::fs::copy(manifest, files.path().join("config/krew/sidewatch.yaml")).unwrap();
        for platform in platforms {
            let platform = platform["platform"].as_str().unwrap();
            let extension = if platform.starts_with("windows") {
                "zip"
            } else {
                "tar.gz"
            };
            let directory = files.path().join(format!("artifacts/command-{platform}"));
            std::fs::create_dir_all(&directory).unwrap();
            let archive = directory.join(format!("sidewatch-{platform}.{extension}"));
            std::fs::write(archive, platform).unwrap();
        }
        let variables = [
            ("VERSION", "1.2.3"),
            ("RELEASE", "https://forge.test/download/v1.2.3"),
        ];
        let filled = run(&script, files.path(), &variables);
        filled.map(|()| std::fs::read_to_string(files.path().join("files/sidewatch.yaml")).unwrap())
    };
    let manifest: Value = serde_saphyr::from_str(&fill(platforms).unwrap()).unwrap();
    assert_eq!(manifest["spec"]["version"], "v1.2.3");
    let entries = manifest["spec"]["platforms"].as_array().unwrap();
    assert_eq!(entries.len(), platforms.len(), "one entry for each archive");
    for entry in entries {
        let labels = &entry["selector"]["matchLabels"];
        let [os, arch] = ["os", "arch"].map(|label| labels[label].as_str().unwrap());
        let platform = format!("{os}-{arch}");
        let uri = entry["uri"].as_str().unwrap();
        let expected = format!("https://forge.test/download/v1.2.3/sidewatch-{platform}.");
        assert!(uri.starts_with(&expected), "{uri}");
        let sum = Command::new("bash")
            .args(["-c", "printf %s \"$0\" | sha256sum", &platform])
            .output()
            .unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        assert_eq!(
            entry["sha256"].as_str().unwrap(),
            sum.split(' ').next().unwrap(),
            "{platform}"
        );
    }
    assert!(fill(&platforms[1..]).is_err(), "an archive is missing");
}
