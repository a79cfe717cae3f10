//! Effect of each [`Step`] on the containers and the sandbox, and when it is impossible. [`PodState::apply`] then updates phase
//! and conditions.

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;

use super::container::{ContainerState, Run};
use super::spec::Kind;
use super::state::PodState;
use super::status::{self, Sandbox, Verdict};
use super::step::Step;

impl PodState {
    pub(super) fn take(&mut self, step: Step<'_>, now: Timestamp) -> Result<()> {
        if step == Step::Admit {
            ensure!(self.admitted.is_none(), "it was admitted before");
            self.admitted = Some(now);
            if self
                .containers
                .iter()
                .any(|container| container.spec.restarts_all_on.is_some())
            {
                self.set_restarting(Verdict::of(false), now);
            }
            return Ok(());
        }
        ensure!(self.admitted.is_some(), "no kubelet has admitted it");
        ensure!(!self.ended && !self.phase.is_last(), "it has ended");
        ensure!(!self.node_lost || step == Step::NodeBack, "its node is lost");
        match step {
            Step::Admit => {}
            Step::SandboxReady => self.sandbox_ready(now)?,
            Step::Start(name) => self.start(name, now)?,
            Step::StartFails(name) => {
                self.may_start(name)?;
                let container = self.get(name)?;
                container.start_fails(now);
                let regular = container.is(Kind::Regular);
                self.begun |= regular;
                self.has_address = true;
            }
            Step::Started(name) => {
                let container = self.running(name)?;
                ensure!(!container.started, "it has started");
                container.started = true;
                container.ready = !container.spec.readiness && !container.is(Kind::Init);
            }
            Step::Ready(name) => {
                let container = self.running(name)?;
                ensure!(container.started && container.spec.readiness, "no readiness probe runs");
                container.ready = true;
            }
            Step::Unready(name) => {
                let container = self.running(name)?;
                ensure!(container.spec.readiness, "it has no readiness probe");
                container.ready = false;
            }
            Step::Exit(name, code) => self.exits(name)?.exit(code, reason(code), now),
            Step::OomKill(name) => self.exits(name)?.exit(137, "OOMKilled", now),
            Step::BackOff(name) => self.back_off(name, 0)?,
            Step::ProbeKill(name, code) => {
                self.probe_kill(name, code, now)?;
                self.may_start(name)?;
                self.get(name)?.start(now);
            }
            Step::ProbeKillIntoBackOff(name, code) => {
                self.probe_kill(name, code, now)?;
                if !self.get(name)?.hides_back_off() {
                    // The kubelet measures from the exit before, so the back-off is one doubling shorter.
                    self.back_off(name, 1)?;
                }
            }
            Step::ImagePullFails(name) => self.image(name, "ErrImagePull", |image| {
                format!("failed to pull and unpack image {image:?}: connection refused")
            })?,
            Step::ImagePullBackOff(name) => self.image(name, "ImagePullBackOff", |image| {
                format!("Back-off pulling image {image:?}: ErrImagePull: failed to pull and unpack image {image:?}: connection refused")
            })?,
            Step::ImageNeverPull(name) => self.image(name, "ErrImageNeverPull", |image| {
                format!("Container image {image:?} is not present with pull policy of Never")
            })?,
            Step::StopSidecars(code) => self.stop_sidecars(code, now)?,
            Step::Settle => {
                let phase = status::phase(&self.containers, self.begun, self.ended);
                ensure!(phase.is_last(), "its containers have not finished");
                self.phase = phase;
            }
            Step::NodeLost => self.node_lost = true,
            Step::NodeBack => {
                ensure!(self.node_lost, "its node is not lost");
                self.node_lost = false;
                for container in &mut self.containers {
                    container.ready &= !container.spec.readiness;
                }
            }
            Step::SandboxLost => {
                ensure!(self.sandbox == Sandbox::Ready, "it has no sandbox");
                self.sandbox = Sandbox::Gone;
            }
            Step::RestartAll(name) => {
                let container = self.exits(name)?;
                let code = container.spec.restarts_all_on.context("it has no rule that restarts all")?;
                container.exit(code, reason(code), now);
                let verdict =
                    Verdict::because(true, "RestartAllContainersStarted", "container exited with restart policy rule");
                self.set_restarting(verdict, now);
            }
            Step::AllRemoved => self.all_removed(now)?,
            Step::End(codes) => self.end(codes, now)?,
        }
        Ok(())
    }

    fn sandbox_ready(&mut self, now: Timestamp) -> Result<()> {
        match self.sandbox {
            Sandbox::None => {}
            Sandbox::Ready => bail!("its sandbox is ready"),
            // Containers of the old sandbox are reported as running until they start again.
            Sandbox::Gone => {
                for container in self.containers.iter_mut().filter(|container| container.running()) {
                    container.lost = Some(now);
                }
            }
        }
        self.sandbox = Sandbox::Ready;
        self.addresses += 1;
        Ok(())
    }

    fn start(&mut self, name: &str, now: Timestamp) -> Result<()> {
        if self.get(name)?.lost.is_some() {
            self.end_lost(name);
        }
        self.may_start(name)?;
        // After a removal of all containers, the others are waiting like new ones.
        for container in &mut self.containers {
            if matches!(container.run, Run::NotCreated)
                && container
                    .waiting
                    .as_ref()
                    .is_some_and(|w| w.reason == "RestartingAllContainers")
            {
                container.waiting = None;
            }
        }
        let container = self.get(name)?;
        container.start(now);
        let purged = container.lost.take().is_some() && !container.is(Kind::Regular);
        if purged {
            // For init containers, only the restart count survives the old sandbox.
            container.previous = None;
        }
        let regular = container.is(Kind::Regular);
        self.begun |= regular;
        self.has_address = true;
        Ok(())
    }

