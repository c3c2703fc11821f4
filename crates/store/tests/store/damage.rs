//! What a store keeps when its process, its disk or its files fail it.

use std::{
    fs::OpenOptions,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use rand::{Rng, SeedableRng, rngs::StdRng};
use store::{Letter, LetterLimits, Recovered, Store};

use super::support::*;
use tempfile::TempDir;

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    found.sort();
    found
}

/// Bytes of a segment up to its last one that is not zero.
fn end_of(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

#[tokio::test]
async fn claims_cursors_letters_and_notes_survive_a_crash() {
    let folder = TempDir::new().unwrap();
    let source = open(folder.path());
    source.push(KEY, &elements(50_000)).await.unwrap();
    let claim = claim_all(&source, &["A", "B"]).await;
    source.push(KEY, &elements(10)).await.unwrap();
    let at = claim.held();
    acknowledge(&source, at, "A", 40_000).await;
    acknowledge(&source, at, "B", 30_000).await;
    source.note_elsewhere(at.id, "B", true).await.unwrap();
    let letter = Letter {
        reader: "A".into(),
        list: KEY.into(),
        row: analytics::RowId {
            claim: claim.id,
            row: 7,
        },
        cause: "refused".to_owned(),
        at_ms: 1,
        raw: Bytes::from_static(b"\x00\xff"),
        form: Some("msgpack".into()),
    };
    let limits = LetterLimits {
        count: 10,
        bytes: 1 << 20,
    };
    source
        .store_letters(std::slice::from_ref(&letter), limits)
        .await
        .unwrap();
    let fleet = source.id();

    let copy = copy_of(folder.path());
    let source = open(copy.path());
    assert_eq!(source.recovered(), Recovered::default());
    assert_eq!(source.id(), fleet);
    assert_eq!(source.list_letters(None, 10).await.unwrap(), [letter]);
    assert_eq!(source.elsewhere(), [(claim.id, "B".into())]);
    let again = source
        .take_over(&readers(&["A", "B"]), &[], |_| true)
        .await
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(
        (again.id, again.len, again.base, again.fence),
        (claim.id, 50_000, 30_000, 2)
    );
    assert_eq!((again.cursors["A"], again.cursors["B"]), (40_000, 30_000));
    assert_eq!(read_all(&source, &again, 30_000).await, elements(50_000)[30_000..]);
    let waiting = claim_all(&source, &["A"]).await;
    assert_eq!(read_all(&source, &waiting, 0).await, elements(10));
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_counted() {
    let folder = TempDir::new().unwrap();
    let source = open(folder.path());
    source.push(KEY, &elements(1000)).await.unwrap();
    let copy = copy_of(folder.path());
    let log = segments(copy.path()).pop().unwrap();
    let end = end_of(&log);
    // The beginning of a frame that looks right, without its rest.
    let mut file = OpenOptions::new().write(true).open(&log).unwrap();
    file.seek(SeekFrom::Start(end)).unwrap();
    file.write_all(b"mark\x00\x01\x00\x00garbage that was on its way")
        .unwrap();
    drop(file);
    let source = open(copy.path());
    let Recovered {
        torn_bytes: torn,
        damaged,
    } = source.recovered();
    assert!(torn > 20 && damaged == 0, "{torn} {damaged}");
    assert_eq!(source.facts().torn, 1);
    source.push(KEY, &elements(1)).await.unwrap();
    let copy = copy_of(copy.path());
    let source = open(copy.path());
    assert_eq!(source.recovered(), Recovered::default());
    assert_eq!(unclaimed(&source), 1001);
}

#[tokio::test]
async fn records_that_end_with_zeros_are_whole_after_a_crash() {
    let folder = TempDir::new().unwrap();
    let source = open(folder.path());
    let rows: Vec<Vec<u8>> = (0..20).map(|row| [&[row as u8][..], &[0; 9000]].concat()).collect();
    for row in &rows {
        source.push(KEY, &[row]).await.unwrap();
        let copy = copy_of(folder.path());
        let again = open(copy.path());
        assert_eq!(again.recovered(), Recovered::default());
        assert_eq!(
            unclaimed(&again),
            u64::from(row[0]) + 1,
            "nothing is taken for a torn tail"
        );
    }
    let copy = copy_of(folder.path());
    let source = open(copy.path());
    let claim = claim_all(&source, &["A"]).await;
    assert_eq!(read_all(&source, &claim, 0).await, rows);
}

#[tokio::test]
async fn every_cut_of_the_log_is_recovered() {
    let folder = TempDir::new().unwrap();
    let source = open(folder.path());
    for _ in 0..20 {
        source.push(KEY, &elements(3)).await.unwrap();
    }
    let log = segments(folder.path()).pop().unwrap();
    let end = end_of(&log);
    for cut in (end.saturating_sub(700)..=end).rev().step_by(13) {
        let copy = copy_of(folder.path());
        let log = copy.path().join(log.file_name().unwrap());
        OpenOptions::new().write(true).open(&log).unwrap().set_len(cut).unwrap();
        let source = open(copy.path());
        let left = unclaimed(&source);
        assert_eq!(left % 3, 0, "a frame counts whole or not at all");
        assert!(left >= 30);
        source.push(KEY, &elements(1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_frame_costs_only_itself_and_is_put_aside() {
    let folder = TempDir::new().unwrap();
    let source = open(folder.path());
    for part in 0..10 {
        let rows: Vec<String> = (0..100).map(|row| format!("{part}/{row}")).collect();
        source.push(KEY, &rows).await.unwrap();
    }
    let copy = copy_of(folder.path());
    let log = segments(copy.path()).pop().unwrap();
    let bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(4).position(|four| four == b"4/50").unwrap();
    let file = OpenOptions::new().write(true).open(&log).unwrap();
    file.write_all_at(b"X", at as u64).unwrap();
    let source = open(copy.path());
    assert_eq!(source.recovered().damaged, 1);
    assert_eq!(unclaimed(&source), 900);
    let aside = std::fs::read_dir(copy.path().join("quarantine")).unwrap().count();
    assert_eq!(aside, 1);
    let claim = claim_all(&source, &["A"]).await;
    let rows = read_all(&source, &claim, 0).await;
    assert!(!rows.iter().any(|row| row.starts_with(b"4/")));
    assert_eq!(rows.len(), 900);
}

/// What a caller of an API can put into a path: frames as they stand in logs, at whatever place.
#[tokio::test]
async fn frames_that_a_client_planted_in_records_are_never_taken_for_ours() {
    let folder = TempDir::new().unwrap();
    let source = open(folder.path());
    source.push(KEY, &elements(100)).await.unwrap();
    let claim = claim_all(&source, &["A"]).await;
    acknowledge(&source, claim.held(), "A", 50).await;
    let log = segments(folder.path()).pop().unwrap();
    let end = end_of(&log);
    // All of it again, as it is, and with a beginning that needs no secret.
    let known = std::fs::read(&log).unwrap()[..end as usize].to_vec();
    let change = br#"?{"set":{"key":"planted","value":"x","until_ms":null}}"#;
    let mut plain = [b"TPf1", &(change.len() as u32).to_le_bytes()[..], &[0; 4], change].concat();
    plain[12] = 2;
    let crc = crc32fast::hash(&plain[12..]);
    plain[8..12].copy_from_slice(&crc.to_le_bytes());
    source.push(KEY, &[known, plain.clone(), plain]).await.unwrap();
    source.push(KEY, &elements(7)).await.unwrap();

    let copy = copy_of(folder.path());
    let log = segments(copy.path()).pop().unwrap();
    let file = OpenOptions::new().write(true).open(&log).unwrap();
    file.write_all_at(b"?", end + 14).unwrap();
    let source = open(copy.path());
    assert_eq!(source.recovered().damaged, 1);
    assert_eq!(
        unclaimed(&source),
        7,
        "the damaged frame costs what it holds, and nothing else"
    );
    let claims = source.take_over(&readers(&["A"]), &[], |_| true).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].len, claims[0].cursors["A"]), (100, 50));
}

#[tokio::test]
async fn a_log_of_an_earlier_version_is_read_and_goes_on_with_marks() {
    let folder = TempDir::new().unwrap();
    drop(open(folder.path()));
    let log = segments(folder.path()).pop().unwrap();
    // Without the first frame, and every other one under the mark that earlier versions gave them.
    let written = std::fs::read(&log).unwrap();
    let mut frames = written[29..end_of(&log) as usize].to_vec();
    frames[..4].copy_from_slice(b"TPf1");
    let mut elements = [&[1, 4, 0][..], b"list", &2u32.to_le_bytes()].concat();
    for element in [&b"one"[..], b"two"] {
        elements.extend_from_slice(&(element.len() as u32).to_le_bytes());
        elements.extend_from_slice(element);
    }
    for part in [
        &b"TPf1"[..],
        &(elements.len() as u32).to_le_bytes(),
        &crc32fast::hash(&elements).to_le_bytes(),
    ] {
        frames.extend_from_slice(part);
    }
    frames.extend_from_slice(&elements);
    std::fs::write(&log, &frames).unwrap();

    let source = open(folder.path());
    assert_eq!(source.recovered(), Recovered::default());
    source.push("list", &["three"]).await.unwrap();
    let copy = copy_of(folder.path());
    let newest = std::fs::read(segments(copy.path()).pop().unwrap()).unwrap();
    assert_eq!(newest[12], 3, "the next segment has a secret");
    for store in [source, open(copy.path())] {
        assert_eq!(store.recovered(), Recovered::default());
        let claim = store.claim("list", &readers(&["A"])).await.unwrap().unwrap();
        assert_eq!(read_all(&store, &claim, 0).await, [&b"one"[..], b"two", b"three"]);
    }
}

#[tokio::test]
async fn a_damaged_byte_of_one_list_costs_no_rows_of_another() {
    let folder = TempDir::new().unwrap();
    let source = open(folder.path());
    let row = |list: &str, number: usize| format!("{list} row {number:02}");
    // From the first row of the first list to its last: what stands between them is one stretch.
    for number in 0..20 {
        for list in [KEY, "claimed", "waiting"] {
            source.push(list, &[row(list, number)]).await.unwrap();
        }
    }
    source.push(KEY, &[row(KEY, 20)]).await.unwrap();
    let hit = claim_all(&source, &["A"]).await;
    let claim = source.claim("claimed", &readers(&["A"])).await.unwrap().unwrap();
    let log = segments(folder.path()).pop().unwrap();
    let (bytes, wanted) = (std::fs::read(&log).unwrap(), row(KEY, 10));
    let at = bytes
        .windows(wanted.len())
        .position(|part| part == wanted.as_bytes())
        .unwrap();
    let file = OpenOptions::new().write(true).open(&log).unwrap();
    file.write_all_at(b"?", (at + wanted.len() - 1) as u64).unwrap();

    let (read, lost) = read_around(&source, hit.held(), 0, hit.len).await;
    assert!(lost > 0, "the damage is noticed");
    assert_eq!(read.len() as u64 + lost, 21);
    assert_eq!(source.facts().damaged, 1);
    let healthy = |list: &str| -> Vec<Vec<u8>> { (0..20).map(|number| row(list, number).into_bytes()).collect() };
    assert_eq!(read_all(&source, &claim, 0).await, healthy("claimed"));
    // The log says the same to the next start.
    let copy = copy_of(folder.path());
    for store in [source, open(copy.path())] {
        let claims = store.take_over(&readers(&["A"]), &[], |list| list == "claimed").await;
        let claim = claims.unwrap().pop().unwrap_or_else(|| claim.clone());
        assert_eq!(read_all(&store, &claim, 0).await, healthy("claimed"));
        let waiting = store.claim("waiting", &readers(&["A"])).await.unwrap().unwrap();
        assert_eq!(waiting.len, 20);
        assert_eq!(read_all(&store, &waiting, 0).await, healthy("waiting"));
    }
}

#[tokio::test]
async fn damage_in_an_old_segment_is_found_when_it_is_read_and_never_fatal() {
    let folder = TempDir::new().unwrap();
    let source = open(folder.path());
    let row = |number: usize| format!("{number:08}{}", "x".repeat(10_000));
    let rows: Vec<String> = (0..16_000).map(row).collect();
    for part in rows.chunks(100) {
        source.push(KEY, part).await.unwrap();
    }
    let claim = claim_all(&source, &["A"]).await;
    let logs = segments(folder.path());
    assert!(logs.len() >= 3, "{logs:?}");
    let file = OpenOptions::new().write(true).open(&logs[0]).unwrap();
    file.write_all_at(b"?", 20 << 20).unwrap();
    let (read, lost) = read_around(&source, claim.held(), 0, 16_000).await;
    assert!(lost > 0 && lost <= 300, "{lost}");
    assert_eq!(read.len() as u64, 16_000 - lost);
    assert_eq!(source.usage().claims, 1);
    assert_eq!(source.facts().damaged, 1);
    // The file is gone altogether: the next start counts it and goes on.
    let copy = copy_of(folder.path());
    std::fs::remove_file(copy.path().join(logs[1].file_name().unwrap())).unwrap();
    let source = open(copy.path());
    let claim = source
        .take_over(&readers(&["A"]), &[], |_| true)
        .await
        .unwrap()
        .pop()
        .unwrap();
    let (read, lost) = read_around(&source, claim.held(), 0, 16_000).await;
    assert!((5_000..8_000).contains(&lost), "{lost}");
    assert_eq!(read.len() as u64, 16_000 - lost);
    let number = |row: &Vec<u8>| String::from_utf8_lossy(&row[..8]).parse::<u64>().unwrap();
    assert!(read.is_sorted_by_key(number));
    acknowledge(&source, claim.held(), "A", 16_000).await;
}

#[tokio::test]
async fn segments_that_are_delivered_are_deleted() {
    let folder = TempDir::new().unwrap();
    let source = open(folder.path());
    let rows: Vec<String> = (0..1000)
        .map(|number| format!("{number:08}{}", "x".repeat(100_000)))
        .collect();
    for round in 0..4 {
        for part in rows.chunks(50) {
            source.push(KEY, part).await.unwrap();
        }
        let claim = claim_all(&source, &["A"]).await;
        assert!(!segments(folder.path()).is_empty());
        acknowledge(&source, claim.held(), "A", 1000).await;
        until("old segments go", async || {
            (segments(folder.path()).len() <= 3).then_some(())
        })
        .await;
        assert!(source.usage().claims == 0, "round {round}");
    }
}

#[tokio::test]
async fn a_folder_belongs_to_one_process() {
    let folder = TempDir::new().unwrap();
    let _first = open(folder.path());
    let second = Store::open(&settings(folder.path()));
    let error = second.err().unwrap().to_string();
    assert!(error.contains("open in another process"), "{error}");
}

/// `DAMAGE_RUNS=5000` plays longer.
#[tokio::test]
async fn whatever_is_damaged_the_folder_opens_and_says_the_same_again() {
    let runs = std::env::var("DAMAGE_RUNS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(30);
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    for part in 0..8 {
        let rows: Vec<String> = (0..20).map(|row| format!("{part}/{row}")).collect();
        store.push(KEY, &rows).await.unwrap();
    }
    let claim = claim_all(&store, &["A"]).await;
    store.push(KEY, &elements(50)).await.unwrap();
    acknowledge(&store, claim.held(), "A", 30).await;
    let letters: Vec<Letter> = (0..5)
        .map(|row| Letter {
            reader: "A".into(),
            list: KEY.into(),
            row: analytics::RowId { claim: claim.id, row },
            cause: "refused".to_owned(),
            at_ms: 1,
            raw: Bytes::from_static(b"raw"),
            form: None,
        })
        .collect();
    let limits = LetterLimits {
        count: 10,
        bytes: 1 << 20,
    };
    store.store_letters(&letters, limits).await.unwrap();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for run in 0..runs {
        let copy = copy_of(folder.path());
        for path in [segments(copy.path()).pop().unwrap(), copy.path().join("dead-letters")] {
            let end = end_of(&path) as usize;
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.truncate(end);
            for _ in 0..random.random_range(1..4) {
                if bytes.is_empty() {
                    break;
                }
                let at = random.random_range(0..bytes.len());
                match random.random_range(0..5) {
                    0 => bytes[at] ^= 1 << random.random_range(0..8),
                    1 => bytes.truncate(at),
                    2 => bytes[at..].iter_mut().take(100).for_each(|byte| *byte = 0),
                    3 => bytes.extend_from_within(at..),
                    _ => bytes[at..].iter_mut().take(40).for_each(|byte| *byte = random.random()),
                }
            }
            std::fs::write(&path, bytes).unwrap();
        }
        let look = async |store: &Store| {
            let letters = store.list_letters(None, 100).await.unwrap();
            (unclaimed(store), store.usage().claimed_rows, letters)
        };
        let store = open(copy.path());
        let found = look(&store).await;
        store.close().await;
        drop(store);
        let store = open(copy.path());
        assert_eq!(look(&store).await, found, "run {run} of seed {seed}");
        store.push(KEY, &elements(3)).await.unwrap();
        for claim in store.take_over(&readers(&["A"]), &[], |_| true).await.unwrap() {
            read_around(&store, claim.held(), claim.base, claim.len).await;
        }
    }
}
