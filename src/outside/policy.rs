//! Where requests may go: not to where only this machine or its neighbours should reach, unless the operator says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What may be called.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Called in any case.
    pub allow: Vec<Pattern>,
    /// Not called. What `allow` names wins over `*`, and nothing else.
    pub deny: Vec<Pattern>,
    /// Whether addresses are called that are not public.
    pub private: bool,
}

/// A host by its name, or addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: everything.
    Everything,
    /// `api.example.com`.
    Name(String),
    /// `*.example.com`: every name below it.
    Below(String),
    /// `10.0.0.0/8`, or one address.
    Net(Net),
}

/// The addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    first: IpAddr,
    bits: u8,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` must be a host, such as api.example.com or *.example.com, or addresses, such as 10.0.0.0/8"
            )
        };
        if text == "*" {
            return Ok(Pattern::Everything);
        }
        if let Some(net) = Net::read(text) {
            return net.map(Pattern::Net).ok_or_else(wrong);
        }
        let (name, is_below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(wrong());
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        Ok(if is_below { Pattern::Below(name) } else { Pattern::Name(name) })
    }
}

impl Pattern {
    fn names(&self, host: &str) -> bool {
        match self {
            Pattern::Everything | Pattern::Net(_) => false,
            Pattern::Name(name) => name == host,
            Pattern::Below(name) => host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.')),
        }
    }

    fn holds(&self, address: IpAddr) -> bool {
        matches!(self, Pattern::Net(net) if net.holds(address))
    }

    fn said(&self) -> String {
        match self {
            Pattern::Everything => "*".to_owned(),
            Pattern::Name(name) => name.clone(),
            Pattern::Below(name) => format!("*.{name}"),
            Pattern::Net(net) => format!("{}/{}", net.first, net.bits),
        }
    }
}

impl Net {
    /// Reads `10.0.0.0/8` or an address; none if it is neither, and within it none if it is written wrongly.
    fn read(text: &str) -> Option<Option<Net>> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let Ok(first) = address.parse::<IpAddr>() else { return bits.map(|_| None) };
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse::<u8>).ok().filter(|bits| *bits <= most);
        Some(bits.map(|bits| Net { first, bits }))
    }

    const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Net {
        Net { first: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits }
    }

    const fn v6(first: u128, bits: u8) -> Net {
        Net { first: IpAddr::V6(Ipv6Addr::from_bits(first)), bits }
    }

    fn holds(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let rest = 32 - u32::from(self.bits);
                first.to_bits().checked_shr(rest) == address.to_bits().checked_shr(rest)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let rest = 128 - u32::from(self.bits);
                first.to_bits().checked_shr(rest) == address.to_bits().checked_shr(rest)
            }
            _ => false,
        }
    }
}

/// Addresses that are not public, with what they are (IANA's registries of special-purpose addresses).
const SPECIAL: [(Net, &str); 25] = [
    (Net::v4(0, 0, 0, 0, 8), "unspecified"),
    (Net::v4(10, 0, 0, 0, 8), "private"),
    (Net::v4(100, 64, 0, 0, 10), "private"),
    (Net::v4(127, 0, 0, 0, 8), "loopback"),
    (Net::v4(169, 254, 0, 0, 16), "link-local"),
    (Net::v4(172, 16, 0, 0, 12), "private"),
    (Net::v4(192, 0, 0, 0, 24), "reserved"),
    (Net::v4(192, 0, 2, 0, 24), "reserved"),
    (Net::v4(192, 88, 99, 0, 24), "reserved"),
    (Net::v4(192, 168, 0, 0, 16), "private"),
    (Net::v4(198, 18, 0, 0, 15), "reserved"),
    (Net::v4(198, 51, 100, 0, 24), "reserved"),
    (Net::v4(203, 0, 113, 0, 24), "reserved"),
    (Net::v4(224, 0, 0, 0, 4), "multicast"),
    (Net::v4(240, 0, 0, 0, 4), "reserved"),
    (Net::v6(0, 128), "unspecified"),
    (Net::v6(1, 128), "loopback"),
    (Net::v6(0xffff_0000_0000, 96), "IPv4-mapped"),
    (Net::v6(0x0064_ff9b << 96, 96), "NAT64"),
    (Net::v6(0x0064_ff9b_0001 << 80, 48), "NAT64"),
    (Net::v6(0xfc00 << 112, 7), "private"),
    (Net::v6(0xfe80 << 112, 10), "link-local"),
    (Net::v6(0xff00 << 112, 8), "multicast"),
    (Net::v6(0x2001 << 112, 23), "reserved"),
    (Net::v6(0x2001_0db8 << 96, 32), "reserved"),
];
/// Of these addresses alone IPv6 has public ones.
const GLOBAL: Net = Net::v6(0x2000 << 112, 3);
/// These hold an IPv4 address in their middle.
const SIX_TO_FOUR: Net = Net::v6(0x2002 << 112, 16);

/// What an address is that is not public; none of one that is.
fn special(address: IpAddr) -> Option<&'static str> {
    if let Some((_, what)) = SPECIAL.iter().find(|(net, _)| net.holds(address)) {
        return Some(what);
    }
    let is_odd = address.is_ipv6() && (!GLOBAL.holds(address) || SIX_TO_FOUR.holds(address));
    is_odd.then_some("reserved")
}

/// The address, and the IPv4 address inside it that a translator would call.
fn forms(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let inner = match address {
        IpAddr::V6(v6) if SPECIAL[17..20].iter().any(|(net, _)| net.holds(address)) => {
            Some(IpAddr::V4(Ipv4Addr::from_bits(v6.to_bits() as u32)))
        }
        IpAddr::V6(v6) if SIX_TO_FOUR.holds(address) => {
            Some(IpAddr::V4(Ipv4Addr::from_bits((v6.to_bits() >> 80) as u32)))
        }
        _ => None,
    };
    std::iter::once(address).chain(inner)
}

impl Policy {
    /// Whether a host may be asked for by this name; where not, by which rule.
    pub fn judge_name(&self, name: &str) -> Result<(), String> {
        match self.deny.iter().find(|pattern| pattern.names(name)) {
            Some(pattern) => Err(denied(pattern)),
            None => Ok(()),
        }
    }

    /// Whether an address may be called, to which `name` led if there was one; where not, by which rule.
    pub fn judge(&self, name: Option<&str>, address: IpAddr) -> Result<(), String> {
        let names = |pattern: &&Pattern| name.is_some_and(|name| pattern.names(name));
        let denies = |pattern: &&Pattern| names(pattern) || forms(address).any(|form| pattern.holds(form));
        if let Some(pattern) = self.deny.iter().find(denies) {
            return Err(denied(pattern));
        }
        if self.allow.iter().any(|pattern| names(&pattern) || pattern.holds(address) || *pattern == Pattern::Everything)
        {
            return Ok(());
        }
        if self.deny.contains(&Pattern::Everything) {
            return Err(denied(&Pattern::Everything));
        }
        match special(address) {
            Some(what) if !self.private => Err(format!(
                "it leads to a {what} address, which is not called unless `allow` or `private` of [fetch] says so"
            )),
            _ => Ok(()),
        }
    }
}

fn denied(pattern: &Pattern) -> String {
    format!("`{}` of `deny` of [fetch] keeps it from being called", pattern.said())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], deny: &[&str]) -> Policy {
        let read = |patterns: &[&str]| patterns.iter().map(|text| text.parse().unwrap()).collect();
        Policy { allow: read(allow), deny: read(deny), private: false }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_that_are_not_public_are_not_called() {
        let policy = Policy::default();
        for (text, what) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("10.0.0.1", "private"),
            ("10.255.255.255", "private"),
            ("100.64.0.1", "private"),
            ("100.127.255.255", "private"),
            ("127.0.0.1", "loopback"),
            ("127.9.9.9", "loopback"),
            ("169.254.169.254", "link-local"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.8", "reserved"),
            ("192.0.2.1", "reserved"),
            ("192.168.1.1", "private"),
            ("198.19.0.1", "reserved"),
            ("198.51.100.1", "reserved"),
            ("203.0.113.1", "reserved"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::ffff:8.8.8.8", "IPv4-mapped"),
            ("::ffff:127.0.0.1", "IPv4-mapped"),
            ("::127.0.0.1", "reserved"),
            ("64:ff9b::7f00:1", "NAT64"),
            ("64:ff9b::808:808", "NAT64"),
            ("64:ff9b:1::1", "NAT64"),
            ("fc00::1", "private"),
            ("fdff::1", "private"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "reserved"),
            ("ff02::1", "multicast"),
            ("2001:db8::1", "reserved"),
            ("2001::1", "reserved"),
            ("2002:7f00:1::1", "reserved"),
            ("100::1", "reserved"),
            ("4000::1", "reserved"),
        ] {
            let refusal = policy.judge(None, address(text)).expect_err(text);
            assert!(refusal.contains(&format!("a {what} address")), "{text}: {refusal}");
            let allowing = Policy { private: true, ..Policy::default() };
            assert_eq!(allowing.judge(Some("h"), address(text)), Ok(()), "{text}: where `private` says so");
        }
        let public = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "3000::1",
        ];
        for text in public {
            assert_eq!(policy.judge(None, address(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_allowed_by_name_or_address_is_called_and_what_is_denied_is_not() {
        let policy = policy(
            &["intranet.example", "*.local.example", "10.1.0.0/16", "::1"],
            &["evil.example", "*.evil.example", "8.8.8.8", "10.1.9.0/24"],
        );
        for (name, to, is_called) in [
            (Some("intranet.example"), "10.0.0.1", true),
            (Some("a.b.local.example"), "127.0.0.1", true),
            (Some("local.example"), "127.0.0.1", false),
            (Some("notlocal.example"), "127.0.0.1", false),
            (None, "10.1.2.3", true),
            (Some("x"), "10.1.2.3", true),
            (None, "10.2.0.1", false),
            (None, "::1", true),
            (Some("evil.example"), "1.1.1.1", false),
            (Some("a.evil.example"), "1.1.1.1", false),
            (Some("devil.example"), "1.1.1.1", true),
            (None, "8.8.8.8", false),
            (Some("dns"), "8.8.8.8", false),
            (Some("intranet.example"), "8.8.8.8", false),
            (None, "10.1.9.1", false),
            (Some("intranet.example"), "10.1.9.1", false),
        ] {
            assert_eq!(policy.judge(name, address(to)).is_ok(), is_called, "{name:?} {to}");
        }
        assert_eq!(
            policy.judge_name("evil.example").unwrap_err(),
            "`evil.example` of `deny` of [fetch] keeps it from being called"
        );
        assert_eq!(policy.judge_name("other.example"), Ok(()));
        let refusal = policy.judge(None, address("10.1.9.1")).unwrap_err();
        assert!(refusal.starts_with("`10.1.9.0/24` of `deny`"), "{refusal}");
    }

    #[test]
    fn everything_denied_leaves_what_is_allowed() {
        let policy = policy(&["api.example", "9.9.9.9"], &["*"]);
        assert_eq!(policy.judge(Some("api.example"), address("1.1.1.1")), Ok(()));
        assert_eq!(policy.judge(None, address("9.9.9.9")), Ok(()));
        assert!(policy.judge(Some("other.example"), address("1.1.1.1")).unwrap_err().starts_with("`*` of `deny`"));
    }

    #[test]
    fn an_address_within_an_address_is_denied_as_well() {
        let denying = Policy { private: true, ..policy(&[], &["10.0.0.0/8"]) };
        for text in ["10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1"] {
            assert!(denying.judge(None, address(text)).is_err(), "{text}");
        }
        assert_eq!(denying.judge(None, address("::ffff:11.0.0.1")), Ok(()));
    }

    #[test]
    fn patterns_are_read() {
        assert_eq!("API.Example.".parse(), Ok(Pattern::Name("api.example".to_owned())));
        assert_eq!("0.0.0.0/0".parse(), Ok(Pattern::Net(Net::v4(0, 0, 0, 0, 0))));
        assert!(Pattern::Net(Net::v4(0, 0, 0, 0, 0)).holds(address("255.0.0.1")));
        for text in ["", "a b", "10.0.0.0/33", "10.0.0.0/x", "http://x", "x/8", "::/129", "*.", "a:80"] {
            assert!(text.parse::<Pattern>().unwrap_err().contains("must be a host"), "{text}");
        }
    }
}