    /// At the first start in a new sandbox, regular containers of the old one and the one to start are reported as exited.
    fn end_lost(&mut self, name: &str) {
        for container in &mut self.containers {
            if let Some(since) = container.lost
                && (container.is(Kind::Regular) || container.spec.name == name)
            {
                container.exit(0, reason(0), since);
                if container.spec.name != name {
                    container.lost = None;
                }
            }
        }
    }

    fn may_start(&mut self, name: &str) -> Result<()> {
        ensure!(self.sandbox == Sandbox::Ready, "it has no sandbox");
        ensure!(!self.deleted, "it is being deleted");
        let begun = self.begun;
        for container in self
            .containers
            .iter()
            .take_while(|container| container.spec.name != name)
        {
            // After a regular container has run, init containers do not block.
            let waits = !container.lets_the_next_start() && !begun;
            ensure!(!waits, "{} comes first", container.spec.name);
        }
        let container = self.get(name)?;
        ensure!(!container.running(), "{name} runs");
        ensure!(!container.finished(), "{name} has finished for good");
        Ok(())
    }

    fn probe_kill(&mut self, name: &str, code: i32, now: Timestamp) -> Result<()> {
        let container = self.exits(name)?;
        ensure!(
            container.spec.liveness || container.spec.startup,
            "it has no probe that kills"
        );
        container.exit(code, reason(code), now);
        Ok(())
    }

    fn back_off(&mut self, name: &str, behind: i32) -> Result<()> {
        let (pod, namespace, uid) = (self.name.clone(), self.namespace.clone(), self.uid.clone());
        let container = self.get(name)?;
        ensure!(container.restartable(), "{name} is not waiting for a restart");
        ensure!(
            !container.hides_back_off(),
            "a native sidecar that exited 0 is shown as completed"
        );
        let wait = back_off(container.restarts - behind);
        let message =
            format!("back-off {wait} restarting failed container={name} pod={pod}_{namespace}({uid})");
        container.wait("CrashLoopBackOff", message);
        Ok(())
    }

    fn image(&mut self, name: &str, reason: &'static str, message: impl Fn(&str) -> String) -> Result<()> {
        self.may_start(name)?;
        self.has_address = true;
        let container = self.get(name)?;
        let message = message(&container.spec.image);
        container.wait(reason, message);
        Ok(())
    }

    fn stop_sidecars(&mut self, code: i32, now: Timestamp) -> Result<()> {
        let regular = self
            .containers
            .iter()
            .filter(|container| container.is(Kind::Regular));
        ensure!(
            regular.clone().all(ContainerState::finished),
            "a regular container has not finished"
        );
        for container in self.containers.iter_mut().filter(|container| container.running()) {
            container.exit(code, reason(code), now);
        }
        Ok(())
    }

    fn all_removed(&mut self, now: Timestamp) -> Result<()> {
        let restarting = self
            .conditions
            .iter()
            .any(|c| c.kind == "AllContainersRestarting" && c.verdict.status);
        ensure!(restarting, "no container has a rule that restarts all");
        for container in &mut self.containers {
            container.remove();
        }
        self.set_restarting(Verdict::of(false), now);
        Ok(())
    }

    fn end(&mut self, codes: &[(&str, i32)], now: Timestamp) -> Result<()> {
        ensure!(self.deleted, "it is not being deleted");
        for (name, _) in codes {
            self.running(name)?;
        }
        for container in &mut self.containers {
            let code = codes
                .iter()
                .find(|(name, _)| *name == container.spec.name)
                .map_or(0, |(_, code)| *code);
            if container.running() {
                container.exit(code, reason(code), now);
            }
            if container.exit_code().is_some() {
                container.waiting = None;
            }
        }
        self.ended = true;
        self.sandbox = Sandbox::Gone;
        self.phase = status::phase(&self.containers, self.begun, true);
        Ok(())
    }

    fn get(&mut self, name: &str) -> Result<&mut ContainerState> {
        let found = self
            .containers
            .iter_mut()
            .find(|container| container.spec.name == name);
        found.with_context(|| format!("it has no container {name}"))
    }

    fn running(&mut self, name: &str) -> Result<&mut ContainerState> {
        let container = self.get(name)?;
        ensure!(container.running(), "{name} does not run");
        Ok(container)
    }

    /// Sets the only condition of the kubelet without an `observedGeneration`.
    fn set_restarting(&mut self, verdict: Verdict, now: Timestamp) {
        status::set(
            &mut self.conditions,
            "AllContainersRestarting",
            verdict,
            None,
            now,
        );
    }

    /// A running container whose exit is reported separately.
    fn exits(&mut self, name: &str) -> Result<&mut ContainerState> {
        ensure!(
            !self.deleted,
            "exits during termination are not reported one by one: use Step::End"
        );
        self.running(name)
    }
}

fn reason(code: i32) -> &'static str {
    if code == 0 { "Completed" } else { "Error" }
}

/// 10 s, doubled with each restart up to five minutes, in the format of Go.
fn back_off(restarts: i32) -> String {
    let doublings = u32::try_from(restarts - 1).unwrap_or(0).min(5);
    let seconds = (10 << doublings).min(300);
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / 60, seconds % 60)
    }
}
