//! What the design says of roles, of reading a Pod, of the checks, the state machine and what comes of them: a test for
//! each sentence.

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
mod machine;
mod not_ready;
mod notes;
mod relists;
mod report;
mod restart_series;
mod restarts;
mod roles;
mod runs;
mod startup_blocked;
mod views;
mod watches;
mod well_known;
