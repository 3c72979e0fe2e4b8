//! A text that is never shown, such as an address that bears a password, or a token.

/// What stands for what is not shown.
pub const HIDDEN: &str = "[redacted]";
/// Words in the names of headers and members whose values let somebody in.
const TELLING: [&str; 9] =
    ["auth", "cookie", "token", "secret", "password", "api-key", "apikey", "api_key", "credential"];

/// Whether what is called so lets somebody in.
pub fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TELLING.iter().any(|word| name.contains(word))
}

/// A text that a log or a message may come across, and must not hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` to itself from here on.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}
