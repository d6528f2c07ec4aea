//! How the process ends: every exit code, and which failure has which. Nothing else in the program chooses one.
//!
//! The codes are those of BSD's `sysexits.h`, so that a supervisor can tell what a restart will mend from what it won't.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::UnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;

use control_plane::OpenError;
use store::StoreError;

use crate::config::LoadError;

/// How the process ended, but for 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Usage = 64,
    Data = 65,
    Unavailable = 69,
    Internal = 70,
    CantCreate = 73,
    Io = 74,
    InUse = 75,
    Refused = 76,
    NoPermission = 77,
    Settings = 78,
}

impl Exit {
    pub(crate) const ALL: [Self; 10] = [
        Self::Usage,
        Self::Data,
        Self::Unavailable,
        Self::Internal,
        Self::CantCreate,
        Self::Io,
        Self::InUse,
        Self::Refused,
        Self::NoPermission,
        Self::Settings,
    ];

    /// What happened, as help and documentation say it.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Usage => "the command line is not understood",
            Self::Data => "stored data is damaged, or was written by a newer version",
            Self::Unavailable => "an address is in use or not of this machine, or no server answers there",
            Self::Internal => "a defect of Thalweg",
            Self::CantCreate => "the data directory can't be created",
            Self::Io => "reading or writing failed",
            Self::InUse => "another process uses the data directory",
            Self::Refused => "a server does not answer as the demo needs it",
            Self::NoPermission => "the system does not permit it",
            Self::Settings => "the settings can't be used",
        }
    }

    /// What a person does about it.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Usage => "see --help",
            Self::Data => {
                "nothing was changed: start the version that wrote the data, or keep a copy of the data directory and restore a backup"
            }
            Self::Unavailable => {
                "to listen, end what listens there or choose another address; to be answered, start a server there"
            }
            Self::Internal => "report it with what was logged",
            Self::CantCreate => "choose another --data-dir",
            Self::Io => "look at the disk (full, read-only, failing?) and start again",
            Self::InUse => "end that process, or choose another --data-dir",
            Self::Refused => "see `thalweg demo --help`, and whether that server is well: GET /readyz",
            Self::NoPermission => "run it as another user, give this one the right, or choose another place",
            Self::Settings => "mend them; `thalweg config check` looks without starting anything",
        }
    }

    /// The code of a failure.
    fn of(error: &anyhow::Error) -> Self {
        if error.is::<LoadError>() {
            return Self::Settings;
        }
        if let Some(step) = error.downcast_ref::<Step>() {
            let is_denied = error.chain().any(is_denial);
            return match step {
                Step::Lock(_) => Self::InUse,
                Step::Listen(_) | Step::ListenInternally(_) | Step::CreateData(_) if is_denied => {
                    Self::NoPermission
                }
                Step::Listen(_) | Step::ListenInternally(_) => Self::Unavailable,
                // What was found there may be no reason to try again.
                Step::Reach(..) if error.chain().any(is_foreign) => Self::Data,
                Step::Reach(..) => Self::Unavailable,
                Step::CreateData(_) => Self::CantCreate,
                // A client that was not answered has what the system said of the connection; one that was has not.
                Step::Demo if error.chain().any(|cause| cause.is::<io::Error>()) => Self::Unavailable,
                Step::Demo => Self::Refused,
            };
        }
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Internal)
    }

    /// What one link of the chain says of the whole, if it does. What was meant for a person comes before what the
    /// system said.
    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Self> {
        match cause.downcast_ref::<OpenError>() {
            Some(OpenError::SealingSecret { .. } | OpenError::Damaged(_) | OpenError::Newer(_)) => {
                return Some(Self::Data);
            }
            Some(OpenError::GivenSealingSecret | OpenError::NoAdminPassword | OpenError::Refused { .. }) => {
                return Some(Self::Settings);
            }
            Some(OpenError::Feed(_) | OpenError::Unreachable { .. }) => return Some(Self::Unavailable),
            // One that is malformed has no cause of its own.
            Some(OpenError::Secret(source)) if source.source().is_none() => return Some(Self::Data),
            Some(OpenError::Registry(source)) => {
                return Some(causes(&**source).find_map(of_io).unwrap_or(Self::Io));
            }
            Some(OpenError::Secret(_) | OpenError::Path { .. }) | None => {}
        }
        match cause.downcast_ref::<StoreError>() {
            Some(StoreError::Damaged(_) | StoreError::NewerFormat { .. }) => Some(Self::Data),
            // Where the system did not refuse, the embedded engine did, for what it found.
            Some(StoreError::Unavailable(source)) => {
                Some(causes(&**source).find_map(of_io).unwrap_or(Self::Data))
            }
            Some(StoreError::Forgotten) => Some(Self::Unavailable),
            None => of_io(cause),
        }
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}

fn of_io(cause: &(dyn Error + 'static)) -> Option<Exit> {
    let error = cause.downcast_ref::<io::Error>()?;
    Some(match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NoPermission,
        // Not the system's: the bytes are not what they should be.
        _ if error.raw_os_error().is_none() => Exit::Data,
        _ => Exit::Io,
    })
}

