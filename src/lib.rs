//! Sidewatch: says when a sidecar lets its Pod down.
//!
//! ```text
//!            API server: list, watch                   API server: create, patch, apply
//!                      │                                              ▲
//!   client    two clients, the pulse of each watch                    │
//!   watch     lists, watches, waits, holds, resumes        sink   events · status
//!   inputs    objects → values, by `wire`                             ▲
//!                      │  Input                                       │  Effects
//!                      ▼                                              │
//!   reconciler         one task: facts, deadlines, stop  ─────────────┘
//!                      │  apply · delete · resync · tick(now)
//!                      ▼
//!   domain             PURE: roles → checks → state machine → index
//!                      ▲
//!                      └── metrics, at scrape ──┐
//!   health             state of each watch ─────┴── server   /metrics · /livez · /readyz
//! ```
//!
//! Imports go one way: `domain` and `api` know nobody; `wire` makes the one of the other; `sink` and `metrics` know the
//! domain but not the reconciler; [`operator`] puts everything together, and `main` runs it. `now` comes from
//! [`clock`] alone.

pub mod api;
pub mod clock;
pub mod commands;
pub mod domain;
pub mod http;
pub mod kubernetes;
pub mod operator;
pub mod sink;
pub mod telemetry;
