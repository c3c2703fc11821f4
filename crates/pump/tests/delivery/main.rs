//! Delivery without sockets: a source in memory, back-ends that misbehave on purpose, and a clock that jumps.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod back_end;
mod budgets;
mod exhaustive;
mod failures;
mod process;
mod refusals;
mod simulation;
mod world;
