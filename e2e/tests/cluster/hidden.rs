//! What `sidewatch explain` and `sidewatch top` show of a violation that a SidecarExemption hides, with a real API server.

use e2e::process::Scratch;
use serde_json::Value;

use crate::{
    cli::{namespace_with_violation, policy, sidewatch},
    policy_specs::plane,
};

/// The row of NotReady in a list of the output.
fn not_ready(rows: &Value) -> &Value {
    let mut rows = rows.as_array().unwrap().iter();
    rows.find(|row| row["check"] == "NotReady").unwrap()
}

#[tokio::test]
async fn a_snoozed_violation_is_shown_as_hidden_until_the_exemption_is_deleted() {
    let (plane, _) = plane().await;
    let directory = Scratch::new().unwrap();
    let namespace = &namespace_with_violation(plane).await;
    let policy = policy(&directory);
    let kubeconfig = plane.kubeconfig_path();
    let run = async |command: &str| {
        let line = format!("{command} -n {namespace} -p {policy} -o json");
        sidewatch(kubeconfig, &line).await
    };
    // The state, the exemption that hides the violation, and the exit code.
    let explained = async || {
        let run = run("explain web").await;
        let row = not_ready(&run.json()[0]["checks"]).clone();
        (
            row["state"].as_str().unwrap().to_owned(),
            row["hiddenBy"].clone(),
            run.code,
        )
    };
    // The numbers of firing and hidden violations, and the exit code.
    let counted = async || {
        let run = run("top").await;
        let row = not_ready(&run.json()["groups"]).clone();
        (
            ["firing", "hidden"].map(|field| row[field].as_u64().unwrap()),
            run.code,
        )
    };
    assert_eq!(explained().await, ("firing".to_owned(), Value::Null, Some(1)));
    assert_eq!(counted().await, ([1, 0], Some(1)));

    let snooze = format!("snooze pod/web -n {namespace} --for 2h --reason test");
    let run = sidewatch(kubeconfig, &snooze).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let (state, hidden_by, code) = explained().await;
    assert_eq!((&*state, code), ("hidden", Some(0)));
    let key = format!("SidecarExemption {namespace}/pod-web");
    assert_eq!(hidden_by["exemption"], key.as_str());
    assert_eq!(hidden_by["reason"], "test");
    let until = format!("get scex pod-web -n {namespace} -o jsonpath={{.spec.until}}");
    assert_eq!(hidden_by["until"], plane.kubectl_line(&until).await.unwrap());
    assert_eq!(counted().await, ([0, 1], Some(0)));
    let run = sidewatch(kubeconfig, &format!("top -n {namespace}")).await;
    assert!(
        run.stdout
            .starts_with("1 Pods, 0 violations fire, 0 are pending, "),
        "a pending violation is hidden too: {run:?}"
    );
    assert!(run.stdout.contains(" HIDDEN "), "{run:?}");

    let delete = format!("delete scex pod-web -n {namespace}");
    plane.kubectl_line(&delete).await.unwrap();
    assert_eq!(explained().await, ("firing".to_owned(), Value::Null, Some(1)));
}
