//! Random Pods for a real node: sidecars, main and init containers of the test workload that become ready, crash, flap,
//! hang or exceed their memory limit, with random probes and hooks.

use serde_json::{Value, json};
use testkit::rng::Rng;

use crate::images::{TEST_WORKLOAD, TEST_WORKLOAD_BINARY};

/// Port of the first container of a Pod. The containers of a Pod share one network namespace.
const FIRST_PORT: u16 = 8080;
const CLASSIC_SIDECARS: [&str; 3] = ["istio-proxy", "log-sidecar", "metrics-sidecar"];

/// Place of a container in its Pod.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Main,
    Classic,
    Native,
}

/// Script of a container.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Behaviour {
    Ready,
    ReadyLate,
    NeverReady,
    ReadyForATime,
    Flaps,
    Crashes,
    Completes,
    FailsLiveness,
    OutOfMemory,
}

const FAULTS: [Behaviour; 8] = [
    Behaviour::ReadyLate,
    Behaviour::NeverReady,
    Behaviour::ReadyForATime,
    Behaviour::Flaps,
    Behaviour::Crashes,
    Behaviour::Completes,
    Behaviour::FailsLiveness,
    Behaviour::OutOfMemory,
];

/// Returns a random Pod with at least one sidecar.
pub fn random_pod(rng: &mut Rng, name: &str) -> Value {
    let restart_policy = rng.pick(&["Always", "Always", "Always", "Always", "OnFailure", "Never"]);
    let natives = rng.below(3);
    let classics = rng.between(i64::from(natives == 0), 2).unsigned_abs();
    let mut ports = FIRST_PORT..;
    let mut next = |rng: &mut Rng, name: &str, place| {
        let port = ports.next().unwrap_or(FIRST_PORT);
        container(rng, name, place, port)
    };

    let mut init: Vec<Value> = Vec::new();
    if rng.chance(25) {
        init.push(plain_init(rng));
    }
    init.extend((0..natives).map(|index| next(rng, &format!("native-{index}"), Place::Native)));
    let mut regular = vec![next(rng, "app", Place::Main)];
    if rng.chance(20) {
        regular.push(next(rng, "worker", Place::Main));
    }
    let mut names = CLASSIC_SIDECARS;
    rng.shuffle(&mut names);
    let classics = names.into_iter().zip(0..classics);
    regular.extend(classics.map(|(name, _)| next(rng, name, Place::Classic)));
    rng.shuffle(&mut regular);

    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": restart_policy,
            "terminationGracePeriodSeconds": 1,
            "initContainers": init,
            "containers": regular,
        },
    })
}

/// An init container that completes, or fails each time.
fn plain_init(rng: &mut Rng) -> Value {
    let args = match rng.below(5) {
        0 => ["fail".to_owned(), "1".to_owned()],
        _ => ["sleep".to_owned(), rng.between(1, 10).to_string()],
    };
    json!({"name": "setup", "image": TEST_WORKLOAD, "imagePullPolicy": "Never", "args": args})
}

fn container(rng: &mut Rng, name: &str, place: Place, port: u16) -> Value {
    let faults = if place == Place::Main { 30 } else { 65 };
    let behaviour = if rng.chance(faults) {
        rng.pick(&FAULTS)
    } else {
        Behaviour::Ready
    };
    let mut script = Vec::new();
    let has_startup_probe = rng.chance(20);
    if has_startup_probe {
        script.extend(startup(rng));
    }
    script.extend(steps(rng, behaviour));
    let mut args = vec!["run".to_owned(), "--listen".to_owned(), port.to_string()];
    args.append(&mut script);
    let mut container = json!({
        "name": name,
        "image": TEST_WORKLOAD,
        "imagePullPolicy": "Never",
        "args": args,
        "resources": {"limits": {"memory": "32Mi"}},
    });
    let mut set = |field: &str, value: Value| {
        if let Some(fields) = container.as_object_mut() {
            fields.insert(field.to_owned(), value);
        }
    };
    if place == Place::Native {
        set("restartPolicy", "Always".into());
    }
    if rng.chance(80) {
        set("readinessProbe", probe(rng, "ready", port, 1));
    }
    if has_startup_probe {
        // not so often that the kubelet kills the container
        set("startupProbe", probe(rng, "started", port, 1000));
    }
    if behaviour == Behaviour::FailsLiveness || rng.chance(10) {
        set("livenessProbe", probe(rng, "live", port, 2));
    }
    if let Some(hooks) = hooks(rng) {
        set("lifecycle", hooks);
    }
    container
}

