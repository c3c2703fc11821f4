//! CSV files of a directory: how much is in them, and what.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::{fixture::serial_in, serials::Serials};

const BLOCK: usize = 1 << 20;

/// The CSV files, oldest name first. A directory that is not there yet holds none.
fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "csv"))
        .collect();
    files.sort();
    files
}

/// Bytes in all files.
pub(crate) fn size(directory: &Path) -> u64 {
    let sizes = list(directory)
        .into_iter()
        .map(|path| path.metadata().map_or(0, |data| data.len()));
    sizes.sum()
}

/// Rows in all files.
///
/// # Errors
/// A file does not begin with the header, or does not end with a whole row.
pub(crate) fn count_rows(directory: &Path) -> anyhow::Result<u64> {
    let mut rows = 0;
    for path in list(directory) {
        rows += count_in(&path).with_context(|| path.display().to_string())?;
    }
    Ok(rows)
}

fn count_in(path: &Path) -> anyhow::Result<u64> {
    let mut file = BufReader::with_capacity(BLOCK, File::open(path)?);
    let mut header = vec![0; analytics::csv::HEADER.len()];
    file.read_exact(&mut header)?;
    if header != *analytics::csv::HEADER {
        bail!("the file does not begin with the header");
    }
    let (mut rows, mut last) = (0, b'\n');
    loop {
        let block = file.fill_buf()?;
        let Some(&end) = block.last() else { break };
        rows += block.iter().filter(|&&byte| byte == b'\n').count() as u64;
        last = end;
        let used = block.len();
        file.consume(used);
    }
    if last != b'\n' {
        bail!("the file ends within a row");
    }
    Ok(rows)
}

/// Notes the serial number of every row; returns how many rows have none (headers aside).
pub(crate) fn note_serials(directory: &Path, serials: &mut Serials) -> anyhow::Result<u64> {
    let mut strange = 0;
    for path in list(directory) {
        let mut file = BufReader::with_capacity(BLOCK, File::open(&path)?);
        let (mut line, mut first) = (Vec::new(), true);
        while file.read_until(b'\n', &mut line)? > 0 {
            match serial_in(&line) {
                Some(serial) if line.ends_with(b"\n") => serials.note(serial),
                _ if first && line == *analytics::csv::HEADER => {}
                _ => strange += 1,
            }
            line.clear();
            first = false;
        }
    }
    Ok(strange)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(rows: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let header = String::from_utf8(analytics::csv::HEADER.clone()).unwrap();
        fs::write(directory.path().join("a.csv"), header + rows).unwrap();
        fs::write(directory.path().join("other.txt"), "not a row\n").unwrap();
        directory
    }

    #[test]
    fn rows_are_counted_without_headers_and_other_files() {
        let directory = directory("GET,h,/serial/1\nGET,h,/serial/2\n");
        assert_eq!(count_rows(directory.path()).unwrap(), 2);
    }

    #[test]
    fn half_a_row_is_an_error() {
        assert!(count_rows(directory("GET,h,/serial/1\nGET,h,/ser").path()).is_err());
    }

    #[test]
    fn rows_without_a_whole_serial_number_are_strange() {
        let directory = directory("GET,h,/serial/1\nMethod,Host\nGET,h,/serial/3\nGET,h,/serial/4");
        let mut serials = Serials::new(5);
        assert_eq!(note_serials(directory.path(), &mut serials).unwrap(), 2);
        assert_eq!(serials.seen(), 2);
    }
}
