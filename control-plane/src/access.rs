//! Which user may do what with which entity.
//!
//! Pure: no query, no clock. A decision is a function of who asks and whose the entity is, so that handlers, lists and the
//! reader cannot disagree. Membership of groups and orgs, and policies, will add to [`Rights`]; nothing else changes.

use domain::UserId;

use crate::registry::entities::Scope;

/// A user whose token is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) user: UserId,
    /// Member of `authorities`: may do everything.
    pub(crate) is_admin: bool,
}

impl Caller {
    /// The entities that a list shows to the caller.
    pub(crate) fn scope(&self) -> Scope {
        if self.is_admin { Scope::All } else { Scope::Owner(self.user) }
    }
}

/// What a user wants to do with an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// See it, or for a channel, its records.
    Read,
    /// Change it, connect it, see its key.
    Write,
    /// Delete it with its records.
    Delete,
}

/// What a user may do with an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rights {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) delete: bool,
}

impl Rights {
    const ALL: Self = Self { read: true, write: true, delete: true };
    const NONE: Self = Self { read: false, write: false, delete: false };

    /// The caller's rights to what a user owns.
    pub(crate) fn of(caller: &Caller, owner: UserId) -> Self {
        if caller.is_admin || caller.user == owner { Self::ALL } else { Self::NONE }
    }

    /// Whether they are enough.
    pub(crate) fn decide(self, action: Action) -> Result<(), Denied> {
        let allowed = match action {
            Action::Read => self.read,
            Action::Write => self.write,
            Action::Delete => self.delete,
        };
        match (allowed, self.read) {
            (true, _) => Ok(()),
            (false, true) => Err(Denied::Forbidden),
            (false, false) => Err(Denied::Hidden),
        }
    }
}

/// Why a user may not act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It may know of the entity, not do this with it: 403.
    Forbidden,
    /// It may not know that the entity exists: 404.
    Hidden,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIONS: [Action; 3] = [Action::Read, Action::Write, Action::Delete];

    fn user(byte: u8) -> UserId {
        UserId::from_bytes([byte; 16])
    }

    #[test]
    fn owners_and_admins_may_do_everything_and_strangers_do_not_even_know() {
        let decide = |user_byte, is_admin, action| {
            Rights::of(&Caller { user: user(user_byte), is_admin }, user(1)).decide(action)
        };
        for action in ACTIONS {
            assert_eq!(decide(1, false, action), Ok(()));
            assert_eq!(decide(2, true, action), Ok(()));
            assert_eq!(decide(2, false, action), Err(Denied::Hidden));
        }
    }

    #[test]
    fn who_may_read_is_told_what_is_forbidden() {
        let reader = Rights { read: true, ..Rights::NONE };
        assert_eq!(reader.decide(Action::Read), Ok(()));
        assert_eq!(reader.decide(Action::Write), Err(Denied::Forbidden));
        assert_eq!(reader.decide(Action::Delete), Err(Denied::Forbidden));
        let editor = Rights { write: true, ..reader };
        assert_eq!(editor.decide(Action::Write), Ok(()));
        assert_eq!(editor.decide(Action::Delete), Err(Denied::Forbidden));
    }

    #[test]
    fn lists_show_what_may_be_read() {
        assert_eq!(Caller { user: user(1), is_admin: false }.scope(), Scope::Owner(user(1)));
        assert_eq!(Caller { user: user(1), is_admin: true }.scope(), Scope::All);
    }
}
