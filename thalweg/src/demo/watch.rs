//! Has the fleet publish, shows what arrives, and makes sure at the end that nothing acknowledged is missing.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::client::{Api, Page};
use super::publisher::{Fleet, publish};
use super::screen::{Screen, View, grouped};
use super::settings::Demo;
use super::simulation::RECORDS_PER_PACK;
use super::tally::{Progress, Tally};

/// When the first drawing is made: something has arrived by then.
const FIRST_DRAWING: Duration = Duration::from_millis(500);
/// How long a server may refuse every pack before the demo gives up.
const REFUSED_MAX: Duration = Duration::from_secs(10);
/// How long the last acknowledged records may take to show up in reads.
const STORED_WAIT_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks for them.
const STORED_POLL: Duration = Duration::from_millis(50);
/// Drawings that the shown rate is taken over.
const RATE_DRAWINGS: usize = 8;

/// Publishes until the demo's time is over, `shutdown`, or the server refuses everything.
pub(super) async fn watch(
    settings: &Demo,
    api: &Api,
    fleet: Arc<Fleet>,
    screen: &mut Screen,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (tally, stop, began) = (Arc::new(Tally::new()), shutdown.child_token(), Instant::now());
    let publisher = publish(api.clone(), Arc::clone(&fleet), settings.rate, Arc::clone(&tally), stop.clone());
    let publisher = tokio::spawn(publisher);
    let mut watching =
        Watching { api, fleet, tally, screen, recent: VecDeque::from([(began, 0)]), page: Page::default() };
    let end = settings.duration.map(|duration| began + duration);
    let watched = tokio::select! {
        watched = watching.draw_on() => watched,
        () = until(end) => Ok(()),
        () = stop.cancelled() => Ok(()),
    };
    stop.cancel();
    publisher.await?;
    watched?;
    watching.conclude(began.elapsed()).await
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}

struct Watching<'a> {
    api: &'a Api,
    fleet: Arc<Fleet>,
    tally: Arc<Tally>,
    screen: &'a mut Screen,
    /// When drawings were made, and how many packs were acknowledged by then.
    recent: VecDeque<(Instant, u64)>,
    page: Page,
}

impl Watching<'_> {
    /// Draws again and again. Ends only with an error.
    async fn draw_on(&mut self) -> anyhow::Result<()> {
        let mut ticks = interval_at(Instant::now() + FIRST_DRAWING, self.screen.interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // A page that can't be read is left as it was: the publishers' problem is shown, and ends the demo.
            if let Ok(page) = self.read().await {
                self.page = page;
            }
            let progress = self.draw()?;
            if let Some((problem, _)) = progress.problem.filter(|(_, lasting)| *lasting >= REFUSED_MAX) {
                bail!("no pack was taken for {} s: {problem}", REFUSED_MAX.as_secs());
            }
        }
    }

    /// A page on which each thing's newest pack is, even if some are on their way out of turn.
    async fn read(&self) -> anyhow::Result<Page> {
        let limit = 2 * RECORDS_PER_PACK * self.fleet.things.len() as u64;
        self.api.latest(&self.fleet.channel, &self.fleet.things[0], limit).await
    }

    fn draw(&mut self) -> anyhow::Result<Progress> {
        let (now, progress) = (Instant::now(), self.tally.progress(Instant::now().into_std()));
        let (since, before) = self.recent[0];
        let seconds = now.saturating_duration_since(since).as_secs_f64().max(f64::EPSILON);
        self.screen.draw(&View {
            things: &self.fleet.things,
            records: &self.page.messages,
            stored: self.page.total,
            progress: &progress,
            rate: (progress.acknowledged - before) as f64 / seconds,
        })?;
        self.recent.push_back((now, progress.acknowledged));
        if self.recent.len() > RATE_DRAWINGS {
            self.recent.pop_front();
        }
        Ok(progress)
    }

    /// Waits until what was acknowledged is stored, and sums up.
    async fn conclude(&mut self, elapsed: Duration) -> anyhow::Result<()> {
        let wanted = self.tally.progress(Instant::now().into_std()).acknowledged * RECORDS_PER_PACK;
        let deadline = Instant::now() + STORED_WAIT_MAX;
        self.page = self.read().await?;
        while self.page.total < wanted && Instant::now() < deadline {
            sleep(STORED_POLL).await;
            self.page = self.read().await?;
        }
        let progress = self.draw()?;
        let stored = self.page.total;
        if stored < wanted {
            bail!("of {} acknowledged records only {} are stored", grouped(wanted), grouped(stored));
        }
        self.screen.line(format!(
            "\nIn {:.1} s: {} packs sent, {} acknowledged, all of their {} records stored.",
            elapsed.as_secs_f64(),
            grouped(progress.sent),
            grouped(progress.acknowledged),
            grouped(wanted),
        ))?;
        Ok(())
    }
}
