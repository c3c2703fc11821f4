//! Whatever a client sends is a command within the limits, or a violation; and it does not matter how it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tyk_pump::source::embedded::server::gate::{Gate, Step, arguments};

const MOST: usize = 1 << 16;

/// Commands and what ends them, when bytes come in parts of this size.
fn read(input: &[u8], part: usize, stranger: bool) -> Vec<Vec<Vec<u8>>> {
    let (mut gate, mut from, mut end) = (Gate::default(), 0, 0);
    let (mut commands, mut spans) = (Vec::new(), Vec::new());
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
                if arguments(whole, &mut spans).is_ok() {
                    commands.push(spans.iter().map(|(from, to)| whole[*from..*to].to_vec()).collect());
                }
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
