//! Which guides a user is shown at this moment, and why not the others (F-GDE-11).

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tracing::error;
use uuid::Uuid;

use super::facts::Facts;
use crate::model::audience::Audiences;
use crate::model::channel::Channel;
use crate::model::guide::{GROUP, Guide, Guides, Ineligible};
use crate::model::recipient::{RecipientRef, TENANTS};
use crate::model::scope::Scope;
use crate::model::time::Time;
use crate::rules::condition::Context;
use crate::store::audiences::Slot;
use crate::store::guides::{Declarations, Declared, Engagement, Membership};
use crate::store::{self, Env};
use crate::template::{self, Limits, Template};
use crate::verbs::Core;
use crate::verbs::audience::belongs;
use crate::verbs::staged::Staged;

/// Who asks for guides, where.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub env: Env,
    pub channel: &'a Channel,
    pub user: &'a str,
    pub tenant: Option<&'a str>,
    /// What the page says of itself.
    pub data: &'a Map<String, Value>,
    /// Guides of this kind alone.
    pub kind: Option<&'a str>,
    /// Whether those that the user is not shown are told as well.
    pub is_forced: bool,
}

/// Guides of a channel, as a user finds them.
#[derive(Debug)]
pub struct Guidance {
    /// In the order in which they are shown.
    pub guides: Vec<Found>,
    /// The group that puts them in order; none where there are no guides at all.
    pub group: Option<Value>,
    /// When the user last dismissed one for which others wait.
    pub dismissed_at: Option<Time>,
}

/// A guide as a user finds it.
#[derive(Debug)]
pub struct Found {
    pub guide: Arc<Guide>,
    /// The guide as it is told; none for one that is not, or that could not be rendered.
    pub told: Option<Value>,
    /// Why they are not shown it, if they are not.
    pub ineligible: Option<Ineligible>,
    /// Whether it is for those alone whom steps of workflows have brought to it.
    pub is_targeted: bool,
}

/// Looks at guides for somebody.
pub async fn guidance(core: &Core, asked: Asked<'_>) -> Result<Guidance, store::Error> {
    let (guides, now) = (core.catalog.guides(), core.clock.now());
    if guides.all().next().is_none() {
        return Ok(Guidance { guides: Vec::new(), group: None, dismissed_at: None });
    }
    let Asked { env, user, .. } = asked;
    let mut chosen: Vec<Arc<Guide>> = guides.of_channel(&asked.channel.key).cloned().collect();
    let declarations = core.store.guide_declarations(env).await?;
    chosen.sort_by_cached_key(|guide| {
        let (place, since, key) = guides.place(&guide.key, declarations.guide(&guide.key).inserted_at);
        (place, since, key.to_owned())
    });
    let group = group(&guides, &chosen, declarations.group(), now);
    let dismissed_at = core.store.guide_dismissed_at(env, user).await?;
    chosen.retain(|guide| asked.kind.is_none_or(|kind| guide.kind() == kind));
    let view = View::of(core, asked, &guides, &chosen, declarations).await?;
    let mut staged = Staged::new(core, env);
    let facts = Facts::new(&core.store, &core.bus, env, now);
    let found = facts.settle(&mut staged, || chosen.iter().map(|guide| view.find(guide, &facts)).collect()).await?;
    Ok(Guidance { guides: found, group: Some(group), dismissed_at })
}

/// The group, which names every guide that may be shown, to whomever (F-GDE-05).
fn group(guides: &Guides, in_order: &[Arc<Guide>], declared: Declared, now: Time) -> Value {
    let active: Vec<&str> =
        in_order.iter().filter(|guide| guide.is_active(now)).map(|guide| guide.key.as_str()).collect();
    let (unthrottled, throttled): (Vec<&str>, Vec<&str>) = active.iter().partition(|key| guides.is_unthrottled(key));
    json!({
        "__typename": "GuideGroup",
        "key": GROUP,
        "display_sequence": active,
        "display_sequence_unthrottled": unthrottled,
        "display_sequence_throttled": throttled,
        "display_interval": guides.order.interval,
        "inserted_at": declared.inserted_at,
        "updated_at": declared.updated_at,
    })
}