fn is_denial(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// A newer build, or somebody else, was there before.
fn is_foreign(cause: &(dyn Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(StoreError::Damaged(_) | StoreError::NewerFormat { .. }))
}

/// Every code, for the end of the help.
pub(crate) fn table() -> String {
    let rows = Exit::ALL.map(|exit| format!("  {:>3}  {}\n", exit as u8, exit.meaning()));
    format!(
        "Exit codes:\n    0  stopped when it was asked to\n{}  128 and the signal's number: a second signal came while it stopped",
        rows.concat()
    )
}

/// What could not be done, where the failure alone does not say how the process ends. A context of an [`anyhow::Error`].
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Listen(SocketAddr),
    CreateData(PathBuf),
    Lock(PathBuf),
    /// The listener for the other roles.
    ListenInternally(SocketAddr),
    /// An engine, and the setting that says where it is.
    Reach(&'static str, &'static str),
    Demo,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address) => write!(f, "can't listen on {address} (--listen, THALWEG_LISTEN)"),
            Self::CreateData(directory) => {
                write!(f, "can't create {} (--data-dir, THALWEG_DATA_DIR)", directory.display())
            }
            Self::Lock(directory) => write!(f, "{} is in use by another process", directory.display()),
            Self::ListenInternally(address) => {
                write!(f, "can't listen on {address} (--internal-listen, THALWEG_INTERNAL_LISTEN)")
            }
            Self::Reach(engine, key) => write!(f, "{engine} can't be used ({key})"),
            Self::Demo => f.write_str("the demo can't go on"),
        }
    }
}

/// Runs the process. A panic that nobody caught is a defect like any other.
pub(crate) fn ended_by(run: impl FnOnce() -> anyhow::Result<()> + UnwindSafe) -> ExitCode {
    match std::panic::catch_unwind(run) {
        Ok(result) => report(result),
        // It was printed when it happened.
        Err(_) => Exit::Internal.into(),
    }
}

/// Tells the person who started the process how it went, and the supervisor the same as a code.
#[expect(clippy::print_stderr, reason = "the last words of a process that may never have started to log")]
fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if let Some(LoadError::Usage(usage)) = error.downcast_ref() {
        // A broken pipe: who asked does not listen any more.
        let _ = usage.print();
        return if usage.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
    }
    let exit = Exit::of(&error);
    for line in format!("{error:#}").lines() {
        eprintln!("thalweg: {line}");
    }
    eprintln!("thalweg: {}", exit.advice());
    exit.into()
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn system(code: i32) -> io::Error {
        io::Error::from_raw_os_error(code)
    }

    const EACCES: i32 = 13;
    const EIO: i32 = 5;

    #[test]
    fn a_failure_ends_with_the_code_of_what_can_be_done_about_it() {
        let step = |step: Step, code| anyhow::Error::new(system(code)).context(step);
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let unavailable = |error: io::Error| anyhow::Error::new(StoreError::Unavailable(Box::new(error)));
        for (error, exit) in [
            (step(Step::Listen(address), EIO), Exit::Unavailable),
            (step(Step::Listen(address), EACCES), Exit::NoPermission),
            (step(Step::CreateData("data".into()), EIO), Exit::CantCreate),
            (step(Step::CreateData("data".into()), EACCES), Exit::NoPermission),
            (anyhow::Error::msg(Step::Lock("data".into())), Exit::InUse),
            (unavailable(system(EIO)).context("can't open"), Exit::Io),
            (unavailable(system(EACCES)).context("can't open"), Exit::NoPermission),
            (unavailable(io::Error::other("a newer build wrote it")), Exit::Data),
            (StoreError::Damaged("it".to_owned()).into(), Exit::Data),
            (StoreError::NewerFormat { found: 2, known: 1 }.into(), Exit::Data),
            (system(EIO).into(), Exit::Io),
            (OpenError::Registry(Box::new(system(EACCES))).into(), Exit::NoPermission),
            (OpenError::Registry("busy".into()).into(), Exit::Io),
            (OpenError::Damaged("it".into()).into(), Exit::Data),
            (OpenError::Feed("no broker answers".into()).into(), Exit::Unavailable),
            (OpenError::NoAdminPassword.into(), Exit::Settings),
            (
                OpenError::Unreachable { place: "h:1/d".into(), source: system(EACCES).into() }.into(),
                Exit::Unavailable,
            ),
            (OpenError::Path { path: "data".into(), source: system(EACCES) }.into(), Exit::NoPermission),
            (anyhow::anyhow!("nobody thought of this"), Exit::Internal),
        ] {
            assert_eq!(Exit::of(&error), exit, "{error:#}");
        }
    }

    #[test]
    fn a_panic_is_a_defect() {
        let ended = ended_by(|| panic!("on purpose"));
        assert_eq!(format!("{ended:?}"), format!("{:?}", ExitCode::from(70)));
    }

    #[test]
    fn context_does_not_hide_the_step() {
        let failed: Result<(), _> = Err(system(EIO));
        let error = failed.context(Step::Listen(SocketAddr::from(([127, 0, 0, 1], 80)))).context("starting");
        assert_eq!(Exit::of(&error.unwrap_err()), Exit::Unavailable);
    }
}
