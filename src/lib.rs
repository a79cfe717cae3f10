//! Sidewatch.
