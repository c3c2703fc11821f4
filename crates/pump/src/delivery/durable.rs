//! Files that survive a crash: written beside, synced, renamed, and the folder synced.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

pub use sinks::durable::sync_folder;

/// Replaces the content of `path` (or makes it) such that a crash leaves the old or the new content, never a mixture.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let beside = folder.join(name);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    crate::failpoints::hit(crate::failpoints::SPOOL_BEFORE_RENAME);
    fs::rename(&beside, path)?;
    sync_folder(folder)
}

/// A name that is safe as a file name: everything but letters, digits, `-` and `_` becomes `%XX`.
pub fn escape(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(byte as char),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Reverses [`escape`].
pub fn unescape(escaped: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = escaped.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .map(|hex| u8::from_str_radix(hex, 16));
        match (first, code) {
            (b'%', Some(Ok(byte))) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_pump_name_is_a_file_name_and_comes_back() {
        for name in ["CSV", "../x", "STRAßE", "a%41", "", "!undecodable"] {
            let escaped = escape(name);
            assert!(!escaped.contains(['/', '.']), "{escaped}");
            assert_eq!(unescape(&escaped), name);
        }
    }

    #[test]
    fn a_replaced_file_has_the_new_content_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.json");
        replace(&path, b"1").unwrap();
        replace(&path, b"22").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"22");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
