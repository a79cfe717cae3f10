//! The entries of a history, whose number is limited for each namespace.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::{ContainerHistory, History};

/// The entries of the history of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The time of the oldest entry.
    pub oldest: Timestamp,
    /// The number of entries: flaps, and updates with restarts.
    pub count: usize,
}

impl History {
    /// The entries of all containers; `None` if there are none.
    pub fn extent(&self) -> Option<Extent> {
        let oldest = self
            .containers
            .iter()
            .filter_map(ContainerHistory::oldest)
            .min()?;
        let count = self
            .containers
            .iter()
            .map(|known| known.restarts.len() + known.flaps.len())
            .sum();
        Some(Extent { oldest, count })
    }

    /// Removes the oldest entry, and the memory that is no longer needed.
    pub fn drop_oldest(&mut self) {
        let with_entries = self
            .containers
            .iter_mut()
            .filter(|known| known.oldest().is_some());
        if let Some(container) = with_entries.min_by_key(|known| known.oldest()) {
            container.drop_oldest();
        }
    }
}

impl ContainerHistory {
    fn oldest(&self) -> Option<Timestamp> {
        let restart = self.restarts.front().map(|restart| restart.at);
        let flap = self.flaps.front().map(|flap| flap.at);
        restart.into_iter().chain(flap).min()
    }

    fn drop_oldest(&mut self) {
        let oldest = self.oldest();
        if self.restarts.front().map(|restart| restart.at) == oldest {
            pop(&mut self.restarts);
        } else {
            pop(&mut self.flaps);
        }
    }
}

/// Removes the first entry. Most of the capacity stays in use, so that the number of entries limits the memory.
fn pop<T>(entries: &mut VecDeque<T>) {
    entries.pop_front();
    if 4 * entries.len() <= entries.capacity() {
        entries.shrink_to(2 * entries.len());
    }
}
