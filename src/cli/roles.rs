//! The names of roles in the output.

use crate::domain::roles::Role;

/// Returns the name of a role.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Sidecar => "sidecar",
        Role::Main => "main",
        Role::Init => "init",
        Role::Ignored => "ignored",
    }
}
