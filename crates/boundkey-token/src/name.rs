/// A resource's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,252}`. serde: the string, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName(String);

impl ResourceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ResourceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ResourceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ResourceName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        let rest_fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let first_fits = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if first_fits && rest_fits && text.len() <= 253 {
            Ok(Self(text))
        } else {
            Err(NameError { found: text })
        }
    }
}

impl std::str::FromStr for ResourceName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.to_owned())
    }
}

impl From<ResourceName> for String {
    fn from(name: ResourceName) -> String {
        name.0
    }
}

/// A text that is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a name; allowed: {ALLOWED}", boundkey_document::quoted(.found))]
pub struct NameError {
    /// The text.
    pub found: String,
}

/// What a name may be, as violations say it.
pub(crate) const ALLOWED: &str =
    "a name: a letter or digit, then up to 252 letters, digits, dots, underscores or dashes";