/// The first steps of a container with a startup probe. One in six never starts.
fn startup(rng: &mut Rng) -> Vec<String> {
    match rng.below(6) {
        0 => Vec::new(),
        1 | 2 => vec![sleep(rng, 3, 20), "started".to_owned()],
        _ => vec!["started".to_owned()],
    }
}

fn steps(rng: &mut Rng, behaviour: Behaviour) -> Vec<String> {
    let word = str::to_owned;
    match behaviour {
        Behaviour::Ready => vec![word("ready"), word("hold")],
        Behaviour::ReadyLate => vec![sleep(rng, 5, 200), word("ready"), word("hold")],
        Behaviour::NeverReady => vec![word("hold")],
        Behaviour::ReadyForATime => vec![word("ready"), sleep(rng, 10, 300), word("unready"), word("hold")],
        Behaviour::Flaps => vec![
            word("ready"),
            sleep(rng, 3, 30),
            word("unready"),
            sleep(rng, 3, 20),
            word("repeat"),
        ],
        Behaviour::Crashes => vec![
            word("ready"),
            sleep(rng, 2, 60),
            format!("exit={}", rng.between(1, 3)),
        ],
        Behaviour::Completes => vec![word("ready"), sleep(rng, 5, 120), word("exit=0")],
        Behaviour::FailsLiveness => vec![word("ready"), sleep(rng, 5, 60), word("dead"), word("hold")],
        Behaviour::OutOfMemory => vec![word("ready"), sleep(rng, 2, 60), word("eat")],
    }
}

fn sleep(rng: &mut Rng, least: i64, most: i64) -> String {
    format!("sleep={}", rng.between(least, most))
}

/// A probe of the test workload by HTTP, or sometimes by a command, which costs more.
fn probe(rng: &mut Rng, answer: &str, port: u16, failures: u32) -> Value {
    let mut probe = if rng.chance(10) {
        json!({"exec": {"command": [TEST_WORKLOAD_BINARY, "probe", answer]}, "timeoutSeconds": 5})
    } else {
        json!({"httpGet": {"path": format!("/{answer}"), "port": port}, "timeoutSeconds": 5})
    };
    if let Some(fields) = probe.as_object_mut() {
        fields.insert("periodSeconds".to_owned(), rng.between(2, 6).into());
        fields.insert("failureThreshold".to_owned(), failures.into());
    }
    probe
}

fn hooks(rng: &mut Rng) -> Option<Value> {
    let hook = |args: &[&str]| {
        let command: Vec<&str> = [&[TEST_WORKLOAD_BINARY], args].concat();
        json!({"exec": {"command": command}})
    };
    match rng.below(20) {
        0 => Some(json!({"postStart": hook(&["sleep", "3600"])})),
        1 => Some(json!({"postStart": hook(&["fail", "1"])})),
        2 | 3 => Some(json!({"postStart": hook(&["sleep", "4"])})),
        4 | 5 => Some(json!({"preStop": hook(&["sleep", "0.5"])})),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn pods(seed: u64) -> Vec<Value> {
        let mut rng = Rng::new(seed);
        (0..90)
            .map(|index| random_pod(&mut rng, &format!("pod-{index}")))
            .collect()
    }

    #[test]
    fn a_seed_gives_the_same_pods_with_all_faults() {
        let pods = pods(1);
        assert_eq!(pods, super::tests::pods(1));
        assert_ne!(pods, super::tests::pods(2));
        let text = json!(pods).to_string();
        for part in [
            "\"hold\"",
            "\"unready\"",
            "\"repeat\"",
            "exit=1",
            "exit=0",
            "\"dead\"",
            "\"eat\"",
            "\"started\"",
            "postStart",
            "preStop",
            "3600",
            "\"fail\"",
            "startupProbe",
            "livenessProbe",
            "readinessProbe",
            "\"exec\"",
            "httpGet",
            "OnFailure",
            "Never",
        ] {
            assert!(text.contains(part), "no {part}");
        }
    }

    #[test]
    fn each_pod_has_an_app_and_a_sidecar_and_no_port_twice() {
        for pod in pods(1) {
            let list = |field: &str| pod["spec"][field].as_array().unwrap().clone();
            let (init, regular) = (list("initContainers"), list("containers"));
            assert!(
                regular.iter().any(|container| container["name"] == "app"),
                "{pod}"
            );
            let is_sidecar = |container: &Value| {
                CLASSIC_SIDECARS.iter().any(|name| container["name"] == *name)
                    || container["restartPolicy"] == "Always"
            };
            assert!(init.iter().chain(&regular).any(is_sidecar), "{pod}");
            let ports: Vec<String> = init
                .iter()
                .chain(&regular)
                .filter(|container| container["args"][1] == "--listen")
                .map(|container| container["args"][2].to_string())
                .collect();
            assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len(), "{pod}");
        }
    }
}
