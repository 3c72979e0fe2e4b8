//! What a user token lets its holder reach: grants on resources, limits to tenants.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// A right that a token can give (F-GRN-04).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named after its spelling")]
pub enum Grant {
    UserRead,
    UserWrite,
    FeedRead,
    FeedWrite,
    GuideRead,
    GuideWrite,
    PreferencesRead,
    PreferencesWrite,
    ChannelDataRead,
    ChannelDataWrite,
    SlackChannelsRead,
    TeamsChannelsRead,
}

impl Grant {
    /// Reads the name of a grant, in any of its spellings (F-GRN-05); unknown names give nothing.
    pub fn parse(name: &str) -> Option<Grant> {
        Some(match name {
            "user/read" => Grant::UserRead,
            "user/write" => Grant::UserWrite,
            "user/feed_read" | "user_feed/read" | "feed/read" => Grant::FeedRead,
            "user/feed_write" | "user_feed/write" | "feed/write" => Grant::FeedWrite,
            "user/guide_read" => Grant::GuideRead,
            "user/guide_write" => Grant::GuideWrite,
            "preferences/read" => Grant::PreferencesRead,
            "preferences/write" => Grant::PreferencesWrite,
            "channel_data/read" => Grant::ChannelDataRead,
            "channel_data/write" => Grant::ChannelDataWrite,
            "slack/channels_read" => Grant::SlackChannelsRead,
            "ms_teams/channels_read" => Grant::TeamsChannelsRead,
            _ => return None,
        })
    }

    /// Its usual spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Grant::UserRead => "user/read",
            Grant::UserWrite => "user/write",
            Grant::FeedRead => "user/feed_read",
            Grant::FeedWrite => "user/feed_write",
            Grant::GuideRead => "user/guide_read",
            Grant::GuideWrite => "user/guide_write",
            Grant::PreferencesRead => "preferences/read",
            Grant::PreferencesWrite => "preferences/write",
            Grant::ChannelDataRead => "channel_data/read",
            Grant::ChannelDataWrite => "channel_data/write",
            Grant::SlackChannelsRead => "slack/channels_read",
            Grant::TeamsChannelsRead => "ms_teams/channels_read",
        }
    }

    /// The grants that limit it to tenants when one of them stands on a tenant (F-GRN-11); none for most.
    fn family(self) -> Grants {
        match self {
            Grant::FeedRead | Grant::FeedWrite => Grants::of(&[Grant::FeedRead, Grant::FeedWrite]),
            Grant::PreferencesRead | Grant::PreferencesWrite => {
                Grants::of(&[Grant::PreferencesRead, Grant::PreferencesWrite])
            }
            _ => Grants::default(),
        }
    }
}

/// A set of grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Grants(u16);

impl Grants {
    fn of(grants: &[Grant]) -> Self {
        Grants(grants.iter().fold(0, |bits, grant| bits | 1 << *grant as u16))
    }

    fn meets(self, other: Grants) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a grant stands on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Resource {
    User(String),
    Tenant(String),
    Object { collection: String, id: String },
}

impl Resource {
    /// Reads a resource's URL. Only the path counts: SDKs write one host whatever the server's is (F-GRN-02). Ids are
    /// compared as they are written, since SDKs do not escape them.
    fn parse(url: &str) -> Option<Resource> {
        let (_, rest) = url.split_once("://")?;
        let (_, path) = rest.split_once('/')?;
        let (kind, rest) = path.strip_prefix("v1/")?.split_once('/')?;
        match kind {
            "objects" => {
                let (collection, id) = rest.split_once('/')?;
                (!collection.is_empty() && !id.is_empty()).then(|| Resource::object(collection, id))
            }
            _ if rest.is_empty() || rest.contains('/') => None,
            "users" => Some(Resource::User(rest.to_owned())),
            "tenants" => Some(Resource::Tenant(rest.to_owned())),
            _ => None,
        }
    }

    /// Tenants are objects of one collection: both spellings are the same resource (F-GRN-03).
    fn object(collection: &str, id: &str) -> Resource {
        match collection {
            "$tenants" => Resource::Tenant(id.to_owned()),
            _ => Resource::Object { collection: collection.to_owned(), id: id.to_owned() },
        }
    }
}

/// What one token lets its holder do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    user: String,
    is_explicit: bool,
    grants: BTreeMap<Resource, Grants>,
}

