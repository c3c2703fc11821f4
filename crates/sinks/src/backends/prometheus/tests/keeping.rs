//! Counters that survive the process.

use super::*;

#[tokio::test]
async fn counters_go_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let meta = json!({"state_dir": folder.path(), "track_all_paths": true});
    let sink = open(meta.clone()).await;
    assert_eq!(sink.guarantee(), None);
    assert_eq!(open(json!({})).await.guarantee(), Some(Guarantee::BestEffort));
    write(&sink, &rows::group(CLAIM, 0..100)).await;
    assert_eq!(sink.applied(CLAIM, None).await.unwrap().unwrap().to_string(), "0-99");
    let before = scrape(&sink).await;
    // Nobody closes it, as when the process is killed.
    drop(sink);
    let sink = open(meta.clone()).await;
    let mine = |page: &str| samples(page, "tyk_");
    assert_eq!(mine(&scrape(&sink).await), mine(&before));
    write(&sink, &rows::group(CLAIM, 50..150)).await;
    sink.close().await.unwrap();
    let sink = open(meta).await;
    let page = scrape(&sink).await;
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 150.0);
    assert!(
        samples(&page, "tyk_http_status_per_path{")
            .into_values()
            .all(|count| count == 1.0)
    );
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let meta = json!({"state_dir": folder.path(), "series_ttl": 3600, "max_series": 10, "track_all_paths": true});
    let sink = open(meta.clone()).await;
    sink.set_hook(Arc::new(|bytes| bytes / 2)).await;
    let group = rows::group(CLAIM, 0..100);
    for _ in 0..2 {
        let error = sink.write(&group, &Arc::default()).await.unwrap_err();
        assert!(matches!(&error, WriteError::Retry { .. }), "{error}");
    }
    assert_eq!(samples(&scrape(&sink).await, "tyk_http_status{"), BTreeMap::new());
    sink.set_hook(Arc::new(|bytes| bytes)).await;
    write(&sink, &group).await;
    drop(sink);
    let sink = open(meta).await;
    let page = scrape(&sink).await;
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 100.0);
    let folded = "tyk_pump_series_folded_total{metric=\"tyk_http_status_per_path\"}";
    assert_eq!(samples(&page, folded)[folded], 91.0);
}
