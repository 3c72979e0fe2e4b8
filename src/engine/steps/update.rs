//! Changes the run's data, or what is stored of somebody.

use serde_json::{Map, Value, json};

use crate::engine::run::Stretch;
use crate::model::recipient::{RecipientRef, TENANTS};
use crate::model::run::EventStatus;
use crate::model::workflow::{Step, Update, Updated, Whom};
use crate::template::json::JsonTemplate;
use crate::verbs::identify::Profile;

/// Lays what the step says over the run's data, for all later steps (W-UPD-02). What names something that is not there
/// fails (W-AMB-39).
pub(crate) fn data(stretch: &mut Stretch<'_>, step: &Step, template: &JsonTemplate) -> Result<(), String> {
    let members = members(stretch, template, "data", true)?;
    stretch.record(step, EventStatus::Ok, "data_updated", json!({"merged": members}));
    stretch.lay_over_data(members);
    Ok(())
}

/// Merges what the step says into whom it says, or records why that is nobody (W-UPD-09, W-UPD-13, W-UPD-15).
pub(crate) fn recipient(stretch: &mut Stretch<'_>, step: &Step, update: &Update) -> Result<(), String> {
    let reference = match whom(stretch, update)? {
        Ok(reference) => reference,
        Err(reason) => {
            // W-AMB-40: the run goes on.
            stretch.skip(step, EventStatus::Ok, reason, None);
            return Ok(());
        }
    };
    let members = members(stretch, &update.properties, "update_properties", false)?;
    let profile = profile(&reference, update.what, &members)?;
    let Some(before) = stretch.scene.facts.entity(&reference) else { return Ok(()) };
    let (before, after) = stretch.merge(before, profile).map_err(|error| error.to_string())?;
    let record = json!({"recipient": reference, "before": before, "after": after});
    let event = match update.what {
        Updated::User => "user_updated",
        Updated::Object => "object_updated",
        Updated::Tenant => "tenant_updated",
    };
    stretch.record(step, EventStatus::Ok, event, record);
    Ok(())
}

/// Whom the step changes; or why there is nobody whom it could.
fn whom(stretch: &Stretch<'_>, update: &Update) -> Result<Result<RecipientRef, &'static str>, String> {
    let run = &stretch.run;
    Ok(match (&update.whom, update.what) {
        (Whom::Named(gid), what) => Ok(what.read(stretch.says("recipient_gid", gid)?.trim())?),
        (Whom::Current, Updated::Tenant) => match &run.tenant {
            Some(id) => Ok(RecipientRef::Object { collection: TENANTS.to_owned(), id: id.clone() }),
            None => Err("no_tenant"),
        },
        (Whom::Current, _) => match run.recipient.user_id() {
            Some(_) => Ok(run.recipient.clone()),
            None => Err("recipient_is_no_user"),
        },
    })
}

/// What the template says, which must be a JSON object (W-UPD-05).
fn members(
    stretch: &Stretch<'_>,
    template: &JsonTemplate,
    name: &str,
    strict: bool,
) -> Result<Map<String, Value>, String> {
    let rendered = stretch.says_json(name, template, strict)?;
    match serde_json::from_str(&rendered) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(format!("`{name}` must render to a JSON object")),
        Err(error) => Err(format!("`{name}` must render to a JSON object, and renders to no JSON: {error}")),
    }
}

/// What is said of somebody. Channel data is none of it (W-UPD-11), and a tenant's preferences stand elsewhere (W-UPD-16).
fn profile(whose: &RecipientRef, what: Updated, members: &Map<String, Value>) -> Result<Profile, String> {
    if members.contains_key("channel_data") {
        return Err("`update_properties` must not hold `channel_data`: no step changes it".to_owned());
    }
    if what == Updated::Tenant && members.contains_key("preferences") {
        let place = "a tenant's stand under `settings.preference_set`";
        return Err(format!("`update_properties` of a tenant must not hold `preferences`: {place}"));
    }
    Profile::parse_of(whose, members, "update_properties").map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        faults.join("; ")
    })
}
