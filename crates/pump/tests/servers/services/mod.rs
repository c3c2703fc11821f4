//! The log, search and analytics services, each with everything that can be wrong with it: the pump says what is wrong, and
//! nothing is lost. And what becomes of documents in real servers.
//!
//! `PUMP_TEST_OUTAGE=60` keeps everything broken for 60 seconds instead of three.

mod documents;
mod echo;
mod endpoint;
mod faults;
mod kinds;
mod proxy;
pub(crate) mod records;
