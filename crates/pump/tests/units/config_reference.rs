//! The reference page and the schema are those of the program.

use tyk_pump::config::reference;

/// With `UPDATE=1` the file is written instead.
#[track_caller]
fn assert_fresh(file: &str, content: &str) {
    let path = format!("{}/../../docs/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        assert!(std::fs::write(&path, content).is_ok(), "docs/{file} cannot be written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == content,
        "docs/{file} is stale: run `UPDATE=1 cargo test -p tyk-pump --test units config_reference`"
    );
}

#[test]
fn the_reference_page_is_fresh() {
    assert_fresh("configuration.md", &reference::page());
}

#[test]
fn the_schema_is_fresh() {
    assert_fresh("pump.schema.json", &format!("{:#}\n", reference::json_schema()));
}
