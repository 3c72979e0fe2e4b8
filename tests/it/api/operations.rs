//! The list of routes against the published API description.

use std::collections::BTreeSet;
use std::path::Path;

use bellwire::http::api;

/// What we serve beyond it, as the README says.
const OUR_OWN: [&str; 3] =
    ["GET /v1/users/{user_id}/presence", "POST /v1/messages/revoke", "POST /v1/messages/{message_id}/revoke"];

/// The 118 operations, from the description if it stands beside the checkout, else from the list made of it.
fn published() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed: BTreeSet<String> = include_str!("../operations.txt").lines().map(str::to_owned).collect();
    if let Ok(text) = std::fs::read_to_string(root.join("../shared/spec/openapi.yml")) {
        assert_eq!(operations(&text), listed, "operations.txt does not list what the description has");
    }
    listed
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
fn what_is_missing_is_listed_and_the_list_only_shrinks() {
    let published = published();
    assert_eq!(published.len(), 118);
    let served: BTreeSet<String> =
        api::routes().iter().map(|route| format!("{} {}", route.verb.as_str(), route.path)).collect();
    let missing: BTreeSet<String> = include_str!("../operations_missing.txt").lines().map(str::to_owned).collect();
    let found: BTreeSet<String> = published.difference(&served).cloned().collect();
    assert_eq!(found, missing, "take what is served now off operations_missing.txt; never add to it");
    let unknown: Vec<&String> =
        served.difference(&published).filter(|route| !OUR_OWN.contains(&route.as_str())).collect();
    assert!(unknown.is_empty(), "the description does not know {unknown:?}");
}