impl Access {
    /// Everything of the user's own, nothing else: a token without grants (F-GRN-06).
    pub fn implicit(user: &str) -> Self {
        Access { user: user.to_owned(), is_explicit: false, grants: BTreeMap::new() }
    }

    /// Reads the claims `grants` and `explicit_grants`. Resources and grants that we do not know give nothing.
    pub(crate) fn new(user: &str, is_explicit: bool, grants: &Map<String, Value>) -> Self {
        let mut access = Access { is_explicit, ..Access::implicit(user) };
        for (url, names) in grants {
            // Only the presence of a name matters (F-GRN-01): what it maps to is not read.
            let (Some(resource), Value::Object(names)) = (Resource::parse(url), names) else { continue };
            let named: Vec<Grant> = names.keys().filter_map(|name| Grant::parse(name)).collect();
            access.grants.entry(resource).or_default().0 |= Grants::of(&named).0;
        }
        access
    }

    /// The user the token was made for.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether it gives `grant` on `user`, at least for some tenant: ask [`Access::scope`] for which ones.
    pub fn allows_user(&self, grant: Grant, user: &str) -> bool {
        user == self.user && self.scope(grant) != Scope::Nothing
    }

    /// [`Access::allows_user`], as a refusal that says what is missing (F-AUT-15, F-GRN-07).
    pub fn require_user(&self, grant: Grant, user: &str) -> Result<(), Refusal> {
        if user != self.user {
            return Err(Refusal::forbidden("The user token was made for another user."));
        }
        match self.allows_user(grant, user) {
            true => Ok(()),
            false => Err(Refusal::forbidden(format!("The user token does not give `{}`.", grant.as_str()))),
        }
    }

    /// Whether it gives `grant` on an object (a tenant is an object of `$tenants`): only if it is listed (F-GRN-09).
    pub fn allows_object(&self, grant: Grant, collection: &str, id: &str) -> bool {
        self.carries(&Resource::object(collection, id), Grants::of(&[grant]))
    }

    /// For which tenants it gives `grant` on the user's own feed, messages or preferences (F-GRN-11).
    ///
    /// An explicit token gives just the grants that it lists; any other gives all grants of the family (feed or
    /// preferences) on the tenants, and on "no tenant", for which it lists one of them.
    pub fn scope(&self, grant: Grant) -> Scope {
        let own = Resource::User(self.user.clone());
        let wanted = Grants::of(&[grant]);
        let family = grant.family();
        let is_scoped = self.tenants_with(family).next().is_some();
        let counts = if self.is_explicit { wanted } else { family };
        if is_scoped {
            let tenants: BTreeSet<String> = self.tenants_with(counts).map(str::to_owned).collect();
            let include_none = self.carries(&own, counts);
            return if tenants.is_empty() && !include_none {
                Scope::Nothing
            } else {
                Scope::Tenants { tenants, include_none }
            };
        }
        if !self.is_explicit || self.carries(&own, wanted) { Scope::All } else { Scope::Nothing }
    }

    /// Whether it gives `grant` on a preference set: `default` is the user's own, others are tenants' (F-GRN-15).
    pub fn allows_preference_set(&self, grant: Grant, set: &str) -> bool {
        self.scope(grant).covers(Some(set).filter(|set| *set != "default"))
    }

    /// Whether it gives `grant` on a message of `recipient` that has this tenant or none (F-AUT-16, F-GRN-16).
    pub fn allows_message(&self, grant: Grant, recipient: &str, tenant: Option<&str>) -> bool {
        recipient == self.user && self.scope(grant).covers(tenant)
    }

    fn carries(&self, resource: &Resource, grants: Grants) -> bool {
        self.grants.get(resource).is_some_and(|given| given.meets(grants))
    }

    fn tenants_with(&self, grants: Grants) -> impl Iterator<Item = &str> {
        self.grants.iter().filter_map(move |(resource, given)| match resource {
            Resource::Tenant(id) if given.meets(grants) => Some(id.as_str()),
            _ => None,
        })
    }
}

/// The tenants for which a grant is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// It is not given.
    Nothing,
    /// It is given whatever the tenant.
    All,
    /// It is given for some tenants only.
    Tenants {
        /// Which ones.
        tenants: BTreeSet<String>,
        /// Whether it is also given where there is no tenant (F-GRN-12).
        include_none: bool,
    },
}

/// What a listing has to be confined to, beside its own filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confined {
    /// Items of these tenants.
    pub tenants: BTreeSet<String>,
    /// And those of no tenant.
    pub include_none: bool,
}

