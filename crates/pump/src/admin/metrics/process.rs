//! What the operating system says about this process.

use sinks::process::figures;

use super::Page;

/// Adds what is known.
pub(super) fn render(page: &mut Page) {
    for figure in figures() {
        page.head_of(figure.name, figure.kind, figure.help);
        page.line(format_args!("{} {}", figure.name, figure.value));
    }
}
