//! The reference page and the JSON schema of everything outside the sinks' own options.
