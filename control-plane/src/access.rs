//! Which user may do what with which entity: the one decision.
//!
//! Pure: no query, no clock. A decision is a function of who asks, what kind of entity it is, and what ties the one to the
//! other, so that handlers, lists and the reader cannot disagree. Ties are looked up by [`crate::registry::ties`], at each
//! request: nothing here or there is cached, so a tie that was cut gives nothing any more.

use std::str::FromStr;

use domain::{ApiKeyId, UserId};

use crate::registry::entities::Scope;

/// A user whose token is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) user: UserId,
    /// Member of `authorities`: may do everything.
    pub(crate) is_admin: bool,
    /// The API key that it came with, if not with a login.
    pub(crate) key: Option<ApiKeyId>,
}

impl Caller {
    /// The entities that a list shows to the caller: those that it may read.
    pub(crate) fn scope(&self) -> Scope {
        if self.is_admin { Scope::All } else { Scope::Reach(self.user) }
    }

    /// Whether it may do what only the owner of an entity may, such as having its records delivered to a webhook.
    pub(crate) fn owns(&self, owner: UserId) -> Result<(), Denied> {
        if self.is_admin || self.user == owner { Ok(()) } else { Err(Denied::Forbidden) }
    }
}

/// What a decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Thing,
    Channel,
    Group,
    Org,
}

impl What {
    /// As it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Thing => "thing",
            Self::Channel => "channel",
            Self::Group => "group",
            Self::Org => "org",
        }
    }
}

/// What a user wants to do with an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// See it, and what is in it; of a channel, its records.
    Read,
    /// Put groups in an org, or members in a group, and take them out.
    Assign,
    /// Change it. Of a thing or channel: connect it, see its key; of an org: decide who is a member.
    Write,
    /// Delete it, with what is only in it.
    Delete,
}

/// What a member of an org is there, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Viewer,
    Editor,
    Admin,
    Owner,
}

/// Not one of the roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not one of viewer, editor, admin")]
pub(crate) struct NoRole;

impl Role {
    const ALL: [Self; 4] = [Self::Viewer, Self::Editor, Self::Admin, Self::Owner];

    /// As it is stored.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Viewer => 1,
            Self::Editor => 2,
            Self::Admin => 3,
            Self::Owner => 4,
        }
    }

    /// The role that [`Self::code`] stands for.
    pub(crate) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }

    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(NoRole)
    }
}

/// What an admin can let a user do with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Read,
    Write,
    Delete,
}

impl Relation {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Delete];

    /// As it is stored.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Delete => 3,
        }
    }

    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }

    /// The relation that [`Self::code`] stands for.
    pub(crate) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|relation| relation.code() == code)
    }
}

/// What there is between a user and an entity. There may be several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// It is the user's.
    Owner,
    /// The user is a member of the group, or of one that the thing is in.
    Member,
    /// The user has this role in the org, or in one that has the group, or a group that the thing is in.
    Role(Role),
    /// A policy grants this.
    Granted(Relation),
}

/// What a user may do with an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rights {
    pub(crate) read: bool,
    pub(crate) assign: bool,
    pub(crate) write: bool,
    pub(crate) delete: bool,
}

impl Rights {
    const NONE: Self = Self { read: false, assign: false, write: false, delete: false };
    const READ: Self = Self { read: true, ..Self::NONE };
    const ALL: Self = Self { read: true, assign: true, write: true, delete: true };

    /// The caller's rights to an entity that it is tied to so.
    pub(crate) fn of(caller: &Caller, what: What, ties: &[Tie]) -> Self {
        if caller.is_admin {
            return Self::ALL;
        }
        ties.iter().fold(Self::NONE, |rights, tie| rights.and(Self::by(what, *tie)))
    }

