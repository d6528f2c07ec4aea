//! The settings of a process with roles: what each role needs, and what is said where it is missing.

use super::Place;

const SECRET: &str = "cluster:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SEALING: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Everything that any role needs.
const ALL: [(&str, &str); 7] = [
    ("THALWEG_KAFKA_BROKERS", "127.0.0.1:1,127.0.0.1:2"),
    ("THALWEG_CQL_NODES", "127.0.0.1:3"),
    ("THALWEG_POSTGRES_URL", "postgres://thalweg:hidden@127.0.0.1:4/thalweg"),
    ("THALWEG_TOKEN_SECRET", SECRET),
    ("THALWEG_SEALING_SECRET", SEALING),
    ("THALWEG_INTERNAL_SECRET", SECRET),
    ("THALWEG_CONTROL_PLANE_URL", "http://127.0.0.1:5,http://127.0.0.1:6"),
];

/// What one role can't do without.
fn needed_by(role: &str) -> Vec<&'static str> {
    match role {
        "ingest" => vec!["KAFKA_BROKERS", "INTERNAL_SECRET", "CONTROL_PLANE_URL"],
        "writer" => vec!["KAFKA_BROKERS", "CQL_NODES"],
        "reader" => vec!["CQL_NODES", "INTERNAL_SECRET", "CONTROL_PLANE_URL"],
        _ => vec![
            "KAFKA_BROKERS",
            "CQL_NODES",
            "POSTGRES_URL",
            "TOKEN_SECRET",
            "SEALING_SECRET",
            "INTERNAL_SECRET",
        ],
    }
}

#[test]
fn a_role_names_every_setting_that_it_lacks_and_needs_no_other() {
    let place = Place::new();
    for role in ["ingest", "writer", "reader", "control-plane"] {
        let needed: Vec<String> = needed_by(role).iter().map(|name| format!("THALWEG_{name}")).collect();
        let own: Vec<_> =
            ALL.into_iter().filter(|(name, _)| needed.iter().any(|needed| needed == name)).collect();
        let line = format!("config check --role {role}");
        assert_eq!(place.run(&line, &own).code, Some(0), "{role} with all that it needs");
        for lacking in 0..own.len() {
            let mut rest = own.clone();
            let (variable, _) = rest.remove(lacking);
            let key = variable.trim_start_matches("THALWEG_").to_lowercase();
            let says = format!("thalweg: {key} is missing: the role {role} needs it; set {variable}\n");
            place.run(&line, &rest).refused(78, &says);
            place.run(&format!("serve --role {role}"), &rest).refused(78, &says);
        }
    }
}

#[test]
fn roles_of_one_process_need_no_url_of_their_own_control_plane() {
    let place = Place::new();
    let without_url = &ALL[..6];
    assert_eq!(
        place.run("config check --role ingest,writer,reader,control-plane", without_url).code,
        Some(0)
    );
    place.run("config check --role ingest,writer", without_url).refused(78, "control_plane_url is missing");
    place
        .run("config check --role ingest,mqtt", &ALL)
        .refused(64, "possible values: ingest, writer, reader, control-plane");
}

#[test]
fn settings_of_a_cluster_are_refused_where_they_stand_and_no_secret_is_shown() {
    let place = Place::new();
    for (variable, value, says) in [
        ("THALWEG_ROLE", "mqtt", "has to be one of: ingest, writer, reader, control-plane"),
        (
            "THALWEG_POSTGRES_URL",
            "mysql://u:hidden@h/d",
            "THALWEG_POSTGRES_URL: is not written as postgres://",
        ),
        ("THALWEG_SEALING_SECRET", "hidden", "THALWEG_SEALING_SECRET: is not 32 or more bytes in base64url"),
        (
            "THALWEG_INTERNAL_SECRET",
            "hidden",
            "THALWEG_INTERNAL_SECRET: a secret is not written as `kid:secret`",
        ),
        ("THALWEG_CONTROL_PLANE_URL", "https://a", "has to begin with http://"),
        ("THALWEG_CQL_CONSISTENCY", "one", "has to be quorum or local-quorum"),
        ("THALWEG_CQL_KEYSPACE", "no-keyspace", "lower case letters"),
        ("THALWEG_CQL_USER", "u", "cql_user and cql_password are given together"),
        ("THALWEG_KAFKA_IN_SYNC_MIN", "4", "kafka_in_sync_min is 4: more than the 3 of kafka_replication"),
        ("THALWEG_KAFKA_PARTITIONS", "0", "kafka_partitions is 0"),
    ] {
        let ended = place.run("config check", &[(variable, value)]);
        ended.refused(78, says);
        assert!(!ended.err.contains("hidden"), "{ended:?}");
    }
    let shown = place.run("config show --role control-plane", &ALL);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.out.contains("role = \"control-plane\""), "{shown:?}");
    assert!(!shown.out.contains("hidden") && !shown.out.contains(SEALING), "{shown:?}");
}

#[test]
fn without_a_role_the_settings_of_a_cluster_are_said_to_have_no_effect() {
    let ended = Place::new().run("config check", &ALL[..1]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.contains("THALWEG_KAFKA_BROKERS has no effect: without THALWEG_ROLE"), "{ended:?}");
}

#[test]
fn a_role_whose_engine_is_not_there_says_which_and_where() {
    let place = Place::new();
    let nowhere = place.run("serve --listen 127.0.0.1:0 --role reader", &ALL);
    nowhere.refused(69, "the store can't be used (cql_nodes)");
}
