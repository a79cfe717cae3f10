//! What the design says of roles, of reading a Pod and of the checks, a test for each sentence.

mod adoption;
mod evaluated;
mod first_look;
mod held;
mod later_looks;
mod restart_series;
mod restarts;
mod roles;
mod runs;
