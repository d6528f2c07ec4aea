//! Compressed bodies, and bodies that pretend to be.

use std::io::Write as _;

use serde_json::Value;

use crate::harness::Server;

const PACK: &[u8] = br#"[{"n":"a","t":1700000000,"v":1}]"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 19).unwrap()
}

#[tokio::test]
async fn compressed_packs_are_stored_as_any_other() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    for (encoding, body) in [("gzip", gzip(PACK)), ("zstd", zstd(PACK))] {
        let answer = thing.post(&format!("/{encoding}")).header("Content-Encoding", encoding).body(body);
        assert_eq!(answer.send().await.unwrap().status(), 202, "{encoding}");
    }
    thing.until_stored(2).await;
}

#[tokio::test]
async fn a_bomb_is_413_and_a_pretender_is_400_and_an_unknown_encoding_is_415() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let bomb = vec![b' '; 64 << 20];
    let cases = [
        ("gzip", gzip(&bomb), 413),
        ("zstd", zstd(&bomb), 413),
        ("gzip", PACK.to_vec(), 400),
        ("zstd", gzip(PACK), 400),
        ("br", PACK.to_vec(), 415),
        ("gzip, gzip", PACK.to_vec(), 415),
    ];
    for (encoding, body, status) in cases {
        let answer = thing.post("").header("Content-Encoding", encoding).body(body).send().await.unwrap();
        assert_eq!(answer.status(), status, "{encoding}");
        assert!(answer.json::<Value>().await.unwrap()["error"].is_string());
    }
}
