//! Tests of the evaluation through the index: roles, checks, the state machine, and their effects. Each test verifies
//! one rule of the design.

mod adopted_pod;
mod adoption;
mod after_gap;
mod edits;
mod evaluated;
mod event_names;
mod events;
mod frequent_restarts;
mod held;
mod histories;
mod initial;
mod instants;
mod jobs;
mod lagging;
mod listed_violations;
mod machine;
mod not_ready;
mod notes;
mod policy_limits;
mod relists;
mod report;
mod restart_series;
mod restarts;
mod roles;
mod rollouts;
mod runs;
mod series;
mod shared_faults;
mod startup_blocked;
mod startup_hooks;
mod startups;
mod steps;
mod views;
mod watches;
mod well_known;