impl Scope {
    /// Whether it is given for this tenant, or where there is none.
    pub fn covers(&self, tenant: Option<&str>) -> bool {
        match (self, tenant) {
            (Scope::Nothing, _) => false,
            (Scope::All, _) => true,
            (Scope::Tenants { include_none, .. }, None) => *include_none,
            (Scope::Tenants { tenants, .. }, Some(tenant)) => tenants.contains(tenant),
        }
    }

    /// What a listing that asks for `tenant` (or for none in particular) is confined to; `None`: to nothing.
    /// Asking for a tenant that is not covered is refused, and so is asking for all without covering "no tenant"
    /// (F-GRN-12, F-GRN-13).
    pub fn confine(&self, tenant: Option<&str>) -> Result<Option<Confined>, Refusal> {
        let Scope::Tenants { tenants, include_none } = self else {
            return match self {
                Scope::Nothing => Err(Refusal::forbidden("The user token does not give this.")),
                _ => Ok(None),
            };
        };
        if !self.covers(tenant) {
            return Err(Refusal::forbidden(match tenant {
                Some(_) => "The user token does not cover this tenant.",
                None => "The user token covers some tenants only: name one of them.",
            }));
        }
        let tenants = tenant.map_or_else(|| tenants.clone(), |tenant| BTreeSet::from([tenant.to_owned()]));
        Ok(Some(Confined { tenants, include_none: *include_none }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOST: &str = "https://api.knock.app/v1";

    /// The access of user `ann`; resources are given as paths below the API.
    fn access(is_explicit: bool, grants: &[(&str, &[&str])]) -> Access {
        let mut map = Map::new();
        for (path, names) in grants {
            let names: Map<String, Value> = names.iter().map(|name| (name.to_string(), json!([]))).collect();
            map.insert(format!("{HOST}/{path}"), Value::Object(names));
        }
        Access::new("ann", is_explicit, &map)
    }

    fn tenants(names: &[&str], include_none: bool) -> Scope {
        Scope::Tenants { tenants: names.iter().map(|name| name.to_string()).collect(), include_none }
    }

    const ALL: [Grant; 12] = [
        Grant::UserRead,
        Grant::UserWrite,
        Grant::FeedRead,
        Grant::FeedWrite,
        Grant::GuideRead,
        Grant::GuideWrite,
        Grant::PreferencesRead,
        Grant::PreferencesWrite,
        Grant::ChannelDataRead,
        Grant::ChannelDataWrite,
        Grant::SlackChannelsRead,
        Grant::TeamsChannelsRead,
    ];

    #[test]
    fn every_grant_is_read_in_every_spelling() {
        for grant in ALL {
            assert_eq!(Grant::parse(grant.as_str()), Some(grant), "F-GRN-04");
            let only = access(true, &[("users/ann", &[grant.as_str()])]);
            for other in ALL {
                assert_eq!(only.allows_user(other, "ann"), other == grant, "F-GRN-04 F-GRN-08 {grant:?} {other:?}");
            }
        }
        for (spelling, grant) in [
            ("feed/read", Grant::FeedRead),
            ("user_feed/read", Grant::FeedRead),
            ("feed/write", Grant::FeedWrite),
            ("user_feed/write", Grant::FeedWrite),
        ] {
            assert_eq!(Grant::parse(spelling), Some(grant), "F-GRN-05 F-AMB-6");
        }
        assert_eq!(Grant::parse("user/fly"), None);
    }

    #[test]
    fn only_the_presence_of_a_grant_matters() {
        for caveats in [json!([]), json!([{}]), json!(null), json!([{"only": "x"}])] {
            let grants = json!({(format!("{HOST}/objects/boards/b-9")): {"channel_data/read": caveats}});
            let access = Access::new("ann", false, grants.as_object().unwrap());
            assert!(access.allows_object(Grant::ChannelDataRead, "boards", "b-9"), "F-GRN-01 {caveats}");
            assert!(!access.allows_object(Grant::ChannelDataWrite, "boards", "b-9"), "F-GRN-01 {caveats}");
        }
        let odd = json!({(format!("{HOST}/users/ann")): ["user/read"], "nonsense": {"user/read": []}});
        assert_eq!(Access::new("ann", false, odd.as_object().unwrap()), Access::implicit("ann"));
    }

    #[test]
    fn only_the_path_of_a_resource_counts() {
        let user = Some(Resource::User("a@b:c".to_owned()));
        for url in ["https://api.knock.app/v1/users/a@b:c", "http://localhost:4000/v1/users/a@b:c"] {
            assert_eq!(Resource::parse(url), user, "F-GRN-02 F-GRN-03 {url}");
        }
        let tenant = Some(Resource::Tenant("north".to_owned()));
        for path in ["tenants/north", "objects/$tenants/north"] {
            assert_eq!(Resource::parse(&format!("{HOST}/{path}")), tenant, "F-GRN-03 {path}");
        }
        assert_eq!(
            Resource::parse(&format!("{HOST}/objects/boards/b-9")),
            Some(Resource::Object { collection: "boards".to_owned(), id: "b-9".to_owned() }),
            "F-GRN-03"
        );
        for url in [
            "",
            "users/ann",
            "https://x/users/ann",
            "https://x/v2/users/ann",
            "https://x/v1/users/",
            "https://x/v1/users/a/b",
            "https://x/v1/objects/boards",
            "https://x/v1/workflows/w",
        ] {
            assert_eq!(Resource::parse(url), None, "{url}");
        }
    }

    #[test]
    fn a_token_without_grants_may_do_all_of_its_users_own_and_nothing_else() {
        let plain = Access::implicit("ann");
        for grant in ALL {
            assert!(plain.allows_user(grant, "ann"), "F-GRN-06 {grant:?}");
            assert!(!plain.allows_user(grant, "bob"), "F-AUT-15 {grant:?}");
            assert!(!plain.allows_object(grant, "boards", "b-9"), "F-GRN-09 {grant:?}");
            assert!(!plain.allows_object(grant, "$tenants", "north"), "F-GRN-10 {grant:?}");
            assert_eq!(plain.scope(grant), Scope::All, "F-GRN-11 {grant:?}");
        }
        let adding = access(false, &[("users/bob", &["user/read"]), ("objects/boards/b-9", &["channel_data/read"])]);
        assert!(adding.allows_user(Grant::UserWrite, "ann"), "F-GRN-06: grants only add");
        assert!(!adding.allows_user(Grant::UserRead, "bob"), "F-AUT-15 F-GRN-06: other users are never reached");
        assert!(adding.allows_object(Grant::ChannelDataRead, "boards", "b-9"), "F-GRN-09");
        assert!(!adding.allows_object(Grant::ChannelDataRead, "boards", "b-8"), "F-GRN-09");
    }

    #[test]
    fn an_explicit_token_gives_what_it_lists() {
        let nothing = access(true, &[]);
        for grant in ALL {
            assert!(!nothing.allows_user(grant, "ann"), "F-GRN-07 {grant:?}");
            assert_eq!(nothing.require_user(grant, "ann").unwrap_err().code.status(), 403, "F-GRN-07 {grant:?}");
        }
        let reader = access(true, &[("users/ann", &["user/feed_read"])]);
        assert_eq!(reader.scope(Grant::FeedRead), Scope::All, "F-GRN-07");
        assert_eq!(reader.require_user(Grant::FeedRead, "ann"), Ok(()), "F-GRN-07");
        assert!(!reader.allows_user(Grant::FeedWrite, "ann"), "F-GRN-07");
        assert!(!access(true, &[("users/bob", &["user/read"])]).allows_user(Grant::UserRead, "ann"), "F-GRN-07");
        assert_eq!(reader.require_user(Grant::FeedRead, "bob").unwrap_err().code.status(), 403, "F-AUT-15");
    }

    #[test]
    fn chat_channels_are_read_with_a_grant_on_the_tenant() {
        for is_explicit in [false, true] {
            let access = access(is_explicit, &[("objects/$tenants/north", &["slack/channels_read"])]);
            assert!(access.allows_object(Grant::SlackChannelsRead, "$tenants", "north"), "F-GRN-10");
            assert!(!access.allows_object(Grant::TeamsChannelsRead, "$tenants", "north"), "F-GRN-10");
            assert!(!access.allows_object(Grant::SlackChannelsRead, "$tenants", "south"), "F-GRN-10");
        }
        let only_chat = access(false, &[("tenants/north", &["slack/channels_read"])]);
        assert_eq!(only_chat.scope(Grant::FeedRead), Scope::All, "F-GRN-14 F-AMB-9");
        assert_eq!(only_chat.scope(Grant::PreferencesRead), Scope::All, "F-GRN-14 F-AMB-9");
    }

    #[test]
    fn a_feed_grant_on_a_tenant_limits_the_feed_to_tenants() {
        let north = access(true, &[("tenants/north", &["user/feed_read"]), ("users/ann", &["user/read"])]);
        assert_eq!(north.scope(Grant::FeedRead), tenants(&["north"], false), "F-GRN-11");
        assert!(north.allows_user(Grant::FeedRead, "ann"), "F-GRN-11");
        assert_eq!(north.scope(Grant::FeedWrite), Scope::Nothing, "F-GRN-07 F-GRN-11");
        assert_eq!(north.scope(Grant::UserRead), Scope::All, "F-GRN-11: only feeds are limited");
        let both = access(true, &[("tenants/north", &["feed/read"]), ("users/ann", &["user_feed/read"])]);
        assert_eq!(both.scope(Grant::FeedRead), tenants(&["north"], true), "F-GRN-05 F-GRN-12");
        let implicit = access(false, &[("tenants/north", &["user/feed_read"])]);
        assert_eq!(implicit.scope(Grant::FeedRead), tenants(&["north"], false), "F-GRN-11 F-GRN-12");
        assert_eq!(implicit.scope(Grant::FeedWrite), tenants(&["north"], false), "F-GRN-06 F-GRN-11");
        assert_eq!(implicit.scope(Grant::PreferencesRead), Scope::All, "F-GRN-11: families are apart");
        let spread = access(true, &[("tenants/north", &["feed/read"]), ("objects/$tenants/south", &["feed/read"])]);
        assert_eq!(spread.scope(Grant::FeedRead), tenants(&["north", "south"], false), "F-GRN-03 F-GRN-11");
    }

    #[test]
    fn a_listing_is_confined_or_refused() {
        assert_eq!(Scope::All.confine(Some("x")), Ok(None), "F-GRN-11");
        let north = tenants(&["north", "south"], false);
        assert_eq!(north.confine(None).unwrap_err().code.status(), 403, "F-GRN-12");
        assert_eq!(north.confine(Some("east")).unwrap_err().code.status(), 403, "F-GRN-12");
        let only = |names: &[&str], include_none| {
            Ok(Some(Confined { tenants: names.iter().map(|name| name.to_string()).collect(), include_none }))
        };
        assert_eq!(north.confine(Some("north")), only(&["north"], false), "F-GRN-13");
        let with_none = tenants(&["north", "south"], true);
        assert_eq!(with_none.confine(None), only(&["north", "south"], true), "F-AMB-9");
        assert_eq!(with_none.confine(Some("north")), only(&["north"], true), "F-GRN-13");
        assert!(Scope::Nothing.confine(None).is_err());
    }

    #[test]
    fn preference_sets_are_the_users_own_or_a_tenants() {
        let scoped = access(true, &[("tenants/north", &["preferences/read"])]);
        assert!(scoped.allows_preference_set(Grant::PreferencesRead, "north"), "F-GRN-15");
        for set in ["default", "south"] {
            assert!(!scoped.allows_preference_set(Grant::PreferencesRead, set), "F-GRN-15 {set}");
        }
        assert!(!scoped.allows_preference_set(Grant::PreferencesWrite, "north"), "F-GRN-07 F-GRN-15");
        let own = access(true, &[("tenants/north", &["preferences/read"]), ("users/ann", &["preferences/read"])]);
        assert!(own.allows_preference_set(Grant::PreferencesRead, "default"), "F-GRN-15");
        assert!(Access::implicit("ann").allows_preference_set(Grant::PreferencesWrite, "anything"), "F-GRN-15");
    }

    #[test]
    fn a_message_is_marked_by_its_recipient_within_the_tenants() {
        let scoped = access(true, &[("tenants/north", &["user/feed_write"])]);
        assert!(scoped.allows_message(Grant::FeedWrite, "ann", Some("north")), "F-GRN-16");
        assert!(!scoped.allows_message(Grant::FeedWrite, "ann", Some("south")), "F-GRN-16");
        assert!(!scoped.allows_message(Grant::FeedWrite, "ann", None), "F-GRN-16");
        assert!(!scoped.allows_message(Grant::FeedWrite, "bob", Some("north")), "F-AUT-16");
        assert!(Access::implicit("ann").allows_message(Grant::FeedWrite, "ann", None), "F-GRN-16");
        assert!(!Access::implicit("ann").allows_message(Grant::FeedWrite, "bob", None), "F-AUT-16");
    }
}
