//! A simulated kubelet: writes the Pod statuses of a real kubelet, on command and without delays.
//!
//! ```text
//! PodSpec ──create──▶ SimulatedPod ──Step──▶ PodState::apply (pure) ──status──▶ PATCH pods/status
//! ```
//!
//! It also binds, deletes and evicts Pods. [`PodState`] does no I/O and rejects steps that a kubelet never takes, such as a
//! main container that starts before its native sidecar, or a back-off after exit 0 of a native sidecar. It is checked with
//! recordings of a real kubelet (`tests/traces`).
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use e2e::simulated_kubelet::{Container, SimulatedKubelet, PodSpec, Step};
//!
//! let plane = e2e::shared().await?;
//! let namespace = plane.namespace("example").await?;
//! let kubelet = SimulatedKubelet::new(plane.client().await?);
//! let spec = PodSpec::new("web")
//!     .container(Container::native("istio-proxy").readiness_probe())
//!     .container(Container::regular("app"));
//! let mut pod = kubelet.run(&namespace, spec).await?; // everything runs and is ready
//! pod.step(Step::Unready("istio-proxy")).await?;
//! pod.step(Step::Ready("istio-proxy")).await?;
//! pod.crash("istio-proxy", 1).await?; // exits 1 and is restarted at once
//! pod.crash("istio-proxy", 1).await?; // exits 1, CrashLoopBackOff
//! pod.step(Step::Start("istio-proxy")).await?;
//! pod.remove().await?;
//! # Ok(())
//! # }
//! ```
//!
//! It never acts without a step, and never sleeps.

mod container;
mod driver;
#[cfg(test)]
mod recorded;
mod spec;
mod state;
mod status;
mod step;
#[cfg(test)]
mod tests;
mod transitions;

pub use driver::{SimulatedKubelet, SimulatedPod};
pub use spec::{Container, Kind, PodSpec, RestartPolicy};
pub use state::PodState;
pub use step::Step;
