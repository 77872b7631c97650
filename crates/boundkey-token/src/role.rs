/// serde: the one output spelling (`Node`, `Proxy`, `App`, `Kube`, `Db`, `WindowsDesktop`, `Bot`); any letter case is read, and `DB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Node,
    Proxy,
    App,
    Kube,
    Db,
    WindowsDesktop,
    Bot,
}
impl Role {
    pub fn as_str(self) -> &'static str {
        todo!()
    }
}
impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
impl std::str::FromStr for Role {
    type Err = UnknownRole;
    fn from_str(s: &str) -> Result<Self, UnknownRole> {
        todo!()
    }
}
impl serde::Serialize for Role {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}
impl<'de> serde::Deserialize<'de> for Role {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        todo!()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a role")]
pub struct UnknownRole {
    pub found: String,
}

/// A set of roles: never empty when it comes from a token; keeps the order written, without repeats. serde: a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RoleSet(Vec<Role>);
impl RoleSet {
    pub fn new(roles: impl IntoIterator<Item = Role>) -> Self {
        todo!()
    }
    pub fn contains(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
    pub fn iter(&self) -> impl Iterator<Item = Role> + '_ {
        self.0.iter().copied()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The first role that `allowed` lacks.
    pub fn first_not_in(&self, allowed: &RoleSet) -> Option<Role> {
        todo!()
    }
    pub fn is_bot(&self) -> bool {
        self.contains(Role::Bot)
    }
    /// Same roles, in any order.
    pub fn same_as(&self, other: &RoleSet) -> bool {
        todo!()
    }
}
