//! A Redis that loses its data: what was claimed and is not delivered is known to be lost, and nothing else is.

use tyk_pump::{
    config::ModeChoice,
    source::{Acknowledged, Claims, Lost, Operate, SourceError, Terms},
};

use super::{KEY, ask, open, push, without_scripts};
use crate::support::{
    self,
    promises::{AcknowledgeOne, Applied, elements, lanes, read_all},
};

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_went_with_the_data_of_redis_have_vanished() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    for (settings, choice) in [
        (support::redis_settings(server.addr(0)), ModeChoice::Auto),
        (without_scripts(&server), ModeChoice::Auto),
        (support::redis_settings(server.addr(0)), ModeChoice::Peek),
    ] {
        let source = open(&settings, "a", choice).await;
        source.fleet().await.unwrap();
        let mut claims = Vec::new();
        for key in &source.keys()[..4] {
            push(&server, &key.name, &elements(10));
            claims.push(
                source
                    .claim(key, &lanes(&["A", "B"]))
                    .await
                    .unwrap()
                    .unwrap()
                    .reference(),
            );
        }
        source.read(&claims[0], 0, 10).await.unwrap();
        ask::<()>(&server, &["FLUSHALL"]);
        // Each lane of each claim asks for itself.
        for _ in 0..2 {
            let read = source.read(&claims[0], 5, 5).await;
            assert!(
                matches!(read, Err(SourceError::Vanished(id)) if id == claims[0].id),
                "{read:?}"
            );
        }
        if choice == ModeChoice::Auto {
            let acknowledged = source.acknowledge_one(&claims[1], "A", 3).await;
            assert!(
                matches!(acknowledged, Err(SourceError::Vanished(_))),
                "{acknowledged:?}"
            );
        }
        let lost = source.renew(&claims[2..], &lanes(&["A", "B"])).await.unwrap();
        assert_eq!(lost, [Lost::Vanished(claims[2].id), Lost::Vanished(claims[3].id)]);
        // What comes afterwards is not concerned.
        push(&server, KEY, &elements(10));
        let next = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
        assert_eq!(read_all(&source, &next, 0).await, elements(10));
        assert_eq!(
            source.acknowledge_one(&next.reference(), "A", 10).await.unwrap(),
            Acknowledged::Finished
        );
        ask::<()>(&server, &["FLUSHALL"]);
        without_scripts(&server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_others_finished_or_put_back_has_not_vanished() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let settings = support::redis_settings(server.addr(0));
    let (a, b) = (
        open(&settings, "a", ModeChoice::Auto).await,
        open(&settings, "b", ModeChoice::Auto).await,
    );
    a.fleet().await.unwrap();
    let claim = async |rows| {
        push(&server, KEY, &elements(rows));
        a.claim(&a.keys()[0], &lanes(&["A"]))
            .await
            .unwrap()
            .unwrap()
            .reference()
    };
    let finished = claim(10).await;
    assert_eq!(
        a.acknowledge_one(&finished, "A", 10).await.unwrap(),
        Acknowledged::Finished
    );
    let put_back = claim(11).await;
    let forced = Terms {
        accept_duplicates: true,
        despite_owner: true,
    };
    b.restore(put_back.id, &Applied([("A", 0)].into()), forced)
        .await
        .unwrap();
    let dropped = claim(1).await;
    b.drop_lane("A").await.unwrap();
    for claim in [&finished, &put_back, &dropped] {
        let read = a.read(claim, 0, 1).await;
        assert!(matches!(read, Err(SourceError::LeaseLost(_))), "{read:?}");
        let lost = a.renew(std::slice::from_ref(claim), &lanes(&["A"])).await.unwrap();
        assert_eq!(lost, [Lost::Taken(claim.id)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_to_redis_are_counted() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let source = open(&support::redis_settings(server.addr(0)), "a", ModeChoice::Auto).await;
    let before = source.usage().await.unwrap().commands.unwrap();
    let asked: u64 = ask::<String>(&server, &["INFO", "stats"])
        .lines()
        .find_map(|line| line.strip_prefix("total_commands_processed:")?.trim().parse().ok())
        .unwrap();
    for _ in 0..10 {
        source.pending().await.unwrap();
    }
    let after = source.usage().await.unwrap().commands.unwrap();
    let asked_after: u64 = ask::<String>(&server, &["INFO", "stats"])
        .lines()
        .find_map(|line| line.strip_prefix("total_commands_processed:")?.trim().parse().ok())
        .unwrap();
    let (ours, theirs) = (after - before, asked_after - asked);
    assert!(
        ours >= 230 && ours.abs_diff(theirs) < 60,
        "{ours} counted, {theirs} served"
    );
}
