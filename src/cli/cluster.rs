//! The cluster of a kubeconfig, with the rights of the caller.
//!
//! Input: [`ClusterArgs`]. Output: policies, exemptions, Namespaces, and the Pods in an [`Evaluation`]. Every wait has a limit.
//! An error names the API server and what failed.

use std::{fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use kube::Client;
use tokio::{
    select,
    signal::ctrl_c,
    time::{Instant, sleep_until, timeout},
};

use super::{
    args::ClusterArgs,
    evaluation::{Evaluation, Namespaces},
    exit::{Failure, Interrupted},
    output::{Progress, first_names, note},
    policies::{self, PolicyFile},
};
use crate::{
    clock::{Clock, SystemClock},
    domain::{exemption::ExemptionUpdate, index::Scope, policy::PolicyUpdate},
    kubernetes::{
        client::{self, Clients},
        decode::object::Undecodable,
        failure::Reason,
        inputs::LIVE_PODS,
        list::{self, ListError, Listed, PodSelection},
        watch::WatchEvent,
    },
    telemetry::logging::clean,
};

/// Limit of the time until the API server answers, and of a pause within a list.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of attempts of a list if the first attempt has delivered objects.
const LIST_ATTEMPTS: u32 = 3;
/// The progress is shown after each time that this number of Pods has arrived.
const PODS_PER_PROGRESS: usize = 500;
/// The note if the exemptions cannot be read.
const NOT_MARKED: &str = "what exemptions hide is shown as if it were reported";

/// A cluster, and the Pods that the user selects.
pub struct Cluster {
    client: Client,
    server: String,
    default_namespace: String,
    /// The namespace, or all of them.
    pub scope: Scope,
    labels: String,
    /// The clock of this machine.
    pub clock: Arc<dyn Clock>,
}

/// The policies in a cluster, and what could not be read.
#[derive(Debug, Default)]
pub struct InForce {
    /// The policies.
    pub policies: Vec<PolicyUpdate>,
    /// The exemptions. Empty unless requested.
    pub exemptions: Vec<ExemptionUpdate>,
    /// The Namespaces. `None` if their labels are not known.
    pub namespaces: Option<Namespaces>,
    /// The objects that cannot be decoded, with the errors. They are left out.
    pub undecodable: Vec<String>,
    /// What could not be read.
    pub notes: Vec<String>,
}

impl InForce {
    /// Returns the decoded objects of a list. The others become a note.
    fn decoded<T>(&mut self, kind: &str, listed: Listed<T>) -> Vec<T> {
        let undecodable = undecodable(kind, &listed.undecodable);
        self.notes.extend(left_out(&undecodable));
        self.undecodable.extend(undecodable);
        listed.objects
    }
}

/// Names objects that cannot be decoded.
fn undecodable(kind: &str, objects: &[Undecodable]) -> Vec<String> {
    let names = objects.iter().map(|object| clean(&format!("{kind} {object}")));
    names.collect()
}

/// The note about objects that cannot be decoded, if there are any.
fn left_out(undecodable: &[String]) -> Option<String> {
    (!undecodable.is_empty()).then(|| {
        format!(
            "left out, because it cannot be decoded: {}",
            first_names(undecodable)
        )
    })
}

impl Cluster {
    /// Reads the kubeconfig. Sends no request.
    pub fn connect(args: &ClusterArgs) -> Result<Self, Failure> {
        let config = client::config(args.kubeconfig.as_deref(), args.context.as_deref())?;
        let server = config.cluster_url.to_string();
        let default_namespace = config.default_namespace.clone();
        let scope = match &args.namespace {
            _ if args.all_namespaces => None,
            Some(name) => Some(name.as_str().into()),
            None => Some(default_namespace.as_str().into()),
        };
        Ok(Self {
            client: Clients::new(config)?.watch,
            server,
            default_namespace,
            scope,
            labels: args.selector.clone().unwrap_or_default(),
            clock: Arc::new(SystemClock::default()),
        })
    }

    /// Returns the namespace of an object that names none.
    pub fn namespace(&self) -> &str {
        self.scope.as_deref().unwrap_or(&self.default_namespace)
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the selected Pods. `fields` is an additional field selector.
    pub fn selection(&self, fields: &str) -> PodSelection {
        PodSelection {
            scope: self.scope.clone(),
            fields: fields.to_owned(),
            labels: self.labels.clone(),
        }
    }

    /// Lists the policies that can select Pods in the scope, and the Namespaces if one of them needs their labels. Missing
    /// CRDs mean that there are no policies. A missing right is a note.
    pub async fn in_force(&self) -> Result<InForce, Failure> {
        let mut found = InForce::default();
        let (local, cluster) = (
            self.answer(list::sidecar_policies(&self.client, &self.scope))
                .await?,
            self.answer(list::cluster_sidecar_policies(&self.client)).await?,
        );
        for (kind, list) in [("SidecarPolicy", local), ("ClusterSidecarPolicy", cluster)] {
            if let Some(listed) = self.readable(list, &mut found.notes)? {
                let policies = found.decoded(kind, listed);
                found.policies.extend(policies);
            }
        }
        let namespaces = self.answer(list::namespaces(&self.client, &self.scope)).await?;
        if let Some(listed) = self.readable(namespaces, &mut found.notes)? {
            found.namespaces = Some(found.decoded("Namespace", listed));
        }
        Ok(found)
    }

    /// The same with the policies of files, if there are any, in place of those of the cluster.
    pub async fn in_force_or(&self, files: Option<&[PolicyFile]>) -> Result<InForce, Failure> {
        let mut found = self.in_force().await?;
        if let Some(files) = files {
            found.policies = policies::updates(files, self.namespace())?;
        }
        Ok(found)
    }

    /// The same, with the exemptions in the scope.
    pub async fn in_force_with_exemptions(&self, files: Option<&[PolicyFile]>) -> Result<InForce, Failure> {
        let mut found = self.in_force_or(files).await?;
        if !found.policies.is_empty() {
            self.add_exemptions(&mut found).await?;
        }
        Ok(found)
    }

    /// Adds the exemptions in the scope. Without the CRD there are none. A missing right is a note.
    pub async fn add_exemptions(&self, found: &mut InForce) -> Result<(), Failure> {
        match self.answer(list::exemptions(&self.client, &self.scope)).await? {
            Ok(listed) => found.exemptions = found.decoded("SidecarExemption", listed),
            Err(ListError {
                reason: Reason::NotFound,
                ..
            }) => {}
            Err(ListError {
                reason: Reason::Forbidden,
                message,
            }) => found.notes.push(format!("{message}; {NOT_MARKED}")),
            Err(error) => return Err(self.failed(&error.message)),
        }
        Ok(())
    }

    /// Evaluates the Pods of one list that have not finished, and then the changes for the given time or until Ctrl-C.
    pub async fn evaluate(
        &self,
        evaluation: &mut Evaluation,
        watch: Option<Duration>,
    ) -> Result<(), Failure> {
        let selection = self.selection(LIVE_PODS);
        self.evaluate_selected(&selection, evaluation, watch).await
    }

    /// The same for these Pods.
    pub async fn evaluate_selected(
        &self,
        selection: &PodSelection,
        evaluation: &mut Evaluation,
        watch: Option<Duration>,
    ) -> Result<(), Failure> {
        let (pods, problem) = list::pods(&self.client, selection, Arc::clone(&self.clock))?;
        let mut pods = pin!(pods);
        let mut progress = Progress::new();
        let (mut attempts, mut listed) = (0, 0);
        loop {
            let event = select! {
                event = timeout(ANSWER_TIMEOUT, pods.next()) => event,
                _ = ctrl_c() => return Err(Interrupted.into()),
            };
            let Ok(Some(event)) = event else {
                return Err(self.silent("list pods"));
            };
            let is_complete = matches!(event, WatchEvent::Complete);
            match &event {
                WatchEvent::Disconnected { .. } => {
                    attempts += 1;
                    if listed == 0 || attempts == LIST_ATTEMPTS {
                        return Err(self.failed(&problem.text()));
                    }
                }
                WatchEvent::Listed(_) => {
                    listed += 1;
                    if listed % PODS_PER_PROGRESS == 0 {
                        progress.show(&format!("{listed} Pods listed"));
                    }
                }
                _ => {}
            }
            evaluation.apply(event, self.now());
            if is_complete {
                break;
            }
        }
        evaluation.undecodable = undecodable("Pod", &problem.undecodable());
        if let Some(text) = left_out(&evaluation.undecodable) {
            progress.clear();
            note(&text);
        }
        let Some(watch) = watch else { return Ok(()) };
        let end = Instant::now() + watch;
        loop {
            let left = end.saturating_duration_since(Instant::now()).as_secs();
            progress.show(&format!("watching for {left} s more; Ctrl-C ends earlier"));
            let next_line = Instant::now() + Duration::from_secs(1);
            select! {
                event = pods.next() => match event {
                    Some(event) => evaluation.apply(event, self.now()),
                    None => break,
                },
                () = sleep_until(end) => break,
                () = sleep_until(next_line) => {}
                _ = ctrl_c() => break,
            }
        }
        evaluation.pass_time(self.now());
        Ok(())
    }

    /// Waits for an answer of the API server.
    pub async fn answer<T>(&self, request: impl Future<Output = T>) -> Result<T, Failure> {
        select! {
            answer = timeout(ANSWER_TIMEOUT, request) => answer.map_err(|_elapsed| self.silent("get an answer")),
            _ = ctrl_c() => Err(Interrupted.into()),
        }
    }

    /// Returns what was listed, or `None` if it does not exist or the caller may not read it.
    fn readable<T>(&self, list: Result<T, ListError>, notes: &mut Vec<String>) -> Result<Option<T>, Failure> {
        match list {
            Ok(list) => Ok(Some(list)),
            Err(ListError {
                reason: Reason::NotFound | Reason::Forbidden,
                message,
            }) => {
                notes.push(message);
                Ok(None)
            }
            Err(error) => Err(self.failed(&error.message)),
        }
    }

    /// Returns an error that names the API server.
    pub fn failed(&self, problem: &str) -> Failure {
        format!(
            "{problem} (API server {}; --kubeconfig and --context choose another one)",
            self.server
        )
        .into()
    }

    /// Returns the error after [`ANSWER_TIMEOUT`] without an answer.
    pub fn silent(&self, action: &str) -> Failure {
        let seconds = ANSWER_TIMEOUT.as_secs();
        self.failed(&format!("cannot {action}: no answer within {seconds} s"))
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
