//! What a person reads who starts the server: five lines that say where it is and where to go next.
//!
//! They go to standard output, and nothing else does; logs go to standard error. The address is on the first line, for
//! scripts. A password is shown on a terminal only: where standard output is collected, it goes into a file that only
//! the server's user may read, because collected output is kept and read by others.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::Serve;
use crate::cli::roles::Role;

/// Prints the lines. `first_password` is the password that the first start made, if this was one.
pub(crate) fn print(
    address: SocketAddr,
    settings: &Serve,
    first_password: Option<&str>,
) -> anyhow::Result<()> {
    let mut out = io::stdout();
    if !settings.cluster.role.is_empty() {
        let _ = out.write_all(of_roles(address, settings).as_bytes());
        return Ok(());
    }
    let password = match first_password {
        None => Password::Known,
        Some(password) if out.is_terminal() => Password::Shown(password.to_owned()),
        Some(password) => Password::InFile(keep(&settings.data_dir, password)?),
    };
    // Nobody has to listen.
    let _ = out.write_all(text(address, settings, &password).as_bytes());
    Ok(())
}

/// How the admin gets at the password.
enum Password {
    Known,
    Shown(String),
    InFile(PathBuf),
}

fn text(address: SocketAddr, settings: &Serve, password: &Password) -> String {
    let admin = settings.admin_email.as_str();
    let admin = match password {
        Password::Known => format!("{admin}, with the password of the first start"),
        Password::Shown(password) => format!("{admin}, password {password} (shown this once)"),
        Password::InFile(file) => {
            format!("{admin}, password in {} (read it, then delete it)", file.display())
        }
    };
    format!(
        "thalweg {} listens on http://{address}\n\
         data:    {}\n\
         admin:   {admin}\n\
         try it:  thalweg demo --url http://{address}\n\
         more:    thalweg serve --help, docs/, http://{address}/metrics\n",
        env!("CARGO_PKG_VERSION"),
        settings.data_dir.display(),
    )
}

/// The same of a process of a cluster, whose start may be read by nobody: where it listens, and what for.
fn of_roles(address: SocketAddr, settings: &Serve) -> String {
    let cluster = &settings.cluster;
    let roles: Vec<_> = cluster.role.iter().map(|role| role.name()).collect();
    let internal = match cluster.role.contains(&Role::ControlPlane) {
        true => format!("; for other roles: http://{}", cluster.internal_listen),
        false => String::new(),
    };
    format!(
        "thalweg {} listens on http://{address}{internal}\n\
         roles:   {}\n\
         more:    thalweg serve --help, docs/, http://{address}/readyz?verbose, http://{address}/metrics\n",
        env!("CARGO_PKG_VERSION"),
        roles.join(", "),
    )
}

fn keep(data: &Path, password: &str) -> anyhow::Result<PathBuf> {
    let file = data.join("admin-password");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&file)
        .and_then(|mut file| writeln!(file, "{password}").and_then(|()| file.sync_all()));
    written.with_context(|| format!("can't write the admin's password to {}", file.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    #[test]
    fn there_are_five_lines_whatever_the_password() {
        let matches = Serve::augment_args(clap::Command::new("settings")).get_matches_from(["settings"]);
        let settings = Serve::from_arg_matches(&matches).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 8080));
        for (password, line) in [
            (Password::Known, "admin:   admin@example.com, with the password of the first start"),
            (
                Password::Shown("correct horse 9".to_owned()),
                "admin:   admin@example.com, password correct horse 9 (shown this once)",
            ),
            (
                Password::InFile("thalweg-data/admin-password".into()),
                "admin:   admin@example.com, password in thalweg-data/admin-password (read it, then delete it)",
            ),
        ] {
            let text = text(address, &settings, &password);
            let lines: Vec<_> = text.lines().collect();
            assert_eq!((lines.len(), lines[2]), (5, line));
            assert!(lines[0].ends_with(" listens on http://127.0.0.1:8080"), "{text}");
        }
    }
}
