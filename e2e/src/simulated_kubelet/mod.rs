//! A fake kubelet: Pods whose statuses go the ways a real kubelet takes them, on command and without waiting.
//!
//! ```text
//! PodSpec ──create──▶ SimulatedPod ──Step──▶ PodState::apply (pure) ──status──▶ PATCH pods/status
//! ```
//!
//! Input: a [`PodSpec`] and [`Step`]s. Output: writes to `pods/status` (and the scheduler's binding, a user's deletion, an
//! eviction). The pure part, [`PodState`], refuses steps that no kubelet takes: a main container that starts before its
//! native sidecar has, a back-off shown after exit 0 of a native sidecar. It is checked against recordings of a real
//! kubelet (`tests/traces`).
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
//! Must not: decide by itself that something happens, or sleep.

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
