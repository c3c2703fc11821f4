//! Real servers that tests share. `scripts/services.sh` starts them and says where they are, in `PUMP_TEST_*` variables.

use std::io::Write;

/// Where the server `name` listens ("postgres": the value of `PUMP_TEST_POSTGRES`). `None`: it was not started, and the
/// test that asks is reported as skipped by name. Every test makes databases, tables and indexes of its own there.
pub fn address(name: &str) -> Option<String> {
    let variable = format!("PUMP_TEST_{}", name.to_uppercase().replace('-', "_"));
    if let Ok(address) = std::env::var(&variable) {
        return Some(address);
    }
    skip(&format!(
        "{variable} is not set; run: eval \"$(scripts/services.sh start)\""
    ));
    None
}

/// Reports the running test as skipped, past the capture of the test harness: it must not look like one that has passed.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "SKIP {test}: {reason}");
}