    /// What one tie gives.
    const fn by(what: What, tie: Tie) -> Self {
        match (what, tie) {
            (_, Tie::Owner) | (What::Thing, Tie::Member) | (What::Org, Tie::Role(Role::Owner)) => Self::ALL,
            (What::Group, Tie::Member | Tie::Role(_))
            | (What::Thing | What::Org, Tie::Role(Role::Viewer))
            | (What::Thing, Tie::Granted(Relation::Read)) => Self::READ,
            (What::Org, Tie::Role(Role::Editor)) => Self { assign: true, ..Self::READ },
            (What::Thing | What::Org, Tie::Role(_)) => Self { delete: false, ..Self::ALL },
            (What::Thing, Tie::Granted(Relation::Write)) => Self { write: true, ..Self::NONE },
            (What::Thing, Tie::Granted(Relation::Delete)) => Self { delete: true, ..Self::NONE },
            (What::Channel, Tie::Member | Tie::Role(_) | Tie::Granted(_))
            | (What::Group, Tie::Granted(_))
            | (What::Org, Tie::Member | Tie::Granted(_)) => Self::NONE,
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            read: self.read || other.read,
            assign: self.assign || other.assign,
            write: self.write || other.write,
            delete: self.delete || other.delete,
        }
    }

    /// Whether they are enough.
    pub(crate) fn decide(self, action: Action) -> Result<(), Denied> {
        let allowed = match action {
            Action::Read => self.read,
            Action::Assign => self.assign,
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

    const ACTIONS: [Action; 4] = [Action::Read, Action::Assign, Action::Write, Action::Delete];
    const WHATS: [What; 4] = [What::Thing, What::Channel, What::Group, What::Org];

    fn caller(is_admin: bool) -> Caller {
        Caller { user: UserId::from_bytes([1; 16]), is_admin, key: None }
    }

    /// A letter for each action that is allowed, `!` for each that is refused with 403, `.` for each with 404.
    fn row(is_admin: bool, what: What, ties: &[Tie]) -> String {
        let rights = Rights::of(&caller(is_admin), what, ties);
        let cell = |(action, letter)| match rights.decide(action) {
            Ok(()) => letter,
            Err(Denied::Forbidden) => '!',
            Err(Denied::Hidden) => '.',
        };
        ACTIONS.into_iter().zip("rawd".chars()).map(cell).collect()
    }

    #[test]
    fn who_may_do_what_is_this_table() {
        let ties: [(&str, &[Tie], [&str; 4]); 10] = [
            //                                           thing   channel group   org
            ("nobody", &[], ["....", "....", "....", "...."]),
            ("owner", &[Tie::Owner], ["rawd", "rawd", "rawd", "rawd"]),
            ("group member", &[Tie::Member], ["rawd", "....", "r!!!", "...."]),
            ("org viewer", &[Tie::Role(Role::Viewer)], ["r!!!", "....", "r!!!", "r!!!"]),
            ("org editor", &[Tie::Role(Role::Editor)], ["raw!", "....", "r!!!", "ra!!"]),
            ("org admin", &[Tie::Role(Role::Admin)], ["raw!", "....", "r!!!", "raw!"]),
            ("org owner", &[Tie::Role(Role::Owner)], ["raw!", "....", "r!!!", "rawd"]),
            ("may read", &[Tie::Granted(Relation::Read)], ["r!!!", "....", "....", "...."]),
            ("may write", &[Tie::Granted(Relation::Write)], ["..w.", "....", "....", "...."]),
            ("may delete", &[Tie::Granted(Relation::Delete)], ["...d", "....", "....", "...."]),
        ];
        for (name, ties, wanted) in ties {
            assert_eq!(WHATS.map(|what| row(false, what, ties)), wanted, "{name}");
            assert_eq!(WHATS.map(|what| row(true, what, ties)), ["rawd"; 4], "an admin, {name}");
        }
    }

    #[test]
    fn ties_add_up() {
        let ties = [Tie::Granted(Relation::Delete), Tie::Role(Role::Viewer)];
        assert_eq!(row(false, What::Thing, &ties), "r!!d");
        let ties = [Tie::Role(Role::Viewer), Tie::Role(Role::Editor)];
        assert_eq!(row(false, What::Thing, &ties), "raw!");
    }

    #[test]
    fn lists_show_what_may_be_read() {
        assert_eq!(caller(false).scope(), Scope::Reach(caller(false).user));
        assert_eq!(caller(true).scope(), Scope::All);
    }

    #[test]
    fn codes_and_names_come_back() {
        for role in Role::ALL {
            assert_eq!((Role::from_code(role.code()), role.name().parse()), (Some(role), Ok(role)));
        }
        for relation in Relation::ALL {
            assert_eq!(Relation::from_code(relation.code()), Some(relation));
        }
        assert_eq!((Role::from_code(0), "king".parse::<Role>()), (None, Err(NoRole)));
    }
}
