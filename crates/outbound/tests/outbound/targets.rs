//! Which URLs are taken.

use thalweg_outbound::{BadTarget, Guard, NotPublic, Target};

const STRICT: Guard = Guard { allow_private: false };
const LENIENT: Guard = Guard { allow_private: true };

fn refused(text: &str) -> BadTarget {
    Target::parse(text, &STRICT).expect_err(text)
}

#[test]
fn ordinary_urls_are_taken() {
    for (text, origin) in [
        ("https://api.test.com/", "https://api.test.com"),
        ("https://example.com", "https://example.com"),
        ("HTTPS://Example.COM:443/a", "https://example.com"),
        ("https://example.com:8443/hooks/a%20b?token=x&y={z}|^", "https://example.com:8443"),
        ("https://example.com./", "https://example.com"),
        ("https://bücher.example/", "https://xn--bcher-kva.example"),
        ("https://1.1.1.1/", "https://1.1.1.1"),
        ("https://[2606:4700::1111]:444/", "https://[2606:4700::1111]:444"),
        ("https://notlocal.example/", "https://notlocal.example"),
        ("https://mylocalhost.example/", "https://mylocalhost.example"),
        ("https://internal.example.com/", "https://internal.example.com"),
    ] {
        let target = Target::parse(text, &STRICT).unwrap_or_else(|error| panic!("{text} {error}"));
        assert_eq!(&**target.origin(), origin, "{text}");
    }
}

#[test]
fn what_stands_behind_the_host_is_not_shown() {
    let target = Target::parse("https://example.com/services/T00/B00/secret?key=secret", &STRICT).unwrap();
    assert_eq!(format!("{target:?}"), "Target(https://example.com/..)");
}

#[test]
fn what_is_no_url_for_us_is_refused_with_its_reason() {
    for (text, reason) in [
        ("", BadTarget::NotAUrl),
        ("not a url", BadTarget::NotAUrl),
        ("/relative", BadTarget::NotAUrl),
        ("example.com", BadTarget::NotAUrl),
        ("https://", BadTarget::NotAUrl),
        ("https:///example.com", BadTarget::NotAUrl),
        ("https:example.com", BadTarget::NotAUrl),
        ("https:/example.com/hook", BadTarget::NotAUrl),
        ("https:\\\\example.com", BadTarget::NotAUrl),
        ("https://example.com\\@example.org/", BadTarget::NotAUrl),
        ("https://exa mple.com/", BadTarget::NotAUrl),
        (" https://example.com/", BadTarget::NotAUrl),
        ("https://example.com/\n", BadTarget::NotAUrl),
        ("https://exa\tmple.com/", BadTarget::NotAUrl),
        ("https://example.com/\0", BadTarget::NotAUrl),
        ("https://256.256.256.256/", BadTarget::NotAUrl),
        ("https://1.2.3.4.5/", BadTarget::NotAUrl),
        ("https://[fe80::1%25eth0]/", BadTarget::NotAUrl),
        ("https://[fe80::1%eth0]/", BadTarget::NotAUrl),
        ("https://[::1", BadTarget::NotAUrl),
        ("https://example.com:65536/", BadTarget::NotAUrl),
        ("http://example.com/", BadTarget::NotHttps),
        ("ftp://example.com/", BadTarget::NotHttps),
        ("file:///etc/passwd", BadTarget::NotHttps),
        ("gopher://example.com/_x", BadTarget::NotHttps),
        ("unix:/run/docker.sock", BadTarget::NotHttps),
        ("data:text/plain,x", BadTarget::NotHttps),
        ("https://user@example.com/", BadTarget::Credentials),
        ("https://user:password@example.com/", BadTarget::Credentials),
        ("https://:password@example.com/", BadTarget::Credentials),
        ("https://example.com@127.0.0.1/", BadTarget::Credentials),
        ("https://example.com/#there", BadTarget::Fragment),
        ("https://example.com/#", BadTarget::Fragment),
        ("https://example.com:0/", BadTarget::Port),
        ("https://localhost/", BadTarget::PrivateName),
        ("https://LOCALHOST:8443/", BadTarget::PrivateName),
        ("https://localhost./", BadTarget::PrivateName),
        ("https://a.b.localhost/", BadTarget::PrivateName),
        ("https://localhost.localdomain/", BadTarget::PrivateName),
        ("https://printer.local/", BadTarget::PrivateName),
        ("https://kubernetes.default.svc.cluster.local/", BadTarget::PrivateName),
        ("https://metadata.google.internal/", BadTarget::PrivateName),
        ("https://metadata.google.internal./", BadTarget::PrivateName),
        ("https://router.home.arpa/", BadTarget::PrivateName),
        ("https://metadata/", BadTarget::PrivateName),
        ("https://postgres:5432/", BadTarget::PrivateName),
        ("https://ｌｏｃａｌｈｏｓｔ/", BadTarget::PrivateName),
    ] {
        assert_eq!(refused(text), reason, "{text:?}");
    }
    let long = format!("https://example.com/{}", "a".repeat(2_029));
    assert_eq!(refused(&long), BadTarget::TooLong);
    assert!(Target::parse(&long[..2_048], &STRICT).is_ok());
}

