//! The back-ends, one module for each that works like no other.

pub mod aws;
pub mod csv;
pub mod datagrams;
pub mod dummy;
pub mod elasticsearch;
pub mod hybrid;
pub mod influx;
pub mod kafka;
pub mod mariadb;
pub mod mongo;
pub mod prometheus;
pub mod saas;
pub mod splunk;
pub mod sql;
pub mod sqlite;
pub mod stdout;
pub mod wire;
