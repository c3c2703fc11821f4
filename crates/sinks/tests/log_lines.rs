//! What sinks write into the log. One test, since the log belongs to the process.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use analytics::ClaimId;
use fakes::{Log, rows::group};
use serde_json::{Value, json};
use sinks::{
    BuildContext, Sink,
    csv::{Csv, step::Step},
    find,
};

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

fn context(meta: Value) -> BuildContext {
    BuildContext::new("X", "fleet", meta)
}

#[tokio::test]
async fn sinks_say_what_they_do() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    for (name, line) in [
        ("csv", "INFO csv-pump: CSV Pump Initialized"),
        ("stdout", "INFO stdout-pump: Stdout Pump Initialized"),
        ("dummy", "INFO dummy-pump: Dummy Initialized"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let build = find(name).unwrap().build;
        let meta = if name == "csv" {
            json!({"csv_dir": folder.path()})
        } else {
            json!({})
        };
        let sink = build(context(meta)).await.unwrap();
        assert_eq!(log.lines().last().unwrap(), line);
        if name == "dummy" {
            let rows = [group(CLAIM, 0..3), group(CLAIM, 3..7)].concat();
            sink.write(&rows, &Arc::default()).await.unwrap();
            assert_eq!(log.lines().last().unwrap(), "INFO dummy-pump: Writing 7 records");
        }
    }

    for (removed, line) in [
        (
            false,
            "INFO csv-pump: cut off an unfinished append; its records are written again",
        ),
        (
            true,
            "WARN csv-pump: the file is gone since its last append: nothing is cut off, the records of that append may be written twice",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let sink = Csv::open(&context(json!({"csv_dir": folder.path()}))).await.unwrap();
        let dead = AtomicBool::new(false);
        let die_in_the_append = move |step, len| {
            if dead.fetch_or(step == Step::Append, Ordering::SeqCst) {
                return 0;
            }
            if step == Step::Append { len / 2 } else { len }
        };
        sink.set_hook(Arc::new(die_in_the_append)).await;
        assert!(sink.write(&group(CLAIM, 0..3), &Arc::default()).await.is_err());
        drop(sink);
        for entry in std::fs::read_dir(folder.path()).unwrap().filter(|_| removed) {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "csv") {
                std::fs::remove_file(path).unwrap();
            }
        }
        Csv::open(&context(json!({"csv_dir": folder.path()}))).await.unwrap();
        let lines = log.lines();
        assert_eq!(lines[lines.len() - 2], line);
    }
}
