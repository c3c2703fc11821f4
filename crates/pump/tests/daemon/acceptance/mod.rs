//! What operators meet: damaged records, gateways of two generations, directories that fail, a way back.

mod log;
mod operations;
mod outages;
mod pipes;
mod records;
mod search;
mod states;

use crate::support::Server;

/// Pushes elements to a list, in order.
fn push(redis: &Server, key: &str, elements: &[Vec<u8>]) {
    let mut client = redis.client(0, "");
    for part in elements.chunks(500) {
        let mut pipe = redis::pipe();
        for element in part {
            pipe.cmd("RPUSH").arg(key).arg(element).ignore();
        }
        let () = pipe.query(&mut client).unwrap();
    }
}
