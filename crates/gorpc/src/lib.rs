//! Client and server of gorpc, the remote calls between Tyk's components and MDCB.
//!
//! A call has a name, at most one argument and at most one result. Many calls share a connection, and answers come in any
//! order. This crate knows nothing of Tyk: which functions there are is the business of its user.
//!
//! # On the wire
//!
//! ```text
//! client → server   "proto2"  length  pool id  flag     then   requests
//! server → client                                              responses
//! ```
//!
//! The **pool id** ([`Preamble`]) is the same on every connection of a [`Client`], so that a server may treat a login on
//! one of them as valid for all. The **flag** says whether both directions are compressed: raw DEFLATE, one stream a
//! direction for the connection's life, with a sync flush after each group of messages ([`deflate`]).
//!
//! Inside is a stream of [`gob`], the encoding of Go's standard library. A message has a length, and holds either the
//! definition of a type or a value that begins with its type's number. Definitions come before their first use, once a
//! direction and connection. Go defines a type in the middle of the value that needs it, and ends the message there; the
//! decoder understands this, the encoder sends all definitions first, unless it is told to write as Go does ([`Style`]).
//!
//! A request or response is an **envelope** with a number and an interface that holds the **dispatcher's** structure:
//!
//! ```text
//! wireRequest  {ID uint, Request  *gorpc.dispatcherRequest  {Request  any, Name  string}}
//! wireResponse {ID uint, Response *gorpc.dispatcherResponse {Response any, Error string}, Error string}
//! ```
//!
//! Numbers of calls count from 1 on each connection. 0 wants no answer. The inner `Error` is the function's, the outer one
//! the server's: its handler has crashed. Fields are matched by their names; those with zero values are left out.
//!
//! # What a caller learns from a failure
//!
//! A [`CallError`] tells whether the call may have reached the server: [`CallError::was_sent`]. A call that was not sent is
//! withdrawn when its caller stops waiting, and is never sent later.

mod client;
pub mod deflate;
pub mod gob;
mod incoming;
mod preamble;
mod rpc;
mod server;

pub use client::{Address, CallError, Client, ClientOptions, Tls};
pub use preamble::Preamble;
pub use rpc::{Outcome, Request, RequestWriter, Response, ResponseWriter, RpcError, Style};
pub use server::{Answer, Handler, IncomingCall, Server, ServerOptions};
