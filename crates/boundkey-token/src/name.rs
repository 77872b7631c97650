/// A resource's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,252}`. serde: the string, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName(String);
impl ResourceName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl std::fmt::Display for ResourceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for ResourceName {
    type Error = NameError;
    fn try_from(s: String) -> Result<Self, NameError> {
        todo!()
    }
}
impl std::str::FromStr for ResourceName {
    type Err = NameError;
    fn from_str(s: &str) -> Result<Self, NameError> {
        Self::try_from(s.to_owned())
    }
}
impl From<ResourceName> for String {
    fn from(n: ResourceName) -> String {
        n.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is not a name; allowed: a letter or digit, then up to 252 letters, digits, dots, underscores or dashes"
)]
pub struct NameError {
    pub found: String,
}
