//! The events of a watch, and the selection of its objects.

use jiff::Timestamp;

use super::decode::object::{Decoded, Object, Undecodable};

/// An event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<T> {
    /// A list begins. Known objects that the list does not contain are deleted when the list is complete.
    Restarted {
        /// When the watch was last in sync; `Timestamp::MIN` before the first list.
        last_synced: Timestamp,
    },
    /// An object of the list.
    Listed(T),
    /// The list is complete.
    Complete,
    /// An object was added or changed.
    Applied(T),
    /// An object was deleted, or no longer matches the field selector. This is its last version.
    Deleted(T),
    /// The watch is broken. The known objects may be out of date.
    Disconnected {
        /// When the watch was last in sync.
        last_synced: Timestamp,
    },
    /// A broken watch resumed without a list and has caught up.
    Resumed,
}

impl<T> WatchEvent<T> {
    /// Maps the object of the event.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> WatchEvent<U> {
        let mapped: Result<_, std::convert::Infallible> = self.try_map(|object| Ok(f(object)));
        match mapped {
            Ok(event) => event,
        }
    }

    /// Maps the object of the event, or returns the mapping error.
    pub fn try_map<U, E>(self, f: impl FnOnce(T) -> Result<U, E>) -> Result<WatchEvent<U>, E> {
        Ok(match self {
            Self::Restarted { last_synced } => WatchEvent::Restarted { last_synced },
            Self::Listed(object) => WatchEvent::Listed(f(object)?),
            Self::Complete => WatchEvent::Complete,
            Self::Applied(object) => WatchEvent::Applied(f(object)?),
            Self::Deleted(object) => WatchEvent::Deleted(f(object)?),
            Self::Disconnected { last_synced } => WatchEvent::Disconnected { last_synced },
            Self::Resumed => WatchEvent::Resumed,
        })
    }
}

impl<T: Object> WatchEvent<Decoded<T>> {
    /// Returns the event for a consumer that needs decoded objects, and the object that cannot be decoded. A known object that
    /// cannot be decoded any more is deleted, or delivered with its identity ([`Object::IS_DELIVERED`]).
    pub fn readable(self) -> (Option<WatchEvent<T>>, Option<Undecodable>) {
        let mut undecodable = None;
        let is_deleted = matches!(self, Self::Deleted(_));
        let is_listed = matches!(self, Self::Listed(_));
        let event = self.try_map(|object| {
            object.map_err(|error| {
                let bare = error.has_identity().then(|| T::of_undecodable(&error));
                undecodable = Some(*error);
                bare
            })
        });
        let event = match event {
            Ok(event) => Some(event),
            Err(Some(bare)) if is_deleted => Some(WatchEvent::Deleted(bare)),
            Err(Some(bare)) if T::IS_DELIVERED && is_listed => Some(WatchEvent::Listed(bare)),
            Err(Some(bare)) if T::IS_DELIVERED => Some(WatchEvent::Applied(bare)),
            // What a list does not contain is deleted at its end.
            Err(_) if is_listed => None,
            Err(bare) => bare.map(WatchEvent::Deleted),
        };
        (event, undecodable)
    }
}

/// The objects to watch. An empty selector selects all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selectors<'a> {
    /// A field selector.
    pub fields: &'a str,
    /// A label selector.
    pub labels: &'a str,
}

impl Selectors<'_> {
    /// Returns the field selector and the label selector; `None` for an empty one.
    pub(super) fn options(self) -> (Option<String>, Option<String>) {
        let option = |selector: &str| (!selector.is_empty()).then(|| selector.to_owned());
        (option(self.fields), option(self.labels))
    }
}
