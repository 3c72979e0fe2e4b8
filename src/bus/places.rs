//! Where the servers of the bus are: reads their addresses, and spreads users over them.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};

/// The port of a server whose address names none.
const PORT: u16 = 6379;

/// The servers through which nodes tell each other news.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Places {
    /// None: there is one node, and its events stay in it.
    #[default]
    Here,
    /// Independent servers, over which users are spread.
    Servers(Vec<Place>),
    /// Nodes of a Cluster, of which any tells where the others are.
    Cluster(Vec<Place>),
}

/// The address of one server with what lets us in. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: u16,
    user: Option<String>,
    password: Option<String>,
    is_secure: bool,
    /// What users are spread by.
    seed: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "rediss" } else { "redis" };
        let user = self.user.as_deref().map(|user| format!("{user}@")).unwrap_or_default();
        write!(f, "{scheme}://{user}{}", self.address())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Places {
    /// Reads the addresses that the configuration lists. What is wrong is said without the address: it may hold a
    /// password.
    pub fn parse(urls: &[String]) -> Result<Places, String> {
        let mut servers: Vec<Place> = Vec::new();
        let mut seeds: Vec<Place> = Vec::new();
        for (at, url) in urls.iter().enumerate() {
            let fault = |what: &str| format!("address {} of {} {what}", at + 1, urls.len());
            let url = url.trim();
            let Some((scheme, rest)) = url.split_once("://") else {
                return Err(fault("is no URL: write it as redis://host:port"));
            };
            match scheme {
                "redis" | "rediss" => servers.push(Place::parse(scheme, rest).map_err(|what| fault(&what))?),
                "redis+cluster" | "rediss+cluster" => {
                    let scheme = scheme.trim_end_matches("+cluster");
                    // A password may hold an `@` only as `%40`, a host never.
                    let (user, hosts) = rest.rsplit_once('@').map_or(("", rest), |(user, hosts)| (user, hosts));
                    for host in hosts.trim_end_matches('/').split(',') {
                        let one = if user.is_empty() { host.to_owned() } else { format!("{user}@{host}") };
                        seeds.push(Place::parse(scheme, &one).map_err(|what| fault(&what))?);
                    }
                }
                _ => {
                    return Err(fault(
                        "begins with none of redis://, rediss:// (with TLS), redis+cluster:// and rediss+cluster://",
                    ));
                }
            }
        }
        let is_twice = |places: &[Place]| {
            let mut addresses: Vec<String> = places.iter().map(Place::address).collect();
            addresses.sort();
            addresses.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone())
        };
        match (servers.is_empty(), seeds.is_empty()) {
            (true, true) => Ok(Places::Here),
            (false, false) => {
                Err("must be single servers (redis://) or one Cluster (redis+cluster://), not both".to_owned())
            }
            (false, true) => match is_twice(&servers) {
                Some(address) => Err(format!("lists {address} twice: users would not be spread evenly")),
                None => Ok(Places::Servers(servers)),
            },
            (true, false) => Ok(Places::Cluster(seeds)),
        }
    }
}

impl Place {
    fn parse(scheme: &str, rest: &str) -> Result<Place, String> {
        if rest.contains(['?', '#']) {
            return Err("has `?` or `#` in it: nothing can be set there, and in a password they are %3F and %23".into());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !path.is_empty() {
            return Err(
                "names a database: events have none, leave the `/…` at its end out (in a password it is %2F)".into()
            );
        }
        let info = format!("{scheme}://{authority}").into_connection_info();
        // The reason is left out: it may quote what was read.
        let info: ConnectionInfo = info.map_err(|_| "can't be read: write it as redis://user:password@host:port")?;
        let (host, port, is_secure) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host.clone(), *port, false),
            ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port, true),
            _ => return Err("names no host".into()),
        };
        if host.is_empty() {
            return Err("names no host".into());
        }
        let settings = info.redis_settings();
        let (user, password) = (settings.username().map(str::to_owned), settings.password().map(str::to_owned));
        if user.is_some() && password.is_none() {
            return Err("has a user and no password: write :password@ for the default user, or user:password@".into());
        }
        Ok(Place { seed: seed(&host, port), host, port, user, password, is_secure })
    }

    /// Another server to which the same lets us in, as nodes of a Cluster are.
    pub(super) fn beside(&self, host: &str, port: u16) -> Place {
        Place { host: host.to_owned(), port, seed: seed(host, port), ..self.clone() }
    }

    /// Host and port.
    pub(super) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn is_at(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port == port
    }

    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// How the driver connects there.
    pub(super) fn connection(&self) -> ConnectionInfo {
        let (host, port) = (self.host.clone(), self.port);
        let addr = match self.is_secure {
            false => ConnectionAddr::Tcp(host, port),
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let mut settings = redis::RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            // A user may not be allowed to say who we are, and nobody needs it.
            .set_skip_set_lib_name();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        let info = (String::new(), PORT).into_connection_info().expect("a host and a port are an address");
        info.set_addr(addr).set_redis_settings(settings).set_tcp_settings(tcp)
    }
}

