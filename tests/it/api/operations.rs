//! The list of routes against the published API description.

use std::collections::BTreeSet;
use std::path::Path;

use bellwire::http::api;
use bellwire::http::router::{Keys, Route};
use bellwire::sign::access::Grant;

/// What we serve beyond it, as the README says.
const OUR_OWN: [&str; 6] = [
    "GET /v1/users/{user_id}/presence",
    "POST /v1/messages/revoke",
    "POST /v1/messages/{message_id}/revoke",
    // What Knock's page on security calls them (F-GDE-08).
    "PUT /v1/users/{user_id}/guides/{channel_id}/messages/{message_id}/archived",
    "PUT /v1/users/{user_id}/guides/{channel_id}/messages/{message_id}/interacted",
    "PUT /v1/users/{user_id}/guides/{channel_id}/messages/{message_id}/seen",
];

/// A route's method and path.
fn place(route: &Route) -> String {
    format!("{} {}", route.verb.as_str(), route.path)
}

/// One of the 118 operations, as the table of the rules has it.
struct Row {
    /// Its method and path.
    place: &'static str,
    keys: Keys,
    grant: Option<&'static str>,
    tier: usize,
}

/// The 118 operations. The list is made of the API's description and of the table of the rules, and held against both
/// where they stand beside the checkout.
fn table() -> Vec<Row> {
    let lines = include_str!("../operations.txt");
    let rows: Vec<Row> = lines.lines().map(row).collect();
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/spec");
    if let Ok(text) = std::fs::read_to_string(beside.join("openapi.yml")) {
        let listed: BTreeSet<String> = rows.iter().map(|row| row.place.to_owned()).collect();
        assert_eq!(operations(&text), listed, "operations.txt does not list what the description has");
    }
    if let Ok(text) = std::fs::read_to_string(beside.join("feeds-recipients.md")) {
        let listed: BTreeSet<&str> = lines.lines().collect();
        let told: BTreeSet<String> = text.lines().filter_map(told).collect();
        let told: BTreeSet<&str> = told.iter().map(String::as_str).collect();
        assert_eq!(told, listed, "operations.txt does not list what the table has");
    }
    rows
}

fn row(line: &'static str) -> Row {
    let (place, rest) = line.match_indices(' ').nth(1).map(|(at, _)| (&line[..at], &line[at + 1..])).unwrap();
    let [keys, grant, tier] = rest.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let keys = match keys {
        "secret" => Keys::Secret,
        "public" => Keys::Public,
        "granted" => Keys::Granted,
        _ => panic!("{line}"),
    };
    Row { place, keys, grant: (grant != "-").then_some(grant), tier: tier.parse().unwrap() }
}

/// A line of the table of the rules, as `operations.txt` has it.
fn told(line: &str) -> Option<String> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").map(str::trim).collect();
    let [number, method, path, keys, grant, tier, ..] = cells[..] else { return None };
    number.parse::<u8>().ok()?;
    let keys = match keys {
        "S" => "secret",
        "S P" | "S P†" => "public",
        "S P‡" => "granted",
        _ => panic!("{line}"),
    };
    let grant = if grant == "—" { "-" } else { grant.split(' ').next()? };
    Some(format!("{method} {} {keys} {grant} {tier}", path.trim_matches('`')))
}

/// `METHOD path` of every operation in a description.
fn operations(yaml: &str) -> BTreeSet<String> {
    let paths = yaml.lines().skip_while(|line| *line != "paths:").skip(1);
    let paths = paths.take_while(|line| line.is_empty() || line.starts_with(' '));
    let mut out = BTreeSet::new();
    let mut path = "";
    for line in paths {
        let name = line.trim().trim_end_matches(':');
        match line.len() - line.trim_start().len() {
            2 => path = name.trim_matches('"'),
            4 if ["get", "post", "put", "delete", "patch"].contains(&name) => {
                out.insert(format!("{} {path}", name.to_ascii_uppercase()));
            }
            _ => {}
        }
    }
    out
}

#[test]
fn every_operation_is_served_and_nothing_unheard_of() {
    let published: BTreeSet<String> = table().iter().map(|row| row.place.to_owned()).collect();
    assert_eq!(published.len(), 118);
    let served: BTreeSet<String> = api::routes().into_iter().map(place).collect();
    let missing: Vec<&String> = published.difference(&served).collect();
    assert!(missing.is_empty(), "nothing serves {missing:?}");
    let unknown: Vec<&String> =
        served.difference(&published).filter(|route| !OUR_OWN.contains(&route.as_str())).collect();
    assert!(unknown.is_empty(), "the description does not know {unknown:?}");
}

/// F-RAT-01 F-AUT-07 F-AUT-18 F-GRN-08 F-GRN-09 F-GRN-10 F-AUD-06 F-BLK-05 F-CHD-01 F-CHD-04 F-FED-01 F-FED-41 F-GDE-01
/// F-GDE-07 F-GDE-09 F-MSG-01
/// F-MSG-18 F-OBJ-02 F-OBJ-04 F-OBJ-06 F-OBJ-08 F-PCC-01 F-PCC-05 F-PRF-08 F-PRF-16 F-PRF-18 F-PRF-19 F-PRF-20 F-PRF-22
/// F-PRV-01 F-STA-04 F-TEN-02 F-TEN-08 F-TEN-09 F-TEN-10 F-TEN-11 F-TEN-12 F-USR-16 F-USR-17 F-USR-20 W-AUD-11 W-RUN-02
/// W-SCH-01 W-SCH-30 W-SCH-33 W-SCH-34 W-SCH-35 W-SCH-38 W-TRG-34 W-TRG-35
#[test]
fn every_operation_has_the_tier_keys_and_grant_of_the_table() {
    let rows = table();
    for route in api::routes() {
        let place = place(route);
        let Some(row) = rows.iter().find(|row| row.place == place) else { continue };
        let found = (route.keys, route.grant.map(Grant::as_str), route.tier as usize + 1);
        assert_eq!(found, (row.keys, row.grant, row.tier), "{place}");
    }
}
