//! `docs/webhooks.md`, and what stands in it.

use thalweg_outbound::signing::{Secret, sign};

const DOCUMENT: &str = include_str!("../../../../docs/webhooks.md");

/// The first block of code in a language.
pub(crate) fn block(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let (_, rest) =
        DOCUMENT.split_once(&fence).unwrap_or_else(|| panic!("there is no {language} in the document"));
    rest.split_once("```").unwrap().0
}

#[test]
fn the_example_is_signed_as_we_sign() {
    let header = |name: &str| {
        let line = block("http").lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(": ").to_owned()
    };
    let (_, rest) = DOCUMENT.split_once("by the secret `").unwrap();
    let secret = Secret::parse(rest.split_once('`').unwrap().0).unwrap();
    let body = block("json").trim_end();
    let signed = sign(
        &[&secret],
        &header("webhook-id"),
        header("webhook-timestamp").parse().unwrap(),
        body.as_bytes(),
    );
    assert_eq!(signed.unwrap()["webhook-signature"], header("webhook-signature"));
    assert_eq!(header("content-length"), body.len().to_string());
    assert_eq!(header("user-agent"), concat!("Thalweg-Webhooks/", env!("CARGO_PKG_VERSION")));
}
