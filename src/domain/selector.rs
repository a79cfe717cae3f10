//! Label selectors with the meaning of `metav1.LabelSelector`.

use super::observation::Labels;

/// A label selector. All requirements must hold; a selector without requirements matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: Box<str>,
    /// The condition on its value.
    pub operator: Operator,
}

/// The condition of a requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label has one of these values.
    In(Vec<Box<str>>),
    /// The label does not exist or has none of these values.
    NotIn(Vec<Box<str>>),
    /// The label exists.
    Exists,
    /// The label does not exist.
    DoesNotExist,
}

impl Selector {
    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            let is_one_of = |values: &[Box<str>]| value.is_some_and(|v| values.iter().any(|x| **x == *v));
            match &requirement.operator {
                Operator::In(values) => is_one_of(values),
                Operator::NotIn(values) => !is_one_of(values),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }

    /// Whether the selector has no requirements.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Requirement> for Selector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        Self(requirements.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let labels: Labels = [("app", "web"), ("tier", "")].into_iter().collect();
        let values = |list: &[&str]| list.iter().map(|v| Box::from(*v)).collect::<Vec<Box<str>>>();
        #[rustfmt::skip]
        let table = [
            ("app", Operator::In(values(&["db", "web"])), true, "one of the values"),
            ("app", Operator::In(values(&["db"])), false, "none of the values"),
            ("zone", Operator::In(values(&["a"])), false, "In needs the label"),
            ("app", Operator::NotIn(values(&["db"])), true, "another value"),
            ("app", Operator::NotIn(values(&["web"])), false, "an excluded value"),
            ("zone", Operator::NotIn(values(&["a"])), true, "NotIn accepts a missing label"),
            ("tier", Operator::Exists, true, "an empty value is a value"),
            ("zone", Operator::Exists, false, "a missing label does not exist"),
            ("zone", Operator::DoesNotExist, true, "a missing label"),
            ("app", Operator::DoesNotExist, false, "a present label"),
        ];
        for (key, operator, expected, why) in table {
            let requirement = Requirement {
                key: key.into(),
                operator,
            };
            assert_eq!(
                Selector::from_iter([requirement]).matches(&labels),
                expected,
                "{why}"
            );
        }
        assert!(
            Selector::default().matches(&labels),
            "an empty selector matches everything"
        );
        let both = ["app", "zone"].map(|key| Requirement {
            key: key.into(),
            operator: Operator::Exists,
        });
        assert!(
            !Selector::from_iter(both).matches(&labels),
            "every requirement must hold"
        );
    }
}
