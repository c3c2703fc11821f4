use super::*;

fn pairs(texts: &[(&str, &str)]) -> Vec<Pair> {
    texts.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn left(rules: &str, texts: &[(&str, &str)]) -> Option<Vec<Pair>> {
    Rules::parse(rules, true).unwrap().apply(pairs(texts), 0)
}

const MESSAGE: &[(&str, &str)] = &[
    ("request_method", "GET"),
    ("request_url", "http://gw/a?b;c"),
    ("request_body", "mail jane.doe@example.com or 123-456-7890"),
    ("request_header:cookie", "a=b"),
    ("request_param:mail", "jane.doe@example.com 123456789"),
    ("response_body", "ok"),
    ("empty", ""),
];

#[test]
fn the_named_sets_do_what_the_reference_documents() {
    let all = left("include debug", MESSAGE).unwrap();
    assert_eq!(all.len(), 6, "only the empty value goes");
    for text in ["", "include strict", "include default", " \r\n"] {
        let strict = left(text, MESSAGE).unwrap();
        let keys: Vec<_> = strict.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            ["request_method", "request_url", "request_header:cookie"],
            "{text:?}"
        );
        assert_eq!(strict[1].1, "http://gw/a", "the URL keeps its beginning");
    }
    for (text, keeps) in [("", true), ("include strict", false), ("include default", false)] {
        let rules = Rules::parse(text, false).unwrap();
        let left = rules.apply(pairs(MESSAGE), 0).unwrap();
        assert_eq!(left.iter().any(|(key, _)| key == "request_url"), keeps, "{text:?}");
    }
    let standard = left("include standard", MESSAGE).unwrap();
    assert_eq!(standard[2].1, "mail x@y.com or xyxy");
    assert_eq!(
        standard[3].1, "jane.doe@example.com xyxy",
        "only numbers are masked in parameters"
    );
    assert!(standard.iter().all(|(key, _)| key != "request_header:cookie"));
}

#[test]
fn plain_http_cookies_and_compression_are_switches() {
    let rules = Rules::parse(
        "allow_http_url # yes\nskip_compression\nskip_submission\ncopy_session_field /a|b.*/",
        true,
    )
    .unwrap();
    assert!(rules.allow_http_url && rules.skip_compression && rules.skip_submission);
    let cookies = pairs(&[("a", "1"), ("abc", "2"), ("xb", "3"), ("c", "4")]);
    assert_eq!(rules.copied(&cookies), cookies[..3]);
    assert!(!Rules::parse("", false).unwrap().allow_http_url);
}

#[test]
fn pairs_are_removed_by_key_and_value() {
    let texts = &[("a", "one"), ("ab", "one two"), ("b", "two")];
    let keys = |rules: &str| -> String {
        let left = left(rules, texts).unwrap_or_default();
        left.into_iter().map(|(key, _)| key + " ").collect()
    };
    assert_eq!(keys("/a/ remove"), "ab b ");
    assert_eq!(keys("!a.*! remove"), "b ");
    assert_eq!(keys("/.*/ remove_if ~one~"), "ab b ");
    assert_eq!(keys("/.*/ remove_if_found %one%"), "b ");
    assert_eq!(keys("/.*/ remove_unless |one|"), "a ");
    assert_eq!(keys("/.*/ remove_unless_found /one/"), "a ab ");
    assert_eq!(keys("/a/remove"), "ab b ", "no blank is needed behind a scope");
    assert_eq!(keys("/.*/ remove"), "", "nothing is left: no message");
}

#[test]
fn anchors_stand_beside_alternatives() {
    assert_eq!(
        left("/b|c|d/ remove", &[("bx", "1"), ("xcx", "1"), ("xd", "1"), ("dx", "1")]),
        Some(pairs(&[("dx", "1")]))
    );
}

#[test]
fn replacements_refer_to_groups() {
    let replaced = |rule: &str| left(rule, &[("k", "hi 12 there")]).unwrap()[0].1.clone();
    assert_eq!(replaced("/k/ replace /(h)(i)/, /$2-${1}/"), "i-h 12 there");
    assert_eq!(
        replaced("/k/ replace /(h)i/, /$1x/"),
        " 12 there",
        "a group named 1x does not exist"
    );
    assert_eq!(replaced("/k/ replace /[0-9]+/,  /a\\/b/"), "hi a/b there");
    assert_eq!(replaced(r"/k/ replace /\d/, /N/"), "hi NN there");
    assert_eq!(left("/k/ replace /.*/, //", &[("k", "x")]), None, "an empty value goes");
}

#[test]
fn messages_are_stopped() {
    let texts = &[("url", "/orders"), ("body", "secret")];
    for (rules, sent) in [
        ("/body/ stop", false),
        ("/header/ stop", true),
        ("/body/ stop_if /sec/", false == true),
        ("/body/ stop_if /secret/", false),
        ("/body/ stop_if_found /sec/", false),
        ("/url/ stop_unless_found /orders|users/", true),
        ("/url/ stop_unless_found /users/", false),
        ("/url/ stop_unless /.*orders/", true),
        ("/.*/ stop_unless /.*/", false),
    ] {
        // An anchored expression has to match the whole value.
        let expected = sent || rules == "/body/ stop_if /sec/";
        assert_eq!(left(rules, texts).is_some(), expected, "{rules}");
    }
}

#[test]
fn a_sample_is_the_same_for_the_same_draw() {
    let rules = Rules::parse("sample 30", true).unwrap();
    let kept = (0..1000).filter(|&draw| rules.apply(pairs(&[("a", "b")]), draw).is_some());
    assert_eq!(kept.count(), 300);
}

#[test]
fn a_rule_that_is_not_understood_is_named() {
    for (rules, expected) in [
        (
            "allow_http_url\nremove everything",
            "the rule \"remove everything\" is not understood",
        ),
        ("/a/ remove twice", "goes on with \"twice\""),
        ("/a/ delete", "unknown verb \"delete\""),
        ("/a/", "unknown verb \"\""),
        ("/a remove", "does not end with /"),
        ("// remove", "empty expression"),
        ("/a(/ remove", "expression that is none"),
        ("/a/ replace /b/,/c/", "needs a comma and a blank"),
        ("sample 100", "no percentage"),
        ("sample 5\nsample 6", "second one of its kind"),
    ] {
        let error = Rules::parse(rules, true).unwrap_err();
        assert!(error.contains(expected), "{rules:?}: {error}");
    }
}

#[test]
fn expressions_of_the_reference_mean_the_same() {
    let found = |expression: &str, text: &str| compile(expression).unwrap().is_match(text);
    assert!(!found(r"^\d$", "٣") && !found(r"^\w$", "é") && found(r"^[\d\-]+$", "1-2"));
    assert!(found(r"^[[]$", "[") && found(r"^[]a]+$", "]a") && found(r"^[^]]$", "x"));
    assert!(found(r"^[[:alpha:]&&~~]+$", "a&~") && found(r"\bx\b", "a x b"));
    for (expression, text) in [
        (r#"{"a":1}"#, r#"{"a":1}"#),
        (r"^x{,2}y{$", "x{,2}y{"),
        (r"^x{02}$", "x{02}"),
        (r"x{2", "x{2"),
        (r"^x{2}y{1,}z{0,10}$", "xxyyz"),
        (r"^[{}]{2}$", "{}"),
        (r"^\p{Lu}\x{41}\pL\{$", "ÄAa{"),
        (r"^\Qa.{1}[\Eb+\Q\d", r"a.{1}[bb\d"),
    ] {
        assert!(found(expression, text), "{expression}");
    }
}
