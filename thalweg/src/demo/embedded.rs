//! The demo's own server: the whole pipeline in this process, on a directory that is removed at the end unless it was
//! asked for.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::settings::{Base, Demo};
use crate::cli::{Command, Serve};
use crate::config::environment::Environment;
use crate::{config, serve};

/// A running server.
pub(super) struct Embedded {
    pub(super) base: Base,
    pub(super) address: SocketAddr,
    pub(super) data: Data,
    /// The admin's email and password, if this was the directory's first start.
    pub(super) admin: Option<(String, String)>,
    stop: CancellationToken,
    ended: JoinHandle<anyhow::Result<()>>,
}

/// Where a server's data is.
#[derive(Debug)]
pub(super) enum Data {
    /// Removed when it is dropped.
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Data {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(directory) => directory,
        }
    }
}

impl Embedded {
    /// Starts a server and waits until it listens.
    pub(super) async fn start(settings: &Demo) -> anyhow::Result<Self> {
        let data = match &settings.data_dir {
            Some(directory) => Data::Kept(directory.clone()),
            None => {
                let directory = tempfile::Builder::new().prefix("thalweg-demo-").tempdir();
                Data::Temporary(
                    directory.context("no temporary directory can be made: name one with --data-dir")?,
                )
            }
        };
        let serve = serve_settings(settings, data.path())?;
        let (started, mut start) = oneshot::channel();
        let stop = CancellationToken::new();
        let mut ended =
            tokio::spawn(serve::run_and_tell(serve, stop.clone(), move |address, serve, password| {
                let email = serve.admin_email.as_str().to_owned();
                let admin = password.map(|password| (email, password.to_owned()));
                // Nobody waits any more if the demo was stopped meanwhile.
                let _ = started.send((address, admin));
                Ok(())
            }));
        tokio::select! {
            Ok((address, admin)) = &mut start => {
                Ok(Self { base: Base::of(address), address, data, admin, stop, ended })
            }
            early = &mut ended => {
                early.context("the demo's server failed")??;
                bail!("the demo's server stopped at once")
            }
        }
    }

    /// When the server ends by itself: why.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.ended).await {
            Ok(Ok(())) => anyhow::anyhow!("the demo's server stopped"),
            Ok(Err(error)) => error,
            Err(error) => anyhow::Error::new(error).context("the demo's server failed"),
        }
    }

    /// Stops the server, and removes its data if it was not asked for.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.ended.await.context("the demo's server failed")??;
        if let Data::Temporary(directory) = self.data {
            let path = directory.path().to_owned();
            directory.close().with_context(|| format!("{} can't be removed", path.display()))?;
        }
        Ok(())
    }
}

/// What `thalweg serve` would run with here: the same variables, the same file, the same defaults.
fn serve_settings(settings: &Demo, data: &Path) -> anyhow::Result<Serve> {
    let words = [
        OsString::from("thalweg"),
        "serve".into(),
        "--listen".into(),
        settings.listen.to_string().into(),
        "--data-dir".into(),
        data.into(),
    ];
    match config::load(words, &Environment::of_process())?.0.command {
        Command::Serve(configured) => Ok(configured.settings),
        _ => unreachable!("the words say serve"),
    }
}
