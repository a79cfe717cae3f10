//! The fault proxy in front of a real API server: it is transparent without rules, and each fault has its documented effect.

mod requests;
mod setup;
mod watches;

use e2e::faults::proxy::Verb;
use futures::StreamExt;
use kube::api::{DeleteParams, ListParams};
use tokio::time::timeout;

use setup::{SOON, Setup, WHILE, code, create, describe};

#[tokio::test]
async fn without_rules_it_is_transparent() {
    let setup = Setup::new().await;
    let before = setup.proxy.calls().len();
    let mut watch = setup.watch().await;
    setup.create("one").await.unwrap();
    let first = timeout(SOON, watch.next())
        .await
        .expect("events are forwarded immediately");
    assert_eq!(describe(&first.unwrap()), "one");
    assert!(
        timeout(WHILE, watch.next()).await.is_err(),
        "a watch without events stays open"
    );
    create(&setup.direct, "two").await.unwrap();
    let second = timeout(SOON, watch.next()).await.expect("after a silence too");
    assert_eq!(describe(&second.unwrap()), "two");
    assert_eq!(
        setup.maps.list(&ListParams::default()).await.unwrap().items.len(),
        2
    );
    setup.maps.delete("one", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(setup.maps.get("one").await), 404, "errors are not changed");

    let calls = setup.proxy.calls().split_off(before);
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (call.verb, call.server_status, call.status))
        .collect();
    let same = |verb, status| (verb, Some(status), Some(status));
    assert_eq!(
        seen,
        [
            same(Verb::Watch, 200),
            same(Verb::Create, 201),
            same(Verb::List, 200),
            same(Verb::Delete, 200),
            same(Verb::Get, 404)
        ]
    );
    let [watching, creating, ..] = calls.as_slice() else {
        panic!("{calls:?}")
    };
    assert_eq!(
        creating.path,
        format!("/api/v1/namespaces/{}/configmaps", setup.namespace)
    );
    assert!(watching.query.contains("watch=true"), "{}", watching.query);
    assert!(watching.ended.is_none(), "the watch is active");
    assert!(creating.ended.is_some() && !creating.faulted);
    assert!(String::from_utf8_lossy(&creating.body).contains("\"one\""));
}