/// Which of `places` serves the user: the same on every node, whatever the order in which they are listed; when one is
/// added or taken away, only its own users move.
pub(super) fn nearest<'a>(places: impl Iterator<Item = &'a Place>, env: i64, user: &str) -> usize {
    let key = mixed(fnv(user.as_bytes()) ^ mixed(env.cast_unsigned()));
    let ranked = places.enumerate().map(|(at, place)| (mixed(key ^ place.seed), at));
    ranked.max().map_or(0, |(_, at)| at)
}

fn seed(host: &str, port: u16) -> u64 {
    mixed(fnv(host.as_bytes()) ^ u64::from(port))
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Lets every bit of a number have a say in every bit of the result.
fn mixed(mut number: u64) -> u64 {
    number ^= number >> 30;
    number = number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number ^= number >> 27;
    number = number.wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(urls: &[&str]) -> Result<Places, String> {
        Places::parse(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>())
    }

    fn shown(urls: &[&str]) -> String {
        format!("{:?}", parse(urls).unwrap())
    }

    #[test]
    fn addresses_are_read_and_shown_without_passwords() {
        assert_eq!(parse(&[]), Ok(Places::Here));
        assert_eq!(
            shown(&["redis://a", "rediss://ann:s%40crt@b:7000/", "redis://:pw@[::1]:1"]),
            "Servers([redis://a:6379, rediss://ann@b:7000, redis://[::1]:1])"
        );
        assert_eq!(
            shown(&["redis+cluster://ann:pw@a:1,b:2", "redis+cluster://c"]),
            "Cluster([redis://ann@a:1, redis://ann@b:2, redis://c:6379])"
        );
        let Ok(Places::Servers(servers)) = parse(&["rediss://ann:s%40crt@b:7000"]) else { panic!("one server") };
        let connection = servers[0].connection();
        assert_eq!(connection.redis_settings().password(), Some("s@crt"));
        assert_eq!(connection.redis_settings().username(), Some("ann"));
        assert!(connection.tcp_settings().nodelay());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_address() {
        for (urls, expected) in [
            (&["localhost:6379"][..], "address 1 of 1 is no URL"),
            (&["redis://a", "amqp://u:secret@b"], "address 2 of 2 begins with none of redis://"),
            (&["redis://u:secret@a:1/3"], "address 1 of 1 names a database"),
            (&["redis://u:secret@a:1?db=3"], "address 1 of 1 has `?`"),
            (&["redis://u:secret@a:notaport"], "address 1 of 1 can't be read"),
            (&["redis://u@a"], "address 1 of 1 has a user and no password"),
            (&["redis://"], "address 1 of 1 "),
            (&["redis://a", "redis+cluster://b"], "must be single servers (redis://) or one Cluster"),
            (&["redis://a:1", "redis://u:secret@a:1"], "lists a:1 twice"),
            (&["redis+cluster://a:1/2,b:3"], "address 1 of 1 names a database"),
        ] {
            let said = parse(urls).unwrap_err();
            assert!(said.starts_with(expected), "{urls:?}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn users_are_spread_evenly_alike_everywhere_and_move_only_with_their_server() {
        let Ok(Places::Servers(three)) = parse(&["redis://a", "redis://b", "redis://c"]) else { panic!() };
        let turned = [three[2].clone(), three[0].clone(), three[1].clone()];
        let mut counts = [0; 3];
        for number in 0..3_000 {
            let user = format!("user-{number}");
            let at = nearest(three.iter(), 1, &user);
            counts[at] += 1;
            assert_eq!(turned[nearest(turned.iter(), 1, &user)], three[at]);
            if at != 2 {
                assert_eq!(nearest(three[..2].iter(), 1, &user), at);
            }
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }
}
