//! A cluster in which nothing changes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use testkit::api_server::{
    ApiServer, CLUSTER_POLICIES, EVENTS, Exchange, MESH_STATUS, NAMESPACES, PODS, POLICIES, WatchStream,
    list, pod, policy, start,
};

/// How long the API server lets a watch live before its last bookmark, and after it.
const WATCH: [Duration; 2] = [Duration::from_secs(59), Duration::from_secs(1)];

/// What the server was asked.
#[derive(Default)]
struct Asked {
    lists: Vec<&'static str>,
    watches: Vec<&'static str>,
    writes: Vec<String>,
}

/// A server that does nothing by itself but what a real one does: it ends watches after their time, with a bookmark
/// shortly before, and tells of the statuses that were written.
fn serve(server: &ApiServer, pods: Vec<Value>) -> Arc<Mutex<Asked>> {
    let asked = Arc::<Mutex<Asked>>::default();
    let mesh = Arc::new(Mutex::new((policy("mesh", "3"), None)));
    let namespace = json!({"metadata": {"name": "pay", "uid": "uid-pay", "resourceVersion": "1"}});
    resource(
        server,
        &asked,
        NAMESPACES,
        "Namespace",
        move || vec![namespace.clone()],
        |_| {},
    );
    resource(
        server,
        &asked,
        CLUSTER_POLICIES,
        "ClusterSidecarPolicy",
        Vec::new,
        |_| {},
    );
    resource(server, &asked, PODS, "Pod", move || pods.clone(), |_| {});
    let (shown, watched) = (Arc::clone(&mesh), Arc::clone(&mesh));
    resource(
        server,
        &asked,
        POLICIES,
        "SidecarPolicy",
        move || vec![shown.lock().unwrap().0.clone()],
        move |watch| watched.lock().unwrap().1 = Some(watch),
    );
    let statuses = server.route(Method::PATCH, MESH_STATUS);
    let events = server.route(Method::POST, EVENTS);
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        for version in 10.. {
            let exchange = tokio::select! {
                exchange = statuses.any() => {
                    let (policy, watch) = &mut *mesh.lock().unwrap();
                    policy["status"] = exchange.body["status"].clone();
                    policy["metadata"]["resourceVersion"] = json!(version.to_string());
                    if let Some(watch) = watch {
                        watch.event("MODIFIED", policy);
                    }
                    exchange
                }
                exchange = events.any() => exchange,
            };
            seen.lock().unwrap().writes.push(exchange.body.to_string());
            exchange.json(
                StatusCode::OK,
                &json!({"metadata": {"resourceVersion": version.to_string()}}),
            );
        }
    });
    asked
}

fn resource(
    server: &ApiServer,
    asked: &Arc<Mutex<Asked>>,
    path: &'static str,
    kind: &'static str,
    objects: impl Fn() -> Vec<Value> + Send + 'static,
    keep: impl Fn(Arc<WatchStream>) + Send + 'static,
) {
    let (route, asked) = (server.route(Method::GET, path), Arc::clone(asked));
    tokio::spawn(async move {
        loop {
            let exchange: Exchange = route.any().await;
            if !exchange.is_watch() {
                asked.lock().unwrap().lists.push(path);
                exchange.json(StatusCode::OK, &list(kind, "5", &objects()));
                continue;
            }
            asked.lock().unwrap().watches.push(path);
            let watch = Arc::new(exchange.watch());
            keep(Arc::clone(&watch));
            tokio::spawn(async move {
                sleep(WATCH[0]).await;
                watch.bookmark(kind, "5");
                sleep(WATCH[1]).await;
                watch.end();
            });
        }
    });
}

#[tokio::test(start_paused = true)]
async fn five_minutes_without_a_change_are_five_minutes_without_a_write() {
    let server = ApiServer::default();
    let mut pods: Vec<Value> = (0..200).map(|n| pod(&format!("good-{n}"), "1", true)).collect();
    pods.extend((0..30).map(|n| pod(&format!("bad-{n}"), "1", false)));
    let asked = serve(&server, pods);
    let operator = start(&server, &[]);
    operator.ready().await;
    sleep(Duration::from_mins(1)).await;
    {
        let mut asked = asked.lock().unwrap();
        asked.lists.sort_unstable();
        assert_eq!(
            asked.lists,
            [NAMESPACES, PODS, CLUSTER_POLICIES, POLICIES],
            "each once"
        );
        // An Event for each bad Pod (more than its list shows), and a status or two.
        assert!((31..=32).contains(&asked.writes.len()), "{:#?}", asked.writes);
        *asked = Asked::default();
    }

    let begun = Instant::now();
    sleep(Duration::from_mins(5)).await;
    assert_eq!(begun.elapsed().as_secs(), 300);
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    assert_eq!(asked.writes, [""; 0], "writes in a quiet time");
    assert_eq!(
        asked.lists, [""; 0],
        "a watch that ends after its time is not a reason to list again"
    );
    for path in [NAMESPACES, CLUSTER_POLICIES, POLICIES, PODS] {
        let watches = asked.watches.iter().filter(|asked| **asked == path).count();
        assert!(
            (4..=6).contains(&watches),
            "{watches} watches of {path}: one a minute"
        );
    }
    assert_eq!(operator.readyz().0, 200, "and it is ready all the time");
    operator.stop().await;
}
