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
pub mod backoff;
pub mod cli;
pub mod client;
pub mod clock;
pub mod domain;
pub mod failure;
pub mod health;
pub mod inputs;
pub mod metrics;
pub mod operator;
pub mod reconciler;
pub mod server;
pub mod sink;
pub mod telemetry;
pub mod watch;
pub mod wire;
