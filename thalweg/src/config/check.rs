//! What has to hold between settings, and what no value may be.
//!
//! Each value by itself was checked when it was read; here are the rules that need more than one, or that clap can't say.

use std::time::Duration;

use super::given::Problem;
use super::setting::Settings;
use crate::cli::Serve;
use crate::cli::cluster::Cluster;
use crate::cli::roles::Role;

/// Bytes of a pack that fit into one entry of the log with its headers, with room to spare.
const PACK_BYTES_LARGEST: usize = log::format::FRAME_CONTENT_BYTES_MAX - (64 << 10);
/// What a semaphore can count.
const COUNTED_LARGEST: usize = tokio::sync::Semaphore::MAX_PERMITS;
/// What a publish takes at most, as a multiple of a body: as sent, and inflated.
const BODIES_IN_FLIGHT: usize = 2;
/// What a publish takes besides its body.
const PUBLISH_BYTES: usize = 4 << 10;

/// Everything that is wrong.
pub(crate) fn problems(settings: &Serve) -> Vec<Problem> {
    zeros(settings).chain(contradictions(settings)).chain(missing(settings)).map(Problem).collect()
}

fn zeros(settings: &Serve) -> impl Iterator<Item = String> {
    let numbers = [
        ("body_bytes_max", settings.body_bytes_max as u64),
        ("records_per_pack_max", settings.records_per_pack_max as u64),
        ("in_flight_bytes_max", settings.in_flight_bytes_max as u64),
        ("connections_max", settings.connections_max as u64),
        ("kafka_partitions", settings.cluster.kafka_partitions.into()),
        ("kafka_in_sync_min", settings.cluster.kafka_in_sync_min.into()),
        ("cql_replicas", settings.cluster.cql_replicas.into()),
        ("connections_per_address_max", settings.connections_per_address_max.map_or(1, |most| most as u64)),
        ("log_retention_bytes", settings.log_retention_bytes),
    ];
    let times = [
        ("header_timeout", settings.header_timeout),
        ("body_timeout", settings.body_timeout),
        ("write_timeout", settings.write_timeout),
        ("log_retention_age", settings.log_retention_age),
    ];
    let numbers = numbers.into_iter().filter(|(_, number)| *number == 0).map(|(key, _)| key);
    let times = times.into_iter().filter(|(_, time)| *time == Duration::ZERO).map(|(key, _)| key);
    numbers.chain(times).map(|key| format!("{key} is 0: with it nothing would work"))
}

fn contradictions(settings: &Serve) -> impl Iterator<Item = String> {
    let Serve { body_bytes_max, in_flight_bytes_max, connections_max, .. } = settings;
    let needed = body_bytes_max.saturating_mul(BODIES_IN_FLIGHT).saturating_add(PUBLISH_BYTES);
    let size = |bytes: usize| super::values::print_bytes(bytes as u64);
    let Cluster { kafka_replication, kafka_in_sync_min, cql_user, cql_password, .. } = &settings.cluster;
    let rules = [
        (kafka_replication < kafka_in_sync_min).then(|| {
            format!("kafka_in_sync_min is {kafka_in_sync_min}: more than the {kafka_replication} of kafka_replication")
        }),
        (cql_user.is_some() != cql_password.is_some())
            .then(|| "cql_user and cql_password are given together, or not at all".to_owned()),
        (*connections_max > COUNTED_LARGEST)
            .then(|| format!("connections_max is {connections_max}: {COUNTED_LARGEST} is the most")),
        (*in_flight_bytes_max > COUNTED_LARGEST).then(|| {
            let most = size(COUNTED_LARGEST);
            format!("in_flight_bytes_max is {in_flight_bytes_max}: {most} is the most")
        }),
        (*body_bytes_max > PACK_BYTES_LARGEST).then(|| {
            format!(
                "body_bytes_max is {}: the log takes packs of up to {}",
                size(*body_bytes_max),
                size(PACK_BYTES_LARGEST)
            )
        }),
        (*body_bytes_max <= PACK_BYTES_LARGEST && *in_flight_bytes_max < needed).then(|| {
            format!(
                "in_flight_bytes_max is {}: with a body_bytes_max of {} one compressed pack may take {}, so that none would be taken",
                size(*in_flight_bytes_max),
                size(*body_bytes_max),
                size(needed)
            )
        }),
    ];
    rules.into_iter().flatten()
}

/// What a role can't do without.
fn missing(settings: &Serve) -> impl Iterator<Item = String> {
    use Role::{ControlPlane, Ingest, Reader, Webhooks, Writer};
    let Cluster { role: roles, .. } = &settings.cluster;
    let cluster = &settings.cluster;
    let asks_others = |role| if roles.contains(&ControlPlane) { None } else { Some(role) };
    let needs: [(&str, bool, &[Option<Role>]); 7] = [
        (
            "kafka_brokers",
            !cluster.kafka_brokers.is_empty(),
            &[Some(Ingest), Some(Writer), Some(ControlPlane), Some(Webhooks)],
        ),
        ("cql_nodes", !cluster.cql_nodes.is_empty(), &[Some(Writer), Some(Reader), Some(ControlPlane)]),
        ("postgres_url", cluster.postgres_url.is_some(), &[Some(ControlPlane), Some(Webhooks)]),
        ("token_secret", settings.token_secret.is_some(), &[Some(ControlPlane)]),
        ("sealing_secret", cluster.sealing_secret.is_some(), &[Some(ControlPlane), Some(Webhooks)]),
        (
            "internal_secret",
            cluster.internal_secret.is_some(),
            &[Some(Ingest), Some(Reader), Some(ControlPlane)],
        ),
        (
            "control_plane_url",
            !cluster.control_plane_url.is_empty(),
            &[asks_others(Ingest), asks_others(Reader)],
        ),
    ];
    let lack = |(key, is_given, needed_by): (&str, bool, &[Option<Role>])| {
        let role = needed_by.iter().flatten().find(|role| roles.contains(role)).filter(|_| !is_given)?;
        let variable = Settings::defined().iter().find(|setting| setting.key() == key)?.variable().to_owned();
        Some(format!("{key} is missing: the role {} needs it; set {variable}", role.name()))
    };
    needs.map(lack).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn problems_with(flags: &str) -> Vec<String> {
        let command = Serve::augment_args(clap::Command::new("settings").no_binary_name(true));
        let matches = command.try_get_matches_from(flags.split_whitespace()).unwrap();
        let problems = problems(&Serve::from_arg_matches(&matches).unwrap());
        problems.into_iter().map(|problem| problem.0).collect()
    }

    #[test]
    fn the_defaults_and_the_least_that_works_are_no_problem() {
        let least =
            "--body-bytes-max 1 --records-per-pack-max 1 --connections-max 1 --in-flight-bytes-max 4098";
        for flags in ["", least, "--body-bytes-max 60MiB --in-flight-bytes-max 121MiB"] {
            assert_eq!(problems_with(flags), Vec::<String>::new(), "{flags}");
        }
        let less = least.replace("4098", "4097");
        assert_eq!(problems_with(&less).len(), 1, "{less}");
    }
}
