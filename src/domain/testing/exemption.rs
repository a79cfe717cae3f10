//! Exemptions of the namespace `pay`.

use crate::domain::exemption::{ExemptedPods, Exemption, ExemptionKey, ExemptionUpdate, Shown};

use super::{at, one_of};

/// The key of an exemption.
pub(crate) fn exemption_key(name: &str) -> ExemptionKey {
    ExemptionKey {
        namespace: "pay".into(),
        name: name.into(),
    }
}

/// An exemption of the Pods with `app: web` until second 1000, created at second 0.
pub(crate) fn exemption(name: &str) -> ExemptionUpdate {
    edited_exemption(name, |_| ())
}

/// The same with another spec.
pub(crate) fn edited_exemption(name: &str, edit: impl FnOnce(&mut Exemption)) -> ExemptionUpdate {
    let mut spec = Exemption {
        pods: ExemptedPods::Selected(one_of("app", "web")),
        containers: Vec::new(),
        checks: Vec::new(),
        reason: "vendor".into(),
        until: at(1000),
    };
    edit(&mut spec);
    ExemptionUpdate {
        key: exemption_key(name),
        uid: format!("uid-{name}").into(),
        created: at(0),
        generation: 1,
        spec: Ok(spec),
        shown: Shown::default(),
        hid: None,
    }
}