/// The URL standard folds all of these.
#[test]
fn an_address_that_is_not_public_is_refused_in_every_spelling() {
    use NotPublic::{
        Compatible, LinkLocal, Loopback, Private, Protocol, Translation, Tunnel, UniqueLocal, Unspecified,
    };
    for (host, kind) in [
        ("127.0.0.1", Loopback),
        ("127.1", Loopback),
        ("127.0.1", Loopback),
        ("2130706433", Loopback),
        ("0x7f000001", Loopback),
        ("0x7F.1", Loopback),
        ("0177.0.0.1", Loopback),
        ("017700000001", Loopback),
        ("0x7f.0.0.0x1", Loopback),
        ("127.0.0.1.", Loopback),
        ("%31%32%37.0.0.1", Loopback),
        ("１２７.０.０.１", Loopback),
        ("127。0。0。1", Loopback),
        ("①②⑦.0.0.1", Loopback),
        ("0", Unspecified),
        ("0.0.0.0", Unspecified),
        ("0x0", Unspecified),
        ("10.1", Private),
        ("192.168.257", Private),
        ("3232235777", Private),
        ("169.254.169.254", LinkLocal),
        ("2852039166", LinkLocal),
        ("0xa9fea9fe", LinkLocal),
        ("0251.0376.0251.0376", LinkLocal),
        ("169.16689662", LinkLocal),
        ("[::]", Unspecified),
        ("[::1]", Loopback),
        ("[0:0:0:0:0:0:0:1]", Loopback),
        ("[::127.0.0.1]", Compatible),
        ("[::7f00:1]", Compatible),
        ("[::ffff:127.0.0.1]", Loopback),
        ("[::FFFF:7F00:0001]", Loopback),
        ("[::ffff:a9fe:a9fe]", LinkLocal),
        ("[64:ff9b::127.0.0.1]", Loopback),
        ("[64:ff9b::a9fe:a9fe]", LinkLocal),
        ("[64:ff9b:1::10.0.0.1]", Translation),
        ("[2002:7f00:1::]", Tunnel),
        ("[2001:0:7f00:1::]", Protocol),
        ("[fd00::1]", UniqueLocal),
        ("[fe80::1]", LinkLocal),
    ] {
        match refused(&format!("https://{host}:8443/")) {
            BadTarget::NotPublic { kind: found, .. } => assert_eq!(found, kind, "{host}"),
            other => panic!("{host} {other}"),
        }
    }
    let text = refused("https://2130706433/").to_string();
    assert_eq!(text, "must not lead to 127.0.0.1, which is a loopback address");
}

#[test]
fn allowing_private_addresses_allows_plain_http_and_private_names() {
    for text in [
        "http://127.0.0.1:9000/",
        "http://localhost/",
        "http://receiver:80/",
        "https://10.0.0.1/",
        "http://[::1]:1/",
        "http://[fd00::1]/",
        "https://a.cluster.local/",
        "http://1.1.1.1/",
    ] {
        assert!(Target::parse(text, &LENIENT).is_ok(), "{text}");
    }
    for (text, reason) in [
        ("ftp://127.0.0.1/", BadTarget::NotHttp),
        ("http://u:p@127.0.0.1/", BadTarget::Credentials),
        ("http://127.0.0.1/#x", BadTarget::Fragment),
        ("http://127.0.0.1:0/", BadTarget::Port),
    ] {
        assert_eq!(Target::parse(text, &LENIENT), Err(reason), "{text}");
    }
    for text in
        ["http://169.254.169.254/latest/", "http://[fd00:ec2::254]/", "http://0/", "http://224.0.0.1/"]
    {
        assert!(matches!(Target::parse(text, &LENIENT), Err(BadTarget::NotPublic { .. })), "{text}");
    }
}
