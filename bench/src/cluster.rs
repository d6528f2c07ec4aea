//! A cluster on loopback that `deploy/cluster` started: where its processes are, and what is done to them.
//!
//! Only ever touches the nodes of that cluster, by that script.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::api::Login;

/// A running cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    script: PathBuf,
    directory: PathBuf,
    /// The proxy in front, which serves the whole API.
    pub front: SocketAddr,
    /// The admin that its first start created.
    pub admin: Login,
}

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL. Its data stay.
    Kill,
    /// SIGSTOP.
    Freeze,
    /// SIGCONT.
    Thaw,
    /// Ended in good order if it lives, started on the same data and ports, and waited for until it is ready.
    Restart,
}

impl Fault {
    /// What the script calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Restart => "restart",
        }
    }
}

impl Cluster {
    /// The cluster that `deploy/cluster with` told this process of.
    ///
    /// # Errors
    /// When there is none.
    #[expect(
        clippy::disallowed_methods,
        reason = "the script tells its command by variables where the cluster is"
    )]
    pub fn from_environment(script: &Path) -> anyhow::Result<Self> {
        let variable = |name: &str| {
            std::env::var(name)
                .with_context(|| format!("{name} is not set: run this by `deploy/cluster with`"))
        };
        let front = variable("THALWEG_URL")?;
        let front = front.trim_start_matches("http://").parse();
        let or = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        Ok(Self {
            script: script.to_owned(),
            directory: variable("CLUSTER_DIR")?.into(),
            front: front.context("THALWEG_URL is not http://address:port")?,
            admin: Login {
                email: or("THALWEG_ADMIN_EMAIL", "admin@example.com"),
                password: or("THALWEG_ADMIN_PASSWORD", "12345678"),
            },
        })
    }

    /// Does this to nodes, one after the other, and waits until it is done.
    ///
    /// # Errors
    /// When there is no such node, or one does not come back.
    pub async fn fault(&self, fault: Fault, nodes: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.script);
        command.arg(fault.word()).args(nodes).arg("--dir").arg(&self.directory);
        let done = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let done = done.with_context(|| format!("can't run {}", self.script.display()))?;
        if !done.status.success() {
            bail!("{} {nodes:?} failed: {}", fault.word(), String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    /// Where one process of a role listens, such as `ingest-2`.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn address_of(&self, node: &str) -> anyhow::Result<SocketAddr> {
        let file = self.directory.join(node).join("settings");
        let text = std::fs::read_to_string(&file).with_context(|| format!("there is no node {node}"))?;
        let listen = text.lines().find_map(|line| line.strip_prefix("listen="));
        Ok(listen.with_context(|| format!("{node} does not listen"))?.parse()?)
    }

    /// What the engines gave as this variable, such as `THALWEG_KAFKA_BROKERS`.
    ///
    /// # Errors
    /// When they gave none.
    pub fn engine(&self, variable: &str) -> anyhow::Result<String> {
        let text = std::fs::read_to_string(self.directory.join("addresses"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('='));
        Ok(value.with_context(|| format!("the engines gave no {variable}"))?.to_owned())
    }
}
