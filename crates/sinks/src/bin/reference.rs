//! Writes the reference pages of all pumps: `cargo run -p sinks --bin reference -- docs/sinks`.

use std::{env, fs, path::PathBuf};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let folder = env::args_os().nth(1).context("usage: reference FOLDER")?;
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, page) in sinks::options::pages() {
        let path = folder.join(name);
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