/// What guides are looked at with.
struct View<'a> {
    asked: Asked<'a>,
    guides: &'a Guides,
    audiences: Arc<Audiences>,
    declarations: Declarations,
    environment: Uuid,
    vars: &'a Value,
    now: Time,
    recipient: Value,
    is_known: bool,
    tenant: Value,
    data: Value,
    /// Where the user is a member, as far as a guide asks.
    memberships: Vec<Slot>,
    /// To which guides steps have brought the user, as far as a guide asks.
    brought: Vec<Membership>,
    /// By guide, tenant and step.
    engagements: HashMap<(String, String, String), Engagement>,
}

impl<'a> View<'a> {
    async fn of(
        core: &'a Core,
        asked: Asked<'a>,
        guides: &'a Guides,
        chosen: &[Arc<Guide>],
        declarations: Declarations,
    ) -> Result<View<'a>, store::Error> {
        let Asked { env, user, tenant, .. } = asked;
        let mut staged = Staged::new(core, env);
        let known = staged.scope(&RecipientRef::User(user.to_owned())).await?;
        let of_tenant = match tenant {
            Some(id) => {
                let reference = RecipientRef::Object { collection: TENANTS.to_owned(), id: id.to_owned() };
                staged.scope(&reference).await?
            }
            None => None,
        };
        let asks = |guide: &Arc<Guide>| {
            guide.audience.is_some()
                || guide.conditions.as_ref().is_some_and(|conditions| conditions.asks_for_audiences())
        };
        let memberships = match chosen.iter().any(asks) {
            true => core.store.memberships(env, user).await?,
            false => Vec::new(),
        };
        let brought = match chosen.iter().any(|guide| declarations.guide(&guide.key).is_targeted) {
            true => core.store.guide_memberships(env, user).await?,
            false => Vec::new(),
        };
        let engagements = core.store.guide_engagements(env, user, tenant.unwrap_or_default()).await?;
        let environment = core.catalog.environment(env);
        Ok(View {
            asked,
            guides,
            audiences: core.catalog.audiences(),
            declarations,
            environment: environment.map(|environment| environment.id).unwrap_or_default(),
            vars: environment.map_or(&Value::Null, |environment| &environment.settings.all_vars),
            now: core.clock.now(),
            is_known: known.is_some(),
            recipient: known.unwrap_or_else(|| json!({"id": user})),
            tenant: of_tenant.unwrap_or_default(),
            data: Value::Object(asked.data.clone()),
            memberships,
            brought,
            engagements: engagements
                .into_iter()
                .map(|one| ((one.guide.clone(), one.tenant.clone(), one.step.clone()), one))
                .collect(),
        })
    }

    fn find(&self, guide: &Arc<Guide>, facts: &Facts<'_>) -> Found {
        let scope = Scope::new(vec![
            ("recipient", &self.recipient),
            ("data", &self.data),
            ("tenant", &self.tenant),
            ("vars", self.vars),
        ]);
        let env =
            template::Env { scope: &scope, now: self.now, lookup: facts, strict: false, limits: Limits::default() };
        let ineligible = self.ineligible(guide, &env);
        let is_told = ineligible.is_none() || self.asked.is_forced;
        let told = if is_told { self.tell(guide, &env) } else { None };
        let is_targeted = self.declarations.guide(&guide.key).is_targeted;
        Found { guide: Arc::clone(guide), told, ineligible, is_targeted }
    }

    fn ineligible(&self, guide: &Guide, env: &template::Env<'_>) -> Option<Ineligible> {
        if !guide.is_active(self.now) {
            Some(Ineligible::GuideNotActive)
        } else if self.is_archived(guide) {
            Some(Ineligible::MarkedAsArchived)
        } else if !self.is_in_audience(guide) || !self.is_brought(guide) {
            Some(Ineligible::NotInTargetAudience)
        } else if !self.meets_conditions(guide, env) {
            Some(Ineligible::TargetConditionsNotMet)
        } else {
            None
        }
    }

    /// Whether the user is done with it: with each of its steps, or with one that was the last to them.
    fn is_archived(&self, guide: &Guide) -> bool {
        let archived = |engagement: &&Engagement| engagement.archived_at.is_some();
        let of_steps = || guide.steps.iter().map(|step| self.engagement(guide, &step.reference).filter(archived));
        of_steps().all(|engagement| engagement.is_some()) || of_steps().flatten().any(|engagement| engagement.is_final)
    }

    fn engagement(&self, guide: &Guide, step: &str) -> Option<&Engagement> {
        let tenant = guide.slot(self.asked.tenant);
        self.engagements.get(&(guide.key.clone(), tenant.to_owned(), step.to_owned()))
    }

    /// Who is found by their properties is a member in no tenant (W-AUD-13).
    fn is_in_audience(&self, guide: &Guide) -> bool {
        let Some(audience) = &guide.audience else { return true };
        match self.audiences.get(audience).and_then(|audience| audience.conditions()) {
            Some(conditions) => {
                let counts = !guide.is_strict || self.asked.tenant.is_none();
                counts && self.is_known && belongs(conditions, &self.recipient, self.now)
            }
            None => self.memberships.iter().any(|slot| {
                slot.audience == *audience && (!guide.is_strict || slot.tenant.as_deref() == self.asked.tenant)
            }),
        }
    }

    /// Whether a step has brought the user to it, if it is for those alone (W-CHS-20).
    fn is_brought(&self, guide: &Guide) -> bool {
        let counts = |one: &Membership| !guide.is_strict || one.tenant.as_deref() == self.asked.tenant;
        !self.declarations.guide(&guide.key).is_targeted
            || self.brought.iter().any(|one| one.guide == guide.key && counts(one))
    }

    fn meets_conditions(&self, guide: &Guide, env: &template::Env<'_>) -> bool {
        let Some(conditions) = &guide.conditions else { return true };
        let liquid = |template: &Template| template.render(env).ok();
        // W-CND-50: under the tenant that is asked for, or under none.
        let is_member = |audience: &str| match self.audiences.get(audience).and_then(|found| found.conditions()) {
            Some(conditions) => {
                self.asked.tenant.is_none() && self.is_known && belongs(conditions, &self.recipient, self.now)
            }
            None => self
                .memberships
                .iter()
                .any(|slot| slot.audience == audience && slot.tenant.as_deref() == self.asked.tenant),
        };
        conditions.holds(&Context { scope: env.scope, now: self.now, is_member: &is_member, liquid: &liquid })
    }

    /// The guide with what its steps show to the user (F-GDE-03, F-GDE-04); none where that cannot be rendered, which
    /// must not keep the user from the other guides.
    fn tell(&self, guide: &Guide, env: &template::Env<'_>) -> Option<Value> {
        let mut steps = Vec::new();
        for step in &guide.steps {
            let content = match step.content.render(env) {
                Ok(content) => content,
                Err(fault) => {
                    let (key, step) = (guide.key.as_str(), step.reference.as_str());
                    error!(guide.key = key, step.r#ref = step, error = %fault, "step `{step}` of guide `{key}` could not be rendered");
                    return None;
                }
            };
            let engagement = self.engagement(guide, &step.reference);
            let at = |stamp: fn(&Engagement) -> Option<Time>| engagement.and_then(stamp);
            steps.push(json!({
                "ref": step.reference,
                "schema_key": step.schema_key,
                "schema_semver": step.schema_semver,
                "schema_variant_key": step.schema_variant_key,
                "content": content,
                "message": {
                    "id": engagement.map(|engagement| engagement.message.as_str()),
                    "seen_at": at(|engagement| engagement.seen_at),
                    "read_at": at(|engagement| engagement.read_at),
                    "interacted_at": at(|engagement| engagement.interacted_at),
                    "archived_at": at(|engagement| engagement.archived_at),
                    "link_clicked_at": at(|engagement| engagement.link_clicked_at),
                },
            }));
        }
        let declared = self.declarations.guide(&guide.key);
        Some(json!({
            "__typename": "Guide",
            "id": guide.id(self.environment),
            "key": guide.key,
            "type": guide.kind(),
            "channel_id": self.asked.channel.id,
            "semver": format!("0.0.{}", declared.revision),
            "active": guide.is_active(self.now),
            "bypass_global_group_limit": self.guides.is_unthrottled(&guide.key),
            "dashboard_url": null,
            "activation_url_rules": guide.url_rules,
            "activation_url_patterns": guide.url_patterns,
            "steps": steps,
            "inserted_at": declared.inserted_at,
            "updated_at": declared.updated_at,
        }))
    }
}
