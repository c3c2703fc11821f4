//! Results of the host checker.

use analytics::{
    When, msgpack,
    uptime::{UptimeFlag, UptimeInt, UptimeText, UptimeView},
};

use super::{framed, hex};

/// As a gateway sends it.
const CHECK: &str = "8ea355524caf687474703a2f2f682f737461747573ab5265717565737454696d6523ac526573706f6e7365436f6465ccc8\
    a85443504572726f72c2ab5365727665724572726f72c2a34461790ea54d6f6e74680ba459656172cd07e7a4486f757216a64d696e7574650d\
    a954696d655374616d7092ce6553f100ce0ee6b280a8457870697265417492ce65554280ce0ee6b280a54150494944a26131a54f72674944a26f31";

#[test]
fn a_check_has_all_of_its_fields() {
    let (buffer, element) = framed(&hex(CHECK));
    let record = msgpack::decode_uptime(&buffer, element).unwrap();
    let view = UptimeView::new(&buffer, &record);
    let texts = [UptimeText::Id, UptimeText::Url, UptimeText::ApiId, UptimeText::OrgId].map(|text| view.text(text));
    assert_eq!(texts, [b"".as_slice(), b"http://h/status", b"a1", b"o1"]);
    let ints: Vec<i64> = UptimeInt::ALL.iter().map(|&int| view.int(int)).collect();
    assert_eq!(ints, [35, 200, 14, 11, 2023, 22, 13]);
    assert_eq!(
        [UptimeFlag::TcpError, UptimeFlag::ServerError].map(|flag| view.flag(flag)),
        [false; 2]
    );
    let times = [When::TimeStamp, When::ExpireAt].map(|when| (view.time(when).seconds, view.time(when).nanos));
    assert_eq!(times, [(1_700_000_000, 250_000_000), (1_700_086_400, 250_000_000)]);

    let mut encoded = Vec::new();
    msgpack::encode_uptime(&mut encoded, &view);
    assert_eq!(encoded, hex(CHECK));
}

#[test]
fn an_id_is_accepted_and_nil_is_the_empty_check() {
    let (buffer, element) = framed(&hex("81a24944ac000102030405060708090a0b"));
    let record = msgpack::decode_uptime(&buffer, element).unwrap();
    let id: Vec<u8> = (0..12).collect();
    assert_eq!(UptimeView::new(&buffer, &record).text(UptimeText::Id), id);
    let (buffer, element) = framed(&hex("c0"));
    assert_eq!(msgpack::decode_uptime(&buffer, element), Ok(Default::default()));
}

#[test]
fn nil_for_a_flag_and_cut_checks_are_refused() {
    let (buffer, element) = framed(&hex("81a85443504572726f72c0"));
    let error = msgpack::decode_uptime(&buffer, element).unwrap_err();
    assert_eq!(error.to_string(), "msgpack: invalid code c0 decoding bool");
    let check = hex(CHECK);
    for len in 0..check.len() {
        let (buffer, element) = framed(&check[..len]);
        assert!(msgpack::decode_uptime(&buffer, element).is_err(), "{len} bytes");
    }
}
