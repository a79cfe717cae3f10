//! The page of each check: its example Pod fails as described, with the Event on the page.

use std::collections::BTreeSet;
use std::fs;

use e2e::simulated_kubelet::{Container, PodSpec, PodState, RestartPolicy, Step};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sidewatch::domain::checks::rule;
use sidewatch::domain::effects::{Effects, Event};
use sidewatch::domain::index::Index;
use sidewatch::domain::policy::{Check, PolicyKind, PolicyUpdate};
use sidewatch::kubernetes::decode::intern::Interner;
use sidewatch::kubernetes::decode::pod::observe;
use testkit::policies;

use crate::markdown::{Block, Page};
use e2e::project::repository;

fn page(check: Check) -> Page {
    Page::read(format!("docs/checks/{}.md", check.as_str()))
}

/// The first block of this language that satisfies `wanted`.
fn block(page: &Page, language: &str, wanted: impl Fn(&str) -> bool) -> Block {
    let mut blocks = page.blocks_of(language).into_iter();
    let found = blocks.find(|block| wanted(&block.text));
    found.unwrap_or_else(|| panic!("{} lacks a block of {language}", page.name()))
}

#[test]
fn each_check_has_a_page_and_each_page_a_check() {
    let expected: BTreeSet<_> = Check::ALL.map(|check| format!("{}.md", check.as_str())).into();
    let pages = fs::read_dir(repository().join("docs/checks")).unwrap();
    let found: BTreeSet<_> = pages
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_settings_on_a_page_are_the_defaults() {
    let mut spec = sidewatch::api::SidecarPolicySpec::default();
    // Its page has the defaults of the fields of the check, which is off without them.
    spec.checks.version_drift = Some(sidewatch::api::VersionDrift::default());
    let defaults = serde_json::to_value(spec).unwrap();
    let mut documented = serde_json::Map::new();
    for check in Check::ALL {
        let page = page(check);
        let block = block(&page, "yaml", |text| text.starts_with("checks:"));
        let mut settings: Value = serde_saphyr::from_str(&block.text).unwrap();
        documented.append(settings["checks"].as_object_mut().unwrap());
    }
    assert_eq!(Value::Object(documented), defaults["checks"]);
}

#[test]
fn the_event_of_each_example_is_as_its_page_says() {
    for check in Check::ALL {
        let page = page(check);
        let reason = rule(check).reason();
        assert!(
            page.text.contains(&format!("| Event | `{reason}`")),
            "{} names the reason",
            page.name()
        );
        let expected = block(&page, "text", |_| true).text;
        let pod = block(&page, "yaml", |text| text.contains("kind: Pod"));
        let mut example = Example::new(serde_saphyr::from_str(&pod.text).unwrap());
        play(check, &mut example);
        let notes: Vec<_> = example
            .events
            .iter()
            .filter(|event| event.reason == reason)
            .map(|event| &*event.note)
            .collect();
        assert_eq!(notes, [expected.trim_end()], "{}", page.name());
    }
}

/// The steps that the pages describe, at their times.
fn play(check: Check, pod: &mut Example) {
    match check {
        Check::NotReady | Check::MainReadySidecarNotReady => {
            pod.start("10:40:00");
            pod.at("10:42:07", Step::Unready("istio-proxy"));
            pod.wait_until("10:48:00");
        }
        Check::FrequentRestarts => {
            pod.start("10:40:00");
            pod.at("10:40:01", Step::Exit("log-shipper", 1));
            pod.at("10:40:01", Step::Start("log-shipper"));
            for (exit, back_off, start) in [
                ("10:40:02", "10:40:10", "10:40:15"),
                ("10:40:16", "10:40:28", "10:40:36"),
            ] {
                pod.at(exit, Step::Exit("log-shipper", 1));
                pod.at(back_off, Step::BackOff("log-shipper"));
                pod.at(start, Step::Start("log-shipper"));
            }
            pod.wait_until("10:41:00");
        }
        Check::StartupBlocked => {
            for step in [Step::Admit, Step::SandboxReady] {
                pod.at("10:40:02", step);
            }
            pod.at("10:40:02", Step::Start("vault-agent"));
            for minute in ["10:41:02", "10:42:02", "10:43:02", "10:44:02"] {
                pod.at(minute, Step::ProbeKill("vault-agent", 137));
            }
            pod.wait_until("10:46:00");
        }
        Check::JobHeldOpen => {
            pod.start("10:38:00");
            pod.at("10:40:02", Step::Exit("report", 0));
            pod.wait_until("10:46:00");
        }
        Check::OOMKilled => {
            pod.start("10:38:00");
            pod.at("10:40:02", Step::OomKill("fluent-bit"));
            pod.wait_until("10:41:00");
        }
        Check::Flapping => {
            pod.start("10:00:00");
            for minute in ["10:02", "10:06", "10:11", "10:15", "10:20", "10:24"] {
                pod.at(&format!("{minute}:00"), Step::Unready("envoy"));
                pod.at(&format!("{minute}:10"), Step::Ready("envoy"));
            }
            pod.wait_until("10:25:00");
        }
        Check::SidecarMissing => {
            pod.set_spec(check, "expected:");
            pod.start("10:40:00");
            pod.wait_until("10:46:00");
        }
        Check::VersionDrift => {
            pod.set_spec(check, "checks:");
            pod.start("10:40:00");
            // Seven days later.
            pod.wait_until("178:42:00");
        }
    }
}

/// An example Pod with a policy with default settings.
struct Example {
    pod: Value,
    spec: PodSpec,
    state: PodState,
    index: Index,
    interner: Interner,
    events: Vec<Event>,
}

impl Example {
    fn new(mut pod: Value) -> Self {
        let spec = spec(&pod);
        pod["metadata"]["uid"] = json!("pod-uid");
        pod["spec"]["nodeName"] = json!("node-1");
        let mut state = PodState::new(&spec, "pay", "pod-uid");
        let begin = time("09:00:00");
        state.scheduled(begin);
        let mut index = Index::new([None], false);
        index.begin_resync(&None, begin);
        let effects = [
            index.finish_resync(&None, begin),
            index.apply_policy(mesh(1, &json!({})), begin),
        ];
        assert!(effects.iter().all(|effects| effects.events.is_empty()));
        Self {
            pod,
            spec,
            state,
            index,
            interner: Interner::default(),
            events: Vec::new(),
        }
    }

    /// Sets the spec of the policy to a block on the page of the check, which begins with this text.
    fn set_spec(&mut self, check: Check, begin: &str) {
        let block = block(&page(check), "yaml", |text| text.starts_with(begin));
        let spec: Value = serde_saphyr::from_str(&block.text).unwrap();
        let effects = self.index.apply_policy(mesh(2, &spec), time("09:00:00"));
        self.take(effects);
        self.pod["metadata"]["creationTimestamp"] = json!("2026-11-20T10:40:00Z");
    }

    /// Starts all containers at this time.
    fn start(&mut self, at: &str) {
        for step in self.spec.clone().healthy_start() {
            self.at(at, step);
        }
    }

    fn at(&mut self, at: &str, step: Step<'_>) {
        self.wait_until(at);
        self.state.apply(step, time(at)).unwrap();
        self.pod["status"] = self.state.status();
        self.apply(at);
    }

    /// Applies the Pod as it is.
    fn apply(&mut self, at: &str) {
        self.wait_until(at);
        let pod = serde_json::from_value(self.pod.clone()).unwrap();
        let effects = self
            .index
            .apply(observe(pod, &mut self.interner).unwrap(), time(at));
        self.take(effects);
        self.work(time(at));
    }

    fn wait_until(&mut self, at: &str) {
        while let Some(next) = self.index.next_deadline().filter(|next| *next <= time(at)) {
            let effects = self.index.tick(next);
            self.take(effects);
            self.work(next);
        }
        self.work(time(at));
    }

    fn work(&mut self, now: Timestamp) {
        while self.index.has_work() {
            let effects = self.index.work(now);
            self.take(effects);
        }
    }

    fn take(&mut self, effects: Effects) {
        self.events.extend(effects.events);
    }
}

/// A policy that was created before the Pods.
fn mesh(generation: i64, spec: &Value) -> PolicyUpdate {
    PolicyUpdate {
        created: time("09:00:00"),
        ..policies::policy(PolicyKind::SidecarPolicy, "mesh", generation, spec)
    }
}

fn time(of_day: &str) -> Timestamp {
    let midnight: Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
    let parts: Vec<i64> = of_day.split(':').map(|part| part.parse().unwrap()).collect();
    midnight + SignedDuration::from_secs(parts[0] * 3600 + parts[1] * 60 + parts[2])
}

/// The fields of a Pod that determine its status.
fn spec(pod: &Value) -> PodSpec {
    let mut spec = PodSpec::new(pod["metadata"]["name"].as_str().unwrap());
    spec = match pod["spec"]["restartPolicy"].as_str() {
        None => spec,
        Some("Never") => spec.restart_policy(RestartPolicy::Never),
        Some(other) => panic!("no example has restartPolicy {other} yet"),
    };
    for (list, regular) in [("initContainers", false), ("containers", true)] {
        for container in pod["spec"]
            .get(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = container["name"].as_str().unwrap();
            let mut made = match container.get("restartPolicy") {
                _ if regular => Container::regular(name),
                Some(_) => Container::native(name),
                None => Container::init(name),
            };
            made = made.image(container["image"].as_str().unwrap());
            let has = |probe| container.get(probe).is_some();
            if has("readinessProbe") {
                made = made.readiness_probe();
            }
            if has("livenessProbe") {
                made = made.liveness_probe();
            }
            if has("startupProbe") {
                made = made.startup_probe();
            }
            if let Some(limit) = container.pointer("/resources/limits/memory") {
                made = made.memory_limit(limit.as_str().unwrap());
            }
            spec = spec.container(made);
        }
    }
    spec
}
