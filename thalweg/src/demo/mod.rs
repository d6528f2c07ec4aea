//! `thalweg demo`: a small fleet publishes to a server, and the person who started it watches what arrives.
//!
//! It is a client like any other: everything it does goes over HTTP, and it prints the same as commands. The only thing
//! it does in this process is to run a server of its own where none is given.

mod by_hand;
mod client;
mod embedded;
mod publisher;
mod screen;
mod settings;
mod simulation;
mod tally;
mod watch;

use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

pub(crate) use self::settings::Demo;

use self::by_hand::{Subject, quoted};
use self::client::{Account, Api};
use self::embedded::{Data, Embedded};
use self::publisher::Fleet;
use self::screen::Screen;
use self::settings::Base;
use crate::exit::Step;

/// Runs the demo for its time, or until `shutdown`.
pub(crate) async fn run(settings: Demo, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut screen = Screen::new(settings.plain);
    let shown = match settings.url.clone() {
        Some(base) => show_given(&settings, base, &mut screen, shutdown).await.context(Step::Demo),
        None => show_own(&settings, &mut screen, shutdown).await,
    };
    match shown {
        Err(error) if is_closed_output(&error) => Ok(()),
        shown => shown,
    }
}

/// Whoever reads the output has seen enough, as in `thalweg demo | head`.
fn is_closed_output(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn show_given(
    settings: &Demo,
    base: Base,
    screen: &mut Screen,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let api = Api::new(base.clone())?;
    api.greet().await?;
    screen.line(format!("Thalweg demo on {base}"))?;
    show(settings, &api, &base, screen, shutdown).await?;
    screen.line("The account, the things and the channel stay: the commands above go on working.")?;
    Ok(())
}

async fn show_own(settings: &Demo, screen: &mut Screen, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut server = Embedded::start(settings).await?;
    let (base, directory) = (server.base.clone(), server.data.path().display().to_string());
    let (fate, afterwards) = match &server.data {
        Data::Temporary(_) => (
            "removed at the end",
            format!("Its data is removed. This keeps it:\n{} demo --data-dir thalweg-demo", program()),
        ),
        Data::Kept(_) => (
            "kept",
            format!(
                "This goes on with its data, and the commands above go on working:\n{} serve --listen {} --data-dir {}",
                program(),
                server.address,
                quoted(&directory)
            ),
        ),
    };
    screen.line(format!("Thalweg demo on {base}\nData:  {directory} ({fate})"))?;
    if let Some((email, password)) = &server.admin {
        screen.line(format!("Admin: {email} with the password {password} (shown once)"))?;
    }
    let api = Api::new(base.clone())?;
    let shown = tokio::select! {
        shown = show(settings, &api, &base, screen, shutdown) => shown.context(Step::Demo),
        error = server.failed() => return Err(error),
    };
    let stopped = server.stop().await;
    shown?;
    stopped?;
    screen.line(afterwards)?;
    Ok(())
}

/// Sets a fleet up, says how to do it by hand, and watches it publish.
async fn show(
    settings: &Demo,
    api: &Api,
    base: &Base,
    screen: &mut Screen,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let account = account(settings);
    let made_account = settings.email.is_none();
    let set_up = set_up(api, &account, made_account, usize::from(settings.things));
    let Some(fleet) = shutdown.run_until_cancelled(set_up).await else { return Ok(()) };
    let fleet = Arc::new(fleet?);
    let (channel, thing) = (fleet.channel.as_str(), &fleet.things[0]);
    screen.line("\nThe same by hand, in another terminal:")?;
    for command in by_hand::commands(Subject { base, account: &account, made_account, channel, thing }) {
        screen.heading(&format!("{}:", command.purpose))?;
        screen.line(command.line)?;
    }
    let things = fleet.things.len();
    screen.line(format!(
        "\n{things} {} publish {} packs of {} records a second; Ctrl-C ends it.\n",
        if things == 1 { "thing" } else { "things" },
        settings.rate,
        simulation::RECORDS_PER_PACK
    ))?;
    watch::watch(settings, api, fleet, screen, shutdown).await
}

async fn set_up(api: &Api, account: &Account, make_account: bool, things: usize) -> anyhow::Result<Fleet> {
    if make_account {
        api.sign_up(account).await?;
    }
    let token = api.log_in(account).await?;
    let names: Vec<String> = (1..=things).map(|number| format!("cold-room-{number}")).collect();
    let things = api.create_things(&token, &names).await?;
    let channel = api.create_channel(&token, "cold-rooms").await?;
    api.connect(&token, &channel, &things).await?;
    Ok(Fleet { channel, things })
}

/// The account that was given, or a new one that nobody can guess.
fn account(settings: &Demo) -> Account {
    let mut random = rand::rng();
    match (&settings.email, &settings.password) {
        (Some(email), Some(password)) => Account { email: email.clone(), password: password.clone() },
        _ => Account {
            email: format!("demo-{:08x}@example.com", random.random::<u32>()),
            password: format!("{:016x}", random.random::<u64>()),
        },
    }
}

/// How this program was called.
fn program() -> String {
    let program = std::env::args().next().unwrap_or_else(|| "thalweg".to_owned());
    quoted(&program).into_owned()
}
