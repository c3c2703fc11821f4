//! Delivery without sockets: a source in memory, back-ends that misbehave on purpose, and a clock that jumps.

mod back_end;
mod budgets;
mod exhaustive;
mod failures;
mod process;
mod refusals;
mod simulation;
mod world;
