//! Examines the workloads of a cluster, page by page.
//!
//! A kind that the caller may not list is a note. If no kind may be listed, that is an error.

use super::{Failure, Input, Rest, Run};
use crate::{
    cli::{
        args::ClusterArgs,
        cluster::Cluster,
        output::{Progress, note},
    },
    kubernetes::{
        failure::Reason,
        list::ListError,
        workloads::{Page, WorkloadKind},
    },
    lint::{Linter, object::Object},
};

/// Adds the findings in all workloads that the user selects.
pub(super) async fn examine(args: &ClusterArgs, linter: &mut Linter, run: &mut Run) -> Result<(), Failure> {
    let cluster = Cluster::connect(args)?;
    let selection = cluster.selection("");
    let mut progress = Progress::new();
    let (mut workloads, mut unreadable, mut skipped) = (0, Vec::new(), Vec::new());
    for kind in WorkloadKind::all() {
        let mut token = None;
        loop {
            let page = cluster
                .answer(kind.page(cluster.client(), &selection, token))
                .await?;
            let Page {
                objects,
                undecodable,
                next,
            } = match page {
                Ok(page) => page,
                Err(ListError {
                    reason: Reason::Forbidden | Reason::NotFound,
                    message,
                }) => {
                    unreadable.push(message);
                    break;
                }
                Err(error) => return Err(cluster.failed(&error.message)),
            };
            workloads += objects.len();
            skipped.extend(undecodable);
            progress.clear();
            for object in objects {
                let text = serde_json::to_string(&object)?;
                let object = Object {
                    kind: object.types.map(|types| types.kind).unwrap_or_default(),
                    namespace: object.metadata.namespace.unwrap_or_default(),
                    name: object.metadata.name.unwrap_or_default(),
                };
                if run.add(&Input::Workload(&object), &text, linter.lint(&text))? == Rest::Skip {
                    return Ok(());
                }
            }
            progress.show(&format!("{workloads} workloads examined"));
            token = next;
            if token.is_none() {
                break;
            }
        }
    }
    progress.clear();
    if unreadable.len() == WorkloadKind::all().len() {
        let first = unreadable.into_iter().next().unwrap_or_default();
        return Err(cluster.failed(&format!("no workload can be read: {first}")));
    }
    for message in unreadable.iter().chain(&skipped) {
        note(message);
    }
    Ok(())
}
