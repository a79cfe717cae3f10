//! The deadlines of Pods, workloads, images and exemptions: the times at which time alone changes a state.

use jiff::Timestamp;

use super::{
    Index,
    pods::{PodId, Selected},
};
use crate::domain::effects::Effects;

impl Index {
    /// The next time at which [`Self::tick`] has work to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let of_workloads = self.missing.queue.next_deadline();
        let of_images = self.image_states.queue.next_deadline();
        let of_pods = self.deadlines.first().map(|(at, _)| *at);
        let of_exemptions = self.exemptions.next_deadline();
        let others = of_workloads.into_iter().chain(of_images).chain(of_exemptions);
        others.chain(of_pods).min()
    }

    /// Evaluates the Pods, then the workloads and then the images, whose deadlines are not after `now`, in the order of the
    /// deadlines. Each is evaluated at the time of its deadline. Deadlines that are too many for one step stay for the next
    /// call.
    pub fn tick(&mut self, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let now = self.advance_time(now);
        let mut units = self.units_per_step;
        while units > 0
            && let Some((at, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now)
        {
            // An exemption ends before the Pods whose violations it hid are evaluated.
            self.end_exemptions(at, &mut effects);
            units = units.saturating_sub(self.reach_deadline(id, at, &mut effects));
        }
        while units > 0
            && let Some((at, key)) = self.missing.queue.take_due(now)
        {
            units -= 1;
            self.reach_workload_deadline(key, at, &mut effects);
        }
        while units > 0
            && let Some((at, key)) = self.image_states.queue.take_due(now)
        {
            units -= 1;
            self.reach_image_deadline(key, at, &mut effects);
        }
        if units > 0 {
            self.tick_exemptions(now, &mut effects);
        }
        effects
    }

    /// Evaluates the policies of a Pod whose deadline is not after `at`. Returns the number of units.
    fn reach_deadline(&mut self, pod: PodId, at: Timestamp, effects: &mut Effects) -> usize {
        self.deadlines.remove(&(at, pod));
        let Some(findings) = self.pods.get_mut(&pod).and_then(|entry| entry.findings.as_mut()) else {
            return 1;
        };
        findings.deadline = None;
        let due = findings.due(at);
        for policy in &due {
            self.reevaluate_live(pod, Selected::Only(*policy), at, effects);
        }
        self.update_deadline(pod);
        due.len() + 1
    }
}
