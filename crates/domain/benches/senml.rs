//! What does a record cost to parse and validate, against plain serde_json into a typed struct?
//!
//! One thread, one pack after the other, buffers reused as ingest and writer do. The packs are what a gateway sends: a
//! base name and base time, then records with a name, a unit, a time with milliseconds and a value of few or of 17
//! digits. `baseline` is `serde_json::from_slice` into a vector of a derived struct that borrows its strings: it reads the
//! same bytes, and checks and resolves nothing. Divide a time by the records in its name, or read the throughput.

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use thalweg_domain::ReceivedAt;
use thalweg_domain::senml::{self, Format, PackLimits, Scratch};

const RECEIVED: ReceivedAt = ReceivedAt::from_micros(1_700_000_000_000_000);

/// Every field of RFC 8428.
#[derive(Deserialize)]
#[expect(dead_code, reason = "the baseline reads every field, and looks at none")]
struct Plain<'a> {
    #[serde(borrow)]
    bn: Option<Cow<'a, str>>,
    bt: Option<f64>,
    #[serde(borrow)]
    bu: Option<Cow<'a, str>>,
    bv: Option<f64>,
    bs: Option<f64>,
    bver: Option<f64>,
    #[serde(borrow)]
    n: Option<Cow<'a, str>>,
    #[serde(borrow)]
    u: Option<Cow<'a, str>>,
    v: Option<f64>,
    #[serde(borrow)]
    vs: Option<Cow<'a, str>>,
    vb: Option<bool>,
    #[serde(borrow)]
    vd: Option<Cow<'a, str>>,
    s: Option<f64>,
    t: Option<f64>,
    ut: Option<f64>,
}

fn pack(records: usize, long_values: bool) -> Vec<u8> {
    let record = |i: usize| {
        let value = if long_values { 20.0 + i as f64 / 7.0 } else { 20.0 + (i % 40) as f64 / 4.0 };
        let name = ["temperature", "humidity", "voltage"][i % 3];
        let base = if i == 0 { r#""bn":"urn:dev:ow:10e2073a01080063:","bt":1699999999.5,"# } else { "" };
        format!(r#"{{{base}"n":"{name}","u":"Cel","t":-{}.125,"v":{value}}}"#, i % 60)
    };
    format!("[{}]", (0..records).map(record).collect::<Vec<_>>().join(",")).into_bytes()
}

fn record_cost(criterion: &mut Criterion) {
    let limits = PackLimits::default();
    for (digits, long_values) in [("few_digits", false), ("17_digits", true)] {
        let mut group = criterion.benchmark_group(format!("senml/{digits}"));
        for records in [1, 3, 10, 100] {
            let body = pack(records, long_values);
            let mut scratch = Scratch::default();
            group.throughput(Throughput::Elements(records as u64));
            group.bench_function(BenchmarkId::new("check", records), |bencher| {
                bencher
                    .iter(|| senml::check(Format::Json, black_box(&body), RECEIVED, &limits, &mut scratch));
            });
            group.bench_function(BenchmarkId::new("resolve", records), |bencher| {
                bencher
                    .iter(|| senml::resolve(Format::Json, black_box(&body), RECEIVED, &limits, &mut scratch));
            });
            group.bench_function(BenchmarkId::new("baseline", records), |bencher| {
                bencher
                    .iter(|| black_box(serde_json::from_slice::<Vec<Plain<'_>>>(black_box(&body))).map(drop));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, record_cost);
criterion_main!(benches);
