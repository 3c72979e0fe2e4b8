//! `[fetch]`: where steps may send requests, and how long those may take.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::database::{roots_of, tls};
use super::section::Section;
use crate::outside;
use crate::outside::policy::{Pattern, Policy};

/// `[fetch]`: requests of `http_fetch` steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Where they may go in any case.
    pub allow: Vec<Pattern>,
    /// Where they may not.
    pub deny: Vec<Pattern>,
    /// Whether they may go to addresses that are not public.
    pub private: bool,
    /// How long one may take.
    pub timeout_seconds: u64,
    /// The largest response.
    pub response_bytes: u64,
    /// How many may be under way at once.
    pub at_once: u64,
    /// A file of certificates, as PEM, of which one must have signed a server's; none means those of the machine.
    pub ca_file: Option<PathBuf>,
}

impl Default for Fetch {
    fn default() -> Self {
        Fetch {
            allow: Vec::new(),
            deny: Vec::new(),
            private: false,
            timeout_seconds: 15,
            response_bytes: 1 << 20,
            at_once: 256,
            ca_file: None,
        }
    }
}

impl Fetch {
    pub(super) fn read(&mut self, mut section: Section<'_>) {
        read_patterns(&mut section, "allow", &mut self.allow);
        read_patterns(&mut section, "deny", &mut self.deny);
        section.flag("private", &mut self.private);
        section.number("timeout_seconds", 1..=300, &mut self.timeout_seconds);
        section.number("response_bytes", 1024..=64 << 20, &mut self.response_bytes);
        section.number("at_once", 1..=10_000, &mut self.at_once);
        self.ca_file = section.text("ca_file").filter(|file| !file.is_empty()).map(PathBuf::from);
        if let Some((key, message)) = self.ca_file.as_deref().and_then(|file| roots_of(file).err()) {
            section.wrong(key, message);
        }
        section.finish();
    }

    /// What requests are sent under. Where this machine trusts nobody, only those without TLS can be sent.
    pub fn settings(&self) -> outside::Settings {
        outside::Settings {
            policy: Policy { allow: self.allow.clone(), deny: self.deny.clone(), private: self.private },
            timeout: Duration::from_secs(self.timeout_seconds),
            response_bytes: usize::try_from(self.response_bytes).unwrap_or(usize::MAX),
            tls: tls(true, self.ca_file.as_deref()).ok().map(Arc::new),
        }
    }
}

fn read_patterns(section: &mut Section<'_>, key: &'static str, slot: &mut Vec<Pattern>) {
    let Some(texts) = section.list(key) else { return };
    for text in texts {
        match text.parse() {
            Ok(pattern) => slot.push(pattern),
            Err(message) => section.wrong(key, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::model::time::Time;

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Fetch, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let read = Config::parse(text, Path::new("bellwire.toml"), Time::default(), variables);
        read.map(|config| config.fetch)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn where_requests_may_go_is_read_from_lists_and_variables() {
        let fetch = read("[fetch]\nallow = [\"*.example.com\"]\ndeny = [\"*\"]", &[]).unwrap();
        assert_eq!(fetch.allow, [Pattern::Below("example.com".to_owned())]);
        assert_eq!(fetch.settings().policy.deny, [Pattern::Everything]);
        let variables = [("BELLWIRE_FETCH_ALLOW", "10.0.0.0/8, api.example.com"), ("BELLWIRE_FETCH_PRIVATE", "true")];
        let fetch = read("", &variables).unwrap();
        assert_eq!((fetch.allow.len(), fetch.private), (2, true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, said) in [
            ("deny = [\"10.0.0.0/99\"]", "fetch.deny: `10.0.0.0/99` must be a host"),
            ("timeout_seconds = 0", "fetch.timeout_seconds: must be a whole number from 1 to 300"),
            ("ca_file = \"nowhere.pem\"", "fetch.ca_file: `nowhere.pem` can't be read"),
            ("proxy = \"x\"", "fetch.proxy: there is no key `proxy`"),
        ] {
            let fault = read(&format!("[fetch]\n{text}"), &[]).expect_err(said);
            assert!(fault.contains(said), "{fault}");
        }
    }
}
