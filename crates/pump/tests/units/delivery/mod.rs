//! Delivery without sockets: a source in memory, back-ends that misbehave on purpose, and a clock that jumps.

mod back_end;
mod budgets;
mod exhaustive;
mod failures;
mod faults;
mod holding;
mod partial;
mod process;
mod refusals;
mod reload;
mod replay;
mod simulation;
mod slow_disk;
mod world;
