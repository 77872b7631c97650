use boundkey_document::{either, nearest};

/// What a machine may be. serde: the one output spelling (`Node`, `Proxy`, `App`, `Kube`, `Db`, `WindowsDesktop`,
/// `Bot`); any letter case is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// An SSH host.
    Node,
    /// A proxy.
    Proxy,
    /// Serves applications.
    App,
    /// Serves a Kubernetes cluster.
    Kube,
    /// Serves databases.
    Db,
    /// Serves Windows desktops.
    WindowsDesktop,
    /// A machine user; stands alone in a token.
    Bot,
}

impl Role {
    /// Every role, in the order in which messages list them.
    pub const ALL: [Role; 7] =
        [Role::Node, Role::Proxy, Role::App, Role::Kube, Role::Db, Role::WindowsDesktop, Role::Bot];

    /// The output spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Node => "Node",
            Role::Proxy => "Proxy",
            Role::App => "App",
            Role::Kube => "Kube",
            Role::Db => "Db",
            Role::WindowsDesktop => "WindowsDesktop",
            Role::Bot => "Bot",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownRole { found: text.to_owned() })
    }
}

impl serde::Serialize for Role {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Role {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a role; allowed: {}", boundkey_document::quoted(.found), allowed(.found))]
pub struct UnknownRole {
    /// The word.
    pub found: String,
}

impl UnknownRole {
    /// The roles there are, and the nearest to the word.
    pub fn allowed(&self) -> String {
        allowed(&self.found)
    }
}

fn allowed(found: &str) -> String {
    let known = || Role::ALL.into_iter().map(Role::as_str);
    let all = either(known());
    match nearest(found, known()) {
        Some(near) => format!("{all} (did you mean `{near}`?)"),
        None => all,
    }
}

/// A set of roles: never empty when it comes from a token; keeps the order written, without repeats. serde: a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(from = "Vec<Role>", into = "Vec<Role>")]
pub struct RoleSet(Vec<Role>);

impl RoleSet {
    /// The roles in the order given; repeats are dropped.
    pub fn new(roles: impl IntoIterator<Item = Role>) -> Self {
        let mut set = Vec::new();
        for role in roles {
            if !set.contains(&role) {
                set.push(role);
            }
        }
        Self(set)
    }
    /// Whether a role is among them.
    pub fn contains(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
    /// In the order written.
    pub fn iter(&self) -> impl Iterator<Item = Role> + '_ {
        self.0.iter().copied()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The first role that `allowed` lacks.
    pub fn first_not_in(&self, allowed: &RoleSet) -> Option<Role> {
        self.iter().find(|role| !allowed.contains(*role))
    }
    /// Whether these are a bot's: the role Bot is among them.
    pub fn is_bot(&self) -> bool {
        self.contains(Role::Bot)
    }
    /// Same roles, in any order.
    pub fn same_as(&self, other: &RoleSet) -> bool {
        self.first_not_in(other).is_none() && other.first_not_in(self).is_none()
    }
}

impl From<Vec<Role>> for RoleSet {
    fn from(roles: Vec<Role>) -> Self {
        Self::new(roles)
    }
}

impl From<RoleSet> for Vec<Role> {
    fn from(set: RoleSet) -> Self {
        set.0
    }
}

/// `Node, App`.
impl std::fmt::Display for RoleSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, role) in self.iter().enumerate() {
            write!(f, "{}{role}", if position == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
