//! Whatever a client sends is a command within the limits, or a violation; and it does not matter how it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::server::gate::{Gate, Step};

const MOST: usize = 1 << 16;

/// Commands and what ends them, when bytes come in parts of this size.
fn read(input: &[u8], part: usize, stranger: bool) -> Vec<Vec<Vec<u8>>> {
    let (mut gate, mut from, mut end) = (Gate::default(), 0, 0);
    let mut commands = Vec::new();
    loop {
        match gate.look(&input[from..end], MOST, stranger) {
            Step::More if end == input.len() => return commands,
            Step::More => end = (end + part).min(input.len()),
            Step::Nothing(len) => from += len,
            Step::Violation(text) => {
                assert!(text.starts_with("ERR "));
                return commands;
            }
            Step::Command(len) => {
                let whole = &input[from..from + len];
                assert!(len <= MOST || whole[0] != b'*');
                let part = |(from, to): &(u32, u32)| whole[*from as usize..*to as usize].to_vec();
                commands.push(gate.arguments().iter().map(part).collect());
                from += len;
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    for stranger in [false, true] {
        let whole = read(input, input.len().max(1), stranger);
        assert_eq!(read(input, 1, stranger), whole);
        assert_eq!(read(input, 7, stranger), whole);
    }
});
