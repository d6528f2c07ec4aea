use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;

const NOW: i64 = 1_700_000_000;

fn secret(kid: &str, byte: u8) -> NamedSecret {
    NamedSecret { kid: kid.to_owned(), secret: Zeroizing::new(vec![byte; 32]) }
}

fn login() -> Login {
    Login { user: UserId::from_bytes([5; 16]), generation: 3 }
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn sign(header: &Value, claims: &Value, key: &[u8]) -> String {
    let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    let tag = aws_lc_rs::hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[test]
fn a_token_has_the_claims_of_the_reference_and_no_others() {
    let token = Tokens::new(&[secret("a", 1)]).issue(login(), "ann@example.com", NOW);
    assert_eq!(part(&token, 0), json!({"alg": "HS256", "typ": "JWT", "kid": "a", "gen": 3}));
    let claims = json!({
        "exp": NOW + 36_000, "iat": NOW, "iss": "mainflux.auth", "sub": "ann@example.com",
        "issuer_id": login().user.to_string(), "type": 0,
    });
    assert_eq!(part(&token, 1), claims);
}

#[test]
fn a_token_is_valid_until_the_second_it_names() {
    let tokens = Tokens::new(&[secret("a", 1)]);
    let token = tokens.issue(login(), "ann@example.com", NOW);
    assert_eq!(tokens.verify(&token, NOW), Ok(Verified::Login(login())));
    assert_eq!(tokens.verify(&token, NOW + 35_999), Ok(Verified::Login(login())));
    assert_eq!(tokens.verify(&token, NOW + 36_000), Err(InvalidToken));
}

#[test]
fn the_previous_secret_is_accepted_until_it_is_taken_away() {
    let old = Tokens::new(&[secret("old", 1)]).issue(login(), "ann@example.com", NOW);
    let both = Tokens::new(&[secret("new", 2), secret("old", 1)]);
    assert_eq!(both.verify(&old, NOW), Ok(Verified::Login(login())));
    assert_eq!(part(&both.issue(login(), "ann@example.com", NOW), 0)["kid"], "new");
    assert_eq!(Tokens::new(&[secret("new", 2)]).verify(&old, NOW), Err(InvalidToken));
    assert_eq!(
        Tokens::new(&[secret("old", 2)]).verify(&old, NOW),
        Err(InvalidToken),
        "same kid, other secret"
    );
}

#[test]
fn forgeries_are_refused() {
    let tokens = Tokens::new(&[secret("a", 1)]);
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": "a", "gen": 3});
    let good = json!({
        "exp": NOW + 10, "iat": NOW, "iss": "mainflux.auth", "sub": "ann@example.com",
        "issuer_id": login().user.to_string(), "type": 0,
    });
    assert_eq!(
        tokens.verify(&sign(&header, &good, &[1; 32]), NOW),
        Ok(Verified::Login(login())),
        "the forger's tool works"
    );

    let with = |base: &Value, name: &str, value: Value| {
        let mut changed = base.clone();
        changed[name] = value;
        changed
    };
    for (name, value) in [
        ("iss", json!("somebody")),
        ("iss", json!(null)),
        ("type", json!(2)),
        ("exp", json!(NOW)),
        ("exp", json!(null)),
        ("exp", json!(-1)),
        ("exp", json!("9999999999")),
        ("issuer_id", json!("nobody")),
        ("sub", json!(null)),
    ] {
        let forged = sign(&header, &with(&good, name, value.clone()), &[1; 32]);
        assert_eq!(tokens.verify(&forged, NOW), Err(InvalidToken), "{name} = {value}");
    }
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS384")),
        ("alg", json!("RS256")),
        ("kid", json!("b")),
        ("kid", json!(null)),
        ("gen", json!(null)),
        ("gen", json!("3")),
    ] {
        let forged = sign(&with(&header, name, value.clone()), &good, &[1; 32]);
        assert_eq!(tokens.verify(&forged, NOW), Err(InvalidToken), "{name} = {value}");
    }
    let token = tokens.issue(login(), "ann@example.com", NOW);
    let unsigned = token.rsplit_once('.').unwrap().0;
    for forged in [
        format!("{unsigned}."),
        unsigned.to_owned(),
        format!("{token}x"),
        token.replacen('.', "..", 1),
        String::new(),
        "..".to_owned(),
        "not.a.token".to_owned(),
        sign(&header, &good, &[2; 32]),
    ] {
        assert_eq!(tokens.verify(&forged, NOW), Err(InvalidToken), "{forged}");
    }
}

#[test]
fn an_api_key_names_itself_and_may_have_no_end() {
    let tokens = Tokens::new(&[secret("a", 1)]);
    let key = KeyToken {
        key: ApiKeyId::from_bytes([7; 16]),
        user: login().user,
        issued_at: NOW,
        expires_at: Some(NOW + 10),
    };
    let verified = Ok(Verified::Key { key: key.key, user: key.user });
    let token = tokens.issue_key(key, "ann@example.com");
    assert_eq!(part(&token, 0), json!({"alg": "HS256", "typ": "JWT", "kid": "a"}));
    let claims = json!({
        "exp": NOW + 10, "jti": key.key.to_string(), "iat": NOW, "iss": "mainflux.auth", "sub": "ann@example.com",
        "issuer_id": login().user.to_string(), "type": 2,
    });
    assert_eq!(part(&token, 1), claims);
    assert_eq!(tokens.verify(&token, NOW + 9), verified);
    assert_eq!(
        tokens.verify(&token, NOW + 10),
        verified,
        "when it ends, to the microsecond, the registry knows"
    );
    let endless = tokens.issue_key(KeyToken { expires_at: None, ..key }, "ann@example.com");
    assert_eq!(part(&endless, 1).get("exp"), None);
    assert_eq!(tokens.verify(&endless, i64::MAX), verified);

    let header = json!({"alg": "HS256", "typ": "JWT", "kid": "a", "gen": 3});
    for (name, value) in [("jti", json!(null)), ("jti", json!("x")), ("type", json!(1)), ("type", json!(0))] {
        let mut forged = part(&endless, 1);
        forged[name] = value.clone();
        let forged = sign(&header, &forged, &[1; 32]);
        assert_eq!(tokens.verify(&forged, NOW), Err(InvalidToken), "{name} = {value}");
    }
}
