//! Read access to the Pods of the index, with the policies that select them.

use super::Index;
use crate::domain::{
    observation::Observation,
    policy::{Policy, PolicyKey},
    roles::Roles,
};

/// A Pod and the policies that select it.
#[derive(Clone, Debug)]
pub struct MatchedPod<'a> {
    /// The Pod.
    pub pod: &'a Observation,
    /// The policies, each with its spec and the roles that it assigns.
    pub policies: Vec<(&'a PolicyKey, &'a Policy, &'a Roles)>,
}

impl Index {
    /// All Pods, in the order of their arrival.
    pub fn matched_pods(&self) -> impl Iterator<Item = MatchedPod<'_>> {
        self.pods.values().map(|pod| {
            let policies = pod.matches.iter().filter_map(|matched| {
                let entry = self.policies.get(&matched.version.policy)?;
                Some((&entry.key, &matched.version.spec, &*matched.roles))
            });
            MatchedPod {
                pod: &pod.observation,
                policies: policies.collect(),
            }
        })
    }
}
