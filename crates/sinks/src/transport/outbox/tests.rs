use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use analytics::{ClaimId, RowId};
use fakes::rows::group;

use super::*;

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));
const PACKING: Packing = Packing {
    separator: b",",
    rows: 4,
    bytes: 1_000,
};

/// Two digits a row.
fn pack(group: &[Selection], parcels: &mut Parcels) {
    for (row, _) in group.iter().flat_map(Selection::records) {
        parcels.write(row, |out| {
            out.extend_from_slice(format!("{:02}", row.row).as_bytes());
            Ok::<_, String>(true)
        });
    }
}

fn outbox(packing: Packing) -> Outbox {
    Outbox::new("test", packing, Pace::SERVICE)
}

/// Delivers rows 0 to 9; the bodies that were sent.
async fn deliver(
    outbox: &Outbox,
    applied: &Arc<Applied>,
    reply: impl Fn(&Parcel) -> Result<Reply, WriteError>,
) -> (Vec<String>, Result<Written, WriteError>) {
    let sent = Mutex::new(Vec::new());
    let written = outbox
        .deliver(&group(CLAIM, 0..10), applied, pack, |parcel| {
            sent.lock()
                .unwrap()
                .push(String::from_utf8(parcel.body.to_vec()).unwrap());
            let reply = reply(&parcel);
            async move { reply }
        })
        .await;
    (sent.into_inner().unwrap(), written)
}

#[tokio::test]
async fn what_was_accepted_before_a_failure_is_marked_and_not_sent_again() {
    let applied = Arc::default();
    let outbox = outbox(PACKING);
    let (sent, written) = deliver(&outbox, &applied, |parcel| match parcel.rows[0].row {
        8 => Err(WriteError::retry("busy")),
        _ => Ok(Reply::Accepted),
    })
    .await;
    assert!(written.is_err());
    assert_eq!(sent, ["00,01,02,03", "04,05,06,07", "08,09"]);
    assert_eq!(applied.ranges(CLAIM).to_string(), "0-7");
    let (sent, written) = deliver(&outbox, &applied, |_| Ok(Reply::Accepted)).await;
    assert!(written.is_ok());
    assert_eq!(sent, ["08,09"]);
    assert_eq!(applied.ranges(CLAIM).to_string(), "0-9");
}

#[tokio::test]
async fn every_row_has_its_own_fate() {
    let applied = Arc::default();
    let fates = |parcel: &Parcel| {
        let fate = |row: &RowId| match row.row {
            2 => Fate::Rejected("no".to_owned()),
            5 | 6 => Fate::Later("busy".to_owned()),
            _ => Fate::Accepted,
        };
        Ok(Reply::Each(parcel.rows.iter().map(fate).collect()))
    };
    let (_, written) = deliver(&outbox(PACKING), &applied, fates).await;
    assert_eq!(written.unwrap_err().to_string(), "2 rows are not accepted yet: busy");
    assert_eq!(applied.ranges(CLAIM).to_string(), "0-1,3-4,7-9");
    let (sent, written) = deliver(&outbox(PACKING), &applied, |parcel| {
        let fate = |row: &RowId| match row.row {
            2 => Fate::Rejected("no".to_owned()),
            _ => Fate::Accepted,
        };
        Ok(Reply::Each(parcel.rows.iter().map(fate).collect()))
    })
    .await;
    assert_eq!(sent, ["02,05,06"]);
    assert_eq!(written.unwrap().rejected.len(), 1);
}

#[tokio::test]
async fn a_request_that_is_too_large_goes_in_halves_and_later_ones_stay_smaller() {
    let applied = Arc::default();
    let packing = Packing { rows: 100, ..PACKING };
    let outbox = outbox(packing);
    let limited = |parcel: &Parcel| match parcel.body.len() {
        ..=8 => Ok(Reply::Accepted),
        size => Ok(Reply::TooLarge(format!("{size} bytes"))),
    };
    let (sent, written) = deliver(&outbox, &applied, limited).await;
    assert!(written.unwrap().rejected.is_empty());
    assert_eq!(applied.ranges(CLAIM).to_string(), "0-9");
    assert_eq!(sent[0].len(), 29);
    let taken: Vec<&str> = sent.iter().filter(|body| body.len() <= 8).map(String::as_str).collect();
    let mut rows: Vec<&str> = taken.iter().flat_map(|body| body.split(',')).collect();
    rows.sort_unstable();
    assert_eq!(rows, ["00", "01", "02", "03", "04", "05", "06", "07", "08", "09"]);
    let (sent, _) = deliver(&outbox, &Arc::default(), limited).await;
    assert!(sent.iter().all(|body| body.len() <= 8), "{sent:?}");
}

#[tokio::test]
async fn a_row_that_is_too_large_alone_is_refused_and_the_limit_comes_back() {
    let applied = Arc::default();
    let outbox = outbox(Packing { rows: 100, ..PACKING });
    let (_, written) = deliver(&outbox, &applied, |_| Ok(Reply::TooLarge("413".to_owned()))).await;
    assert_eq!(written.unwrap().rejected.len(), 10);
    let (sent, _) = deliver(&outbox, &applied, |_| Ok(Reply::Accepted)).await;
    assert_eq!(sent.len(), 1);
}

#[tokio::test]
async fn a_service_that_finds_every_row_too_large_is_asked_for_a_few_and_refuses_those() {
    let outbox = outbox(Packing { rows: 1_000, ..PACKING });
    let (rows, applied) = (group(CLAIM, 0..500), Arc::default());
    let sent = AtomicUsize::new(0);
    let written = outbox.deliver(&rows, &applied, pack, |_| {
        sent.fetch_add(1, SeqCst);
        async { Ok(Reply::TooLarge("413".to_owned())) }
    });
    let Err(WriteError::Reject { rows, .. }) = written.await else {
        panic!("the service refused everything");
    };
    assert!((SUSPECTS + 1..SUSPECTS + 10).contains(&rows.len()), "{}", rows.len());
    assert!(sent.into_inner() < 500);
}

#[tokio::test]
async fn no_more_is_packed_than_is_about_to_be_sent() {
    let packed = Arc::new(AtomicUsize::new(0));
    let count = packed.clone();
    let pack = move |group: &[Selection], parcels: &mut Parcels| {
        for (row, _) in group.iter().flat_map(Selection::records) {
            count.fetch_add(1, SeqCst);
            parcels.write(row, |out| {
                out.push(b'x');
                Ok::<_, String>(true)
            });
        }
    };
    let sent = AtomicUsize::new(0);
    let outbox = outbox(PACKING);
    let (rows, applied) = (group(CLAIM, 0..1_000), Arc::default());
    let written = outbox.deliver(&rows, &applied, pack, |parcel| {
        let sent = sent.fetch_add(parcel.rows.len(), SeqCst) + parcel.rows.len();
        // One waits in the channel, one for the channel, one row begins the next.
        let ahead = packed.load(SeqCst) - sent;
        assert!(ahead <= 2 * 4 + 1, "{ahead} rows are packed and not sent");
        async { Ok(Reply::Accepted) }
    });
    written.await.unwrap();
    assert_eq!(sent.into_inner(), 1_000);
}

#[tokio::test]
async fn a_service_that_is_down_is_asked_once() {
    let (sent, written) = deliver(&outbox(PACKING), &Arc::default(), |_| Err(WriteError::retry("down"))).await;
    assert!(written.is_err());
    assert_eq!(sent.len(), 1);
}