#[test]
fn every_operation_has_the_tier_and_keys_of_the_table() {
    use bellwire::http::limits::Tier;
    use bellwire::http::router::Keys;
    let expected = [
        ("triggerWorkflow", Keys::Secret, Tier::Five, "W-TRG-34"),
        ("cancelWorkflow", Keys::Secret, Tier::Five, "W-TRG-34"),
        ("notify", Keys::Secret, Tier::Three, "W-TRG-35"),
        ("listUserInAppFeedItems", Keys::Public, Tier::Two, "F-FED-01"),
        ("getUserInAppFeedSettings", Keys::Public, Tier::Four, "F-FED-41"),
        ("bulkUpdateMessagesForChannel", Keys::Public, Tier::Two, "F-STA-04"),
        ("getBulkOperation", Keys::Secret, Tier::Four, "F-BLK-05"),
        ("listWorkflowRecipientRuns", Keys::Secret, Tier::Two, "W-RUN-02"),
        ("getMessage", Keys::Public, Tier::Four, "F-MSG-01"),
        ("markMessageSeen", Keys::Public, Tier::Two, "F-AUT-18"),
        ("batchMarkMessagesAsSeen", Keys::Public, Tier::Three, "F-AUT-18"),
        ("identifyUser", Keys::Public, Tier::Three, "F-USR-20"),
        ("listAudienceMembers", Keys::Secret, Tier::Four, "F-AUD-06"),
        ("addAudienceMembers", Keys::Secret, Tier::Three, "W-AUD-11"),
        ("removeAudienceMembers", Keys::Secret, Tier::Three, "W-AUD-11"),
        ("deleteUser", Keys::Secret, Tier::Two, "F-AUT-07"),
        ("listSchedules", Keys::Secret, Tier::Four, "W-SCH-34"),
        ("createSchedules", Keys::Secret, Tier::Three, "W-SCH-01"),
        ("updateSchedules", Keys::Secret, Tier::Three, "W-SCH-30"),
        ("deleteSchedules", Keys::Secret, Tier::Three, "W-SCH-33"),
        ("bulkCreateSchedules", Keys::Secret, Tier::One, "W-SCH-38"),
        ("listUserSchedules", Keys::Secret, Tier::Four, "W-SCH-35"),
        ("listObjectSchedules", Keys::Secret, Tier::Four, "W-SCH-35"),
        ("listObjects", Keys::Secret, Tier::Four, "F-OBJ-06"),
        ("getObject", Keys::Secret, Tier::Four, "F-OBJ-04"),
        ("setObject", Keys::Secret, Tier::Three, "F-OBJ-02"),
        ("deleteObject", Keys::Secret, Tier::Three, "F-OBJ-04"),
        ("listMessagesForObject", Keys::Secret, Tier::Four, "F-MSG-18"),
        ("bulkSetObjects", Keys::Secret, Tier::One, "F-OBJ-08"),
        ("bulkDeleteObjects", Keys::Secret, Tier::One, "F-OBJ-08"),
        ("bulkAddSubscriptions", Keys::Secret, Tier::One, "F-OBJ-08"),
        ("bulkDeleteSubscriptions", Keys::Secret, Tier::One, "F-OBJ-08"),
        ("listTenants", Keys::Secret, Tier::Four, "F-TEN-09"),
        ("getTenant", Keys::Secret, Tier::Four, "F-TEN-08"),
        ("setTenant", Keys::Secret, Tier::Three, "F-TEN-02"),
        ("deleteTenant", Keys::Secret, Tier::Two, "F-TEN-10"),
        ("bulkSetTenants", Keys::Secret, Tier::One, "F-TEN-12"),
        ("bulkDeleteTenants", Keys::Secret, Tier::One, "F-TEN-11"),
        ("bulkIdentifyUsers", Keys::Secret, Tier::One, "F-USR-16"),
        ("bulkDeleteUsers", Keys::Secret, Tier::One, "F-USR-17"),
        ("bulkSetUserPreferences", Keys::Secret, Tier::One, "F-PRF-20"),
        ("getUserChannelData", Keys::Public, Tier::Four, "F-CHD-04"),
        ("setUserChannelData", Keys::Public, Tier::Three, "F-CHD-01"),
        ("unsetUserChannelData", Keys::Public, Tier::Three, "F-CHD-04"),
        ("getObjectChannelData", Keys::Granted, Tier::Four, "F-GRN-09"),
        ("setObjectChannelData", Keys::Granted, Tier::Three, "F-GRN-09"),
        ("unsetObjectChannelData", Keys::Secret, Tier::Three, "F-CHD-04"),
        ("getPreferenceCenterConfig", Keys::Public, Tier::Four, "F-PCC-01"),
        ("generatePreferenceCenterSignedUrl", Keys::Secret, Tier::Three, "F-PCC-05"),
        ("slackProviderAuthCheck", Keys::Granted, Tier::Two, "F-PRV-01 F-PRV-11"),
        ("listChannelsForSlackProvider", Keys::Granted, Tier::Two, "F-PRV-01"),
        ("slackProviderRevokeAccess", Keys::Granted, Tier::Two, "F-PRV-01"),
        ("msTeamsProviderAuthCheck", Keys::Granted, Tier::Two, "F-PRV-01 F-PRV-11"),
        ("listTeamsForMsTeamsProvider", Keys::Granted, Tier::Two, "F-PRV-01"),
        ("listChannelsForMsTeamsProvider", Keys::Granted, Tier::Two, "F-PRV-01"),
        ("msTeamsProviderRevokeAccess", Keys::Granted, Tier::Two, "F-PRV-01"),
        ("listUserPreferenceSets", Keys::Public, Tier::Four, "F-PRF-18"),
        ("getUserPreferenceSet", Keys::Public, Tier::Four, "F-PRF-16"),
        ("updateUserPreferenceSet", Keys::Public, Tier::Three, "F-PRF-08"),
        ("deleteUserPreferenceSet", Keys::Secret, Tier::Three, "F-PRF-19"),
        ("updateUserPreferenceCategories", Keys::Public, Tier::Three, "F-PRF-22"),
        ("updateUserPreferenceCategory", Keys::Public, Tier::Three, "F-PRF-22"),
        ("updateUserPreferenceChannelTypes", Keys::Public, Tier::Three, "F-PRF-22"),
        ("updateUserPreferenceChannelType", Keys::Public, Tier::Three, "F-PRF-22"),
        ("updateUserPreferenceWorkflows", Keys::Public, Tier::Three, "F-PRF-22"),
        ("updateUserPreferenceWorkflow", Keys::Public, Tier::Three, "F-PRF-22"),
        ("listObjectPreferenceSets", Keys::Secret, Tier::Four, "F-PRF-18"),
        ("getObjectPreferenceSet", Keys::Secret, Tier::Four, "F-PRF-16"),
        ("updateObjectPreferenceSet", Keys::Secret, Tier::Three, "F-PRF-08"),
        ("deleteObjectPreferenceSet", Keys::Secret, Tier::Three, "F-PRF-19"),
        ("updateObjectPreferenceCategories", Keys::Secret, Tier::Three, "F-PRF-22"),
        ("updateObjectPreferenceCategory", Keys::Secret, Tier::Three, "F-PRF-22"),
        ("updateObjectPreferenceChannelTypes", Keys::Secret, Tier::Three, "F-PRF-22"),
        ("updateObjectPreferenceChannelType", Keys::Secret, Tier::Three, "F-PRF-22"),
        ("updateObjectPreferenceWorkflows", Keys::Secret, Tier::Three, "F-PRF-22"),
        ("updateObjectPreferenceWorkflow", Keys::Secret, Tier::Three, "F-PRF-22"),
    ];
    for (operation, keys, tier, rule) in expected {
        let routes = api::routes();
        let found: Vec<_> = routes.iter().filter(|route| route.operation == operation).collect();
        assert!(!found.is_empty(), "{operation}");
        assert!(found.iter().all(|route| route.keys == keys && route.tier == tier), "F-RAT-01 {rule} {operation}");
    }
}
