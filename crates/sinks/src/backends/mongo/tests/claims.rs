//! What is remembered of claims.

use mongodb::bson::DateTime;

use super::*;

const HOURLY: &str = "z_tyk_analyticz_aggregate_o1";

fn claim(number: u128) -> ClaimId {
    ClaimId(ulid::Ulid(number << 80))
}

/// Start and requests of every bucket.
async fn buckets(store: &Store) -> Vec<(i64, i64)> {
    let documents = store.documents(HOURLY).await;
    let mut buckets: Vec<_> = documents
        .iter()
        .map(|document| {
            let start = document.get_datetime("timestamp").unwrap().timestamp_millis() / 1000;
            let total = document.get_document("total").unwrap();
            (start - HOUR, i64::from(total.get_i32("hits").unwrap()))
        })
        .collect();
    buckets.sort_unstable();
    buckets
}

fn minute_by_minute(number: u64, builder: &mut Builder) {
    builder.recorded_at(at(HOUR + 60 * (number as i64 % 60)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_keeps_its_window_when_the_option_changes() {
    let Some(store) = Store::start().await else {
        return;
    };
    let with = |minutes: u64| json!({"mongo_url": store.url(), "aggregation_time": minutes});
    let before = sink(&AGGREGATE, with(60)).await;
    write(before.as_ref(), &group(claim(1), 0..30, minute_by_minute)).await;
    let after = sink(&AGGREGATE, with(30)).await;
    // A group of both: what was begun goes on as it began.
    let mut rows = group(claim(1), 0..60, minute_by_minute);
    rows.extend(group(claim(2), 0..60, minute_by_minute));
    write(after.as_ref(), &rows).await;
    assert_eq!(buckets(&store).await, [(0, 90), (1800, 30)]);
    // Nor does another process that still has the old option count the new claim in another way.
    write(before.as_ref(), &rows).await;
    assert_eq!(buckets(&store).await, [(0, 90), (1800, 30)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_of_claims_that_an_earlier_process_finished_go() {
    let Some(store) = Store::start().await else {
        return;
    };
    let meta = json!({"mongo_url": store.url()});
    let first = sink(&AGGREGATE, meta.clone()).await;
    for number in 1..=3 {
        write(first.as_ref(), &group(claim(number), 0..10, minute_by_minute)).await;
    }
    first.forget(&[claim(1), claim(2)]).await;
    let ledger = store.database.collection::<Document>("tyk_pump_ledger");
    let long_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 700_000);
    let id = format!("{}-TEST", claim(1));
    let done = doc! {"$set": {"done": long_ago}};
    let changed = ledger.update_one(doc! {"_id": id}, done).await.unwrap();
    assert_eq!(changed.matched_count, 1);

    let second = sink(&AGGREGATE, meta).await;
    write(second.as_ref(), &group(claim(4), 0..10, minute_by_minute)).await;
    let documents = store.documents(HOURLY).await;
    let notes = documents[0].get_document("_applied").unwrap();
    let mut names: Vec<&str> = notes.iter().map(|note| note.unwrap().0.as_str()).collect();
    names.sort_unstable();
    // The second one is too young, the third not finished.
    let kept = [2, 3, 4].map(|number| format!("{}-TEST", claim(number)));
    assert_eq!(names, kept);
    assert_eq!(buckets(&store).await, [(0, 40)]);
}
