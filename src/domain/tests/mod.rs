//! What the design says of roles, of reading a Pod and of the checks, a test for each sentence.

mod adoption;
mod evaluated;
mod first_look;
mod frequent_restarts;
mod held;
mod instants;
mod jobs;
mod later_looks;
mod not_ready;
mod restart_series;
mod restarts;
mod roles;
mod runs;
mod startup_blocked;
