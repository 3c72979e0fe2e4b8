//! The operations, by what they are about.

pub mod audiences;
pub mod bulk_operations;
pub mod channel_data;
pub mod channels;
pub mod feeds;
pub mod guides;
pub mod integrations;
pub mod marks;
pub mod messages;
pub mod objects;
pub mod preference_center;
pub mod preferences;
pub mod providers;
pub mod runs;
pub mod schedules;
pub mod subscriptions;
pub mod tenants;
pub mod users;
pub mod workflows;

use super::router::Route;

/// Every route.
pub fn routes() -> Vec<&'static Route> {
    [
        audiences::ROUTES,
        bulk_operations::ROUTES,
        channel_data::ROUTES,
        channels::ROUTES,
        feeds::ROUTES,
        guides::ROUTES,
        integrations::ROUTES,
        marks::ROUTES,
        messages::ROUTES,
        objects::ROUTES,
        preference_center::ROUTES,
        preferences::ROUTES,
        providers::ROUTES,
        runs::ROUTES,
        schedules::ROUTES,
        subscriptions::ROUTES,
        tenants::ROUTES,
        users::ROUTES,
        workflows::ROUTES,
    ]
    .into_iter()
    .flatten()
    .collect()
}
