//! How the process ends: every exit code, and which failure has which. Nothing else in the program chooses one.
//!
//! The codes are those of BSD's `sysexits.h`, so that a supervisor can tell what a restart will mend from what it won't.

use std::fmt;
use std::io;
use std::net::SocketAddr;
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
    NoPermission = 77,
    Settings = 78,
}

impl Exit {
    pub(crate) const ALL: [Self; 9] = [
        Self::Usage,
        Self::Data,
        Self::Unavailable,
        Self::Internal,
        Self::CantCreate,
        Self::Io,
        Self::InUse,
        Self::NoPermission,
        Self::Settings,
    ];

    /// What happened, as help and documentation say it.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Usage => "the command line is not understood",
            Self::Data => "stored data is damaged, or was written by a newer version",
            Self::Unavailable => "the address can't be listened on: it is in use, or not of this machine",
            Self::Internal => "a defect of Thalweg",
            Self::CantCreate => "the data directory can't be created",
            Self::Io => "reading or writing failed",
            Self::InUse => "another process uses the data directory",
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
            Self::Unavailable => "end what listens there, or choose another --listen",
            Self::Internal => "report it with what was logged",
            Self::CantCreate => "choose another --data-dir",
            Self::Io => "look at the disk (full, read-only, failing?) and start again",
            Self::InUse => "end that process, or choose another --data-dir",
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
                Step::Listen(_) | Step::CreateData(_) if is_denied => Self::NoPermission,
                Step::Listen(_) => Self::Unavailable,
                Step::CreateData(_) => Self::CantCreate,
            };
        }
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Internal)
    }

    /// What one link of the chain says of the whole, if it does. What was meant for a person comes before what the
    /// system said.
    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        match cause.downcast_ref::<OpenError>() {
            Some(OpenError::SealingSecret { .. } | OpenError::Damaged(_) | OpenError::Newer(_)) => {
                return Some(Self::Data);
            }
            // A malformed one has no cause of its own.
            Some(OpenError::Secret(source)) if source.source().is_none() => return Some(Self::Data),
            Some(OpenError::Secret(_) | OpenError::Path { .. }) | None => {}
            Some(OpenError::Registry(source)) => {
                let mut causes =
                    std::iter::successors(Some(&**source as &(dyn std::error::Error + 'static)), |&cause| {
                        cause.source()
                    });
                return Some(if causes.any(is_denial) { Self::NoPermission } else { Self::Io });
            }
        }
        match cause.downcast_ref::<StoreError>() {
            Some(StoreError::Damaged(_) | StoreError::NewerFormat { .. }) => return Some(Self::Data),
            // The embedded engine refused what it found, unless the system refused: that stands further down.
            Some(StoreError::Unavailable(source)) => {
                let mut causes =
                    std::iter::successors(Some(&**source as &(dyn std::error::Error + 'static)), |&cause| {
                        cause.source()
                    });
                return Some(causes.find_map(of_io).unwrap_or(Self::Data));
            }
            None => {}
        }
        of_io(cause)
    }
}

fn of_io(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    let error = cause.downcast_ref::<io::Error>()?;
    Some(match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NoPermission,
        // Not the system's: the bytes are not what they should be.
        _ if error.raw_os_error().is_none() => Exit::Data,
        _ => Exit::Io,
    })
}

fn is_denial(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
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
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address) => write!(f, "can't listen on {address} (--listen, THALWEG_LISTEN)"),
            Self::CreateData(directory) => {
                write!(f, "can't create {} (--data-dir, THALWEG_DATA_DIR)", directory.display())
            }
            Self::Lock(directory) => write!(f, "{} is in use by another process", directory.display()),
        }
    }
}

/// Tells the person who started the process how it went, and the supervisor the same as a code.
#[expect(clippy::print_stderr, reason = "the last words of a process that may never have started to log")]
pub(crate) fn report(result: anyhow::Result<()>) -> ExitCode {
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
