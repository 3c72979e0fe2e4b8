//! Recipient runs: what came of a trigger, recipient by recipient.

use uuid::Uuid;

use super::messages::{in_words, recipient_option};
use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::page::Rows;
use crate::http::router::{Route, TenantIn, Verb};
use crate::model::feed::Bounds;
use crate::model::run::Run;
use crate::store::runs::RunFilter;
use crate::wire::cursor::{List, Page};

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/v1/workflow_recipient_runs", "listWorkflowRecipientRuns", Tier::Two, |cx| {
        Box::pin(list(cx))
    })
    .in_tenant(TenantIn::Query)
    .kept_for_a_time(),
    Route::new(Verb::Get, "/v1/workflow_recipient_runs/{id}", "getWorkflowRecipientRun", Tier::Two, |cx| {
        Box::pin(get(cx))
    })
    .kept_for_a_time(),
];

const STATUSES: [&str; 5] = ["queued", "processing", "paused", "completed", "cancelled"];

/// W-RUN-03 to W-RUN-05.
async fn list(cx: Cx) -> Result<Answer, ApiError> {
    let query = &cx.query;
    let page = Page::from_query(query, List::WorkflowRuns)?;
    let filter = RunFilter {
        workflow: query.get("workflow").map(str::to_owned),
        statuses: in_words(query.list("status"), "status", &STATUSES)?,
        tenant: query.get("tenant").map(str::to_owned),
        has_errors: query.bool("has_errors")?,
        recipient: recipient_option(query, "recipient")?,
        started: Bounds { gte: query.time("starting_at")?, lte: query.time("ending_at")?, ..Bounds::default() },
    };
    let found = cx.core().store.runs(cx.env(), &filter, page.at.as_ref(), page.size + 1).await?;
    let ids: Vec<(Run, String)> =
        found.into_iter().map(|run| (run.id.to_string(), run)).map(|(id, run)| (run, id)).collect();
    let rows = Rows::new(ids, &page, List::WorkflowRuns, |(run, id)| (run.inserted_at, id.as_str()));
    Ok(rows.answer("items", None, |(run, _)| run.to_json()))
}

/// W-RUN-02.
async fn get(cx: Cx) -> Result<Answer, ApiError> {
    let asked = cx.param("id");
    let missing = || ApiError::missing(format!("There is no recipient run `{asked}`."));
    let id = Uuid::try_parse(asked).map_err(|_| missing())?;
    let run = cx.core().store.run(&id.to_string()).await?.filter(|run| run.env == cx.env()).ok_or_else(missing)?;
    Ok(Answer::json(&run.to_detail_json()))
}
