//! Pod specs with and without the faults that rules of lint find, for the rules that also exist as
//! ValidatingAdmissionPolicies.

/// The Pod specs of a rule, in YAML without the outer braces.
#[derive(Debug)]
pub struct Fixtures {
    /// The code of the rule.
    pub code: &'static str,
    /// The kinds of the objects that have the Pod specs.
    pub kinds: &'static [&'static str],
    /// Pod specs with one finding, each with its severity and its path in the Pod spec.
    pub bad: &'static [(&'static str, &'static str)],
    /// Pod specs without a finding.
    pub good: &'static [&'static str],
}

/// SC003: an init container that never exits.
pub const ENDLESS_INIT: Fixtures = Fixtures {
    code: "SC003",
    kinds: &["Deployment"],
    bad: &[
        (
            "initContainers: [{name: a, command: [sleep, infinity]}], containers: [{name: app}]",
            "Error initContainers[0].command",
        ),
        (
            "initContainers: [{name: a, command: [sh, -c], args: ['run; tail -f /dev/null']}], containers: [{name: app}]",
            "Error initContainers[0].args",
        ),
        (
            "initContainers: [{name: a, command: [/bin/sh, -ec, \"setup\\nwhile true; do\\n  sleep 10\\ndone\\n\"]}], containers: [{name: app}]",
            "Error initContainers[0].command",
        ),
        (
            "initContainers: [{name: a, command: [sh, -c, 'setup && exec sleep infinity # for ever']}], containers: [{name: app}]",
            "Error initContainers[0].command",
        ),
    ],
    good: &[
        "initContainers: [{name: a, command: [sleep, infinity], restartPolicy: Always}], containers: [{name: app}]",
        "initContainers: [{name: a, command: [sh, -c, 'until nslookup db; do sleep 2; done']}], containers: [{name: app}]",
        "initContainers: [{name: a, command: [sh, -c, 'while true; do nc -z db 1 && break; sleep 2; done']}], containers: [{name: app}]",
        "initContainers: [{name: a, command: [sh, -c, 'test -f x || sleep infinity']}], containers: [{name: app}]",
        "initContainers: [{name: a, command: [sh, -c, 'sleep infinity & setup']}], containers: [{name: app}]",
        "initContainers: [{name: a, command: [sh, -c, 'if [ $DEBUG ]; then sleep infinity; fi']}], containers: [{name: app}]",
        "initContainers: [{name: a, command: [sh, -c, \"cat > run.sh <<EOF\\nsleep infinity\\nEOF\\n\"]}], containers: [{name: app}]",
        "initContainers: [{name: a, command: [sh, -c, \"echo 'sleep infinity'\"]}], containers: [{name: app}]",
        "initContainers: [{name: a, command: [sh, -c, 'trap \"exit 0\" TERM; while true; do sleep 1; done']}], containers: [{name: app}]",
        "initContainers: [{name: a, command: [sleep, '3600']}], containers: [{name: app}]",
        "containers: [{name: app, command: [sleep, infinity]}]",
    ],
};

/// SC004: a classic sidecar in a Job.
pub const CLASSIC_IN_JOB: Fixtures = Fixtures {
    code: "SC004",
    kinds: &["Job", "CronJob"],
    bad: &[
        (
            "containers: [{name: app}, {name: istio-proxy}]",
            "Error containers[1].name",
        ),
        (
            "containers: [{name: app}, {name: cloud-sql-proxy, args: [--port=5432]}]",
            "Error containers[1].name",
        ),
        (
            "containers: [{name: app}, {name: logs, image: fluent/fluent-bit, command: [sh, -c, 'while true; do cat; done']}]",
            "Error containers[1].name",
        ),
        (
            "containers: [{name: app}, {name: upload-sidecar}]",
            "Warning containers[1].name",
        ),
    ],
    good: &[
        "containers: [{name: app}]",
        "containers: [{name: istio-proxy}]",
        "initContainers: [{name: istio-proxy, restartPolicy: Always}], containers: [{name: app}]",
        "containers: [{name: app, command: [sh, -c, 'run; curl -XPOST localhost:15020/quitquitquit']}, {name: istio-proxy}]",
        "containers: [{name: app, args: [/linkerd-await, --shutdown, run]}, {name: linkerd-proxy}]",
        "containers: [{name: app, command: [sh, -c, 'run; pkill cloud_sql_proxy']}, {name: cloud-sql-proxy}]",
        "containers: [{name: app, env: [{name: QUIT, value: 'http://127.0.0.1:15020/quitquitquit'}]}, {name: istio-proxy}]",
        "containers: [{name: app, lifecycle: {preStop: {exec: {command: [pkill, envoy]}}}}, {name: istio-proxy}]",
        "containers: [{name: app}, {name: vault-agent, args: [agent, -exit-after-auth]}]",
        "containers: [{name: app}, {name: git-sync, env: [{name: GITSYNC_ONE_TIME, value: 'true'}]}]",
        "containers: [{name: app}, {name: dashboards, image: kiwigrid/k8s-sidecar, env: [{name: METHOD, value: LIST}]}]",
        "containers: [{name: app}, {name: fluent-bit, command: [sh, -c, 'until [ -f /done ]; do sleep 1; done']}]",
        "restartPolicy: Never, containers: [{name: app}, {name: istio-proxy, restartPolicy: Always}]",
    ],
};

/// SC012: two containers with one port.
pub const PORT_CONFLICT: Fixtures = Fixtures {
    code: "SC012",
    kinds: &["Pod"],
    bad: &[
        (
            "containers: [{name: a, ports: [{containerPort: 80}]}, {name: b, ports: [{containerPort: 80, protocol: TCP}]}]",
            "Warning containers[1].ports[0].containerPort",
        ),
        (
            "initContainers: [{name: a, restartPolicy: Always, ports: [{containerPort: 80}]}, {name: b, ports: [{containerPort: 80}]}], containers: [{name: c}]",
            "Warning initContainers[1].ports[0].containerPort",
        ),
    ],
    good: &[
        "containers: [{name: a, ports: [{containerPort: 53}]}, {name: b, ports: [{containerPort: 53, protocol: UDP}]}]",
        "containers: [{name: a, ports: [{containerPort: 80, name: web}, {containerPort: 80, name: admin}]}]",
        "initContainers: [{name: a, ports: [{containerPort: 80}]}], containers: [{name: b, ports: [{containerPort: 80}]}]",
        "initContainers: [{name: b, ports: [{containerPort: 80}]}, {name: a, restartPolicy: Always, ports: [{containerPort: 80}]}], containers: [{name: c}]",
    ],
};

/// Returns an object with a Pod spec in flow style.
pub fn object(kind: &str, spec: &str) -> String {
    let metadata = "metadata: {name: web, namespace: shop}";
    match kind {
        "Pod" => format!("{{kind: Pod, {metadata}, spec: {{{spec}}}}}"),
        "CronJob" => format!(
            "{{kind: CronJob, {metadata}, spec: {{jobTemplate: {{spec: {{template: {{spec: {{{spec}}}}}}}}}}}}}"
        ),
        kind => format!("{{kind: {kind}, {metadata}, spec: {{template: {{spec: {{{spec}}}}}}}}}"),
    }
}
