//! Deliveries, and whether who knows the secret should believe them.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};
use thalweg_outbound::signing::{Secret, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, sign};

pub(crate) const JSON: &str = r#"{"channel":"c","publisher":"p","messages":[{"name":"größe","unit":"m","time":1276020076.001,"value":1e300}]}"#;
pub(crate) const SENML: &str =
    r#"[{"n":"a","t":1,"v":-0},{"n":"b","t":2,"vs":"\u0000"},{"n":"c","t":3,"vb":true}]"#;

/// One delivery as it arrives.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: &'static str,
    /// The records in it, if it is to be believed.
    pub(crate) records: Option<usize>,
}

impl Case {
    pub(crate) fn id(&self) -> &str {
        self.headers.get(WEBHOOK_ID).map_or("", |id| id.to_str().unwrap())
    }
}

#[expect(clippy::disallowed_methods, reason = "who verifies goes by the time that it is, too")]
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// For somebody who has `secret`; each with an id of its own.
pub(crate) fn cases(secret: &Secret) -> Vec<Case> {
    let (other, third) = (Secret::generate(), Secret::generate());
    let mut cases = Vec::new();
    let mut add = |what, secrets: &[&Secret], age, body, records| {
        let id = format!("msg_{}", cases.len());
        cases.push(Case {
            what,
            headers: sign(secrets, &id, now() - age, str::as_bytes(body)).unwrap(),
            body,
            records,
        });
    };
    add("good", &[secret], 0, JSON, Some(1));
    add("good, of the other format", &[secret], 0, SENML, Some(3));
    add("of four minutes ago", &[secret], 240, JSON, Some(1));
    add("of a clock that is four minutes ahead", &[secret], -240, JSON, Some(1));
    add("of seven minutes ago", &[secret], 420, JSON, None);
    add("of a clock that is seven minutes ahead", &[secret], -420, JSON, None);
    add("of another secret", &[&other], 0, JSON, None);
    add("of a new secret and ours, which is the old one", &[&other, secret], 0, JSON, Some(1));
    add("of ours, which is the new one, and an old secret", &[secret, &other], 0, JSON, Some(1));
    add("of two other secrets", &[&other, &third], 0, JSON, None);
    add("of nobody", &[], 0, JSON, None);
    let mut altered = |what, records, alter: &dyn Fn(&mut Case)| {
        let id = format!("msg_altered_{}", cases.len());
        let headers = sign(&[secret], &id, now(), JSON.as_bytes()).unwrap();
        let mut case = Case { what, headers, body: JSON, records };
        alter(&mut case);
        cases.push(case);
    };
    altered("with another body", None, &|case| case.body = SENML);
    altered("with the body written again", None, &|case| {
        case.body = r#"{"channel": "c","publisher":"p","messages":[{"name":"größe","unit":"m","time":1276020076.001,"value":1e300}]}"#;
    });
    altered("with another id", None, &|case| set(case, "webhook-id", "msg_stolen"));
    altered("with another time", None, &|case| set(case, "webhook-timestamp", &(now() - 1).to_string()));
    altered("without a time", None, &|case| drop(case.headers.remove(WEBHOOK_TIMESTAMP)));
    altered("with a time that is none", None, &|case| set(case, "webhook-timestamp", "soon"));
    altered("without a signature", None, &|case| drop(case.headers.remove(WEBHOOK_SIGNATURE)));
    altered("with signatures of other kinds beside", Some(1), &|case| {
        let ours = case.headers[WEBHOOK_SIGNATURE].to_str().unwrap();
        let beside =
            format!("v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe4= v2,AAAA v1,AAAA {ours} v1,BBBB");
        set(case, "webhook-signature", &beside);
    });
    altered("with a signature of another kind", None, &|case| {
        let ours = case.headers[WEBHOOK_SIGNATURE].to_str().unwrap().replace("v1,", "v2,");
        set(case, "webhook-signature", &ours);
    });
    cases
}

fn set(case: &mut Case, name: &'static str, value: &str) {
    case.headers.insert(name, HeaderValue::from_str(value).unwrap());
}
