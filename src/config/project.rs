//! Loads what stands in files beside each other: workflows, audiences, sources, frequency caps, guides, and which workflow runs
//! for whom.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::workflows::{self, Problem, project_directory, read_json};
use crate::model::audience::{Audience, Audiences};
use crate::model::cap::{Cap, Caps};
use crate::model::channel::Channel;
use crate::model::guide::{Guide, Guides, Order};
use crate::model::invalid::{Invalid, did_you_mean, join};
use crate::model::source::{In, Source, Sources};
use crate::model::workflow::Workflow;

const AUDIENCES: &str = "audiences";
const AUDIENCE: &str = "audience.json";
const TRIGGERS: &str = "triggers.json";
const SOURCES: &str = "sources";
const CAPS: &str = "caps";
const GUIDES: &str = "guides";
const GUIDE: &str = "guide.json";
const GROUP: &str = "group.json";

/// Everything that the files of a project say.
#[derive(Debug)]
pub struct Project {
    pub workflows: Vec<Workflow>,
    pub audiences: Audiences,
    pub sources: Sources,
    pub caps: Caps,
    pub guides: Guides,
}

/// Loads everything; all of it is sound or none is loaded. `dir` is the directory of workflows, as [`workflows::load`]
/// takes it. `audiences/<key>/audience.json`, `guides/<key>/guide.json`, `sources/<key>.json` and
/// `caps/<key>.json` stand beside the directory `workflows`, as the Knock CLI has them (W-DSK-02); so does `guides/group.json`,
/// which puts guides in order, and `triggers.json`, which says for whom else than those whom the API names a workflow runs
/// (W-AMB-17):
///
/// ```json
/// {"welcome-vip": {"audience": "vip"}}
/// ```
pub fn load(dir: &Path, channels: &[Channel]) -> Result<Project, Vec<Problem>> {
    let workflows = workflows::load(dir, channels)?;
    let base = resources(dir).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let audiences = directories(&base.join(AUDIENCES), AUDIENCE, Audience::parse, &mut problems);
    let joins = joins(&base.join(TRIGGERS), &mut problems);
    let audiences = Audiences::new(audiences, joins);
    let sources = Sources::new(documents(&base.join(SOURCES), Source::parse, &mut problems));
    let caps = Caps::new(documents(&base.join(CAPS), Cap::parse, &mut problems));
    let guides = guides(&base.join(GUIDES), &mut problems).targeted_by(&workflows);
    if problems.is_empty() {
        for (workflow, fault) in audiences.faults(&workflows) {
            let file = match &workflow {
                Some(key) => workflows::document(dir, key),
                None => base.join(TRIGGERS),
            };
            problems.push(Problem::new(&file, fault.path, fault.message));
        }
    }
    if problems.is_empty() {
        for (place, fault) in sources.faults(&workflows, &audiences) {
            let file = match place {
                In::Workflow(key) => workflows::document(dir, &key),
                In::Source(key) => base.join(SOURCES).join(format!("{key}.json")),
            };
            problems.push(Problem::new(&file, fault.path, fault.message));
        }
    }
    if problems.is_empty() {
        for (key, fault) in caps.faults(&workflows, channels) {
            problems.push(Problem::new(&base.join(CAPS).join(format!("{key}.json")), fault.path, fault.message));
        }
    }
    if problems.is_empty() {
        for (key, fault) in guides.faults(channels) {
            let file = key.map_or_else(|| GROUP.into(), |key| Path::new(key).join(GUIDE));
            problems.push(Problem::new(&base.join(GUIDES).join(file), fault.path, fault.message));
        }
        for workflow in &workflows {
            for fault in workflow.guide_faults(&guides) {
                problems.push(Problem::new(&workflows::document(dir, &workflow.key), fault.path, fault.message));
            }
        }
    }
    if problems.is_empty() { Ok(Project { workflows, audiences, sources, caps, guides }) } else { Err(problems) }
}

/// What besides `dir` is read, and may change.
pub fn besides(dir: &Path) -> Vec<PathBuf> {
    let base = resources(dir);
    base.map(|base| [AUDIENCES, TRIGGERS, SOURCES, CAPS, GUIDES].map(|name| base.join(name)).to_vec())
        .unwrap_or_default()
}

/// Where audiences and their like stand: where the directory `workflows` does, if that is what `dir` is.
fn resources(dir: &Path) -> Result<PathBuf, Problem> {
    let base = project_directory(dir)?;
    if base.file_name().is_none_or(|name| name != "workflows") {
        return Ok(base);
    }
    Ok(match base.parent() {
        Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
        _ => PathBuf::from("."),
    })
}

/// The guides below `dir`, and their order.
fn guides(dir: &Path, problems: &mut Vec<Problem>) -> Guides {
    let guides = directories(dir, GUIDE, Guide::parse, problems);
    let file = dir.join(GROUP);
    let order = if file.exists() { document(&file, Order::parse, problems) } else { None };
    Guides::new(guides, order.unwrap_or_default())
}

/// The file `name` of each directory of `dir` that has one, as `parse` reads it.
fn directories<T>(
    dir: &Path,
    name: &str,
    parse: impl Fn(&str, &Value) -> Result<T, Vec<Invalid>>,
    problems: &mut Vec<Problem>,
) -> Vec<T> {
    let mut read = Vec::new();
    for directory in children(dir, name, problems) {
        let key = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        read.extend(document(&directory.join(name), |value| parse(&key, value), problems));
    }
    read
}

/// Each `<key>.json` of a directory, as `parse` reads it.
fn documents<T>(
    dir: &Path,
    parse: impl Fn(&str, &Value) -> Result<T, Vec<Invalid>>,
    problems: &mut Vec<Problem>,
) -> Vec<T> {
    let mut read = Vec::new();
    let mut files = listed(dir, problems);
    files.retain(|path| path.is_file() && path.extension().is_some_and(|extension| extension == "json"));
    for file in files {
        let key = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        read.extend(document(&file, |value| parse(&key, value), problems));
    }
    read
}

/// What stands in a file, as `parse` reads it.
fn document<T>(
    file: &Path,
    parse: impl Fn(&Value) -> Result<T, Vec<Invalid>>,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let read = read_json(file, "").map_err(|problem| vec![problem]).and_then(|value| {
        let told = |faults: Vec<Invalid>| {
            faults.into_iter().map(|fault| Problem::new(file, fault.path, fault.message)).collect::<Vec<_>>()
        };
        parse(&value).map_err(told)
    });
    read.map_err(|wrong| problems.extend(wrong)).ok()
}

/// The directories in `dir` that hold `document`, in order.
fn children(dir: &Path, document: &str, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut found = listed(dir, problems);
    found.retain(|path| path.join(document).is_file());
    found
}

/// What stands in `dir`, in order; nothing where there is no `dir`.
fn listed(dir: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    if !dir.exists() {
        return Vec::new();
    }
    let listed: Result<Vec<PathBuf>, _> =
        fs::read_dir(dir).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    match listed {
        Ok(mut found) => {
            found.sort();
            found
        }
        Err(error) => {
            problems.push(Problem::new(dir, "", format!("can't be listed: {error}")));
            Vec::new()
        }
    }
}

/// For each workflow the audience that starts it.
fn joins(file: &Path, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut joins = BTreeMap::new();
    if !file.exists() {
        return joins;
    }
    let mut wrong = |path: String, message: String| problems.push(Problem::new(file, path, message));
    let triggers = match read_json(file, "") {
        Ok(Value::Object(triggers)) => triggers,
        Ok(_) => {
            wrong(String::new(), "must hold a JSON object: workflows by their keys".to_owned());
            return joins;
        }
        Err(problem) => {
            problems.push(problem);
            return joins;
        }
    };
    for (workflow, trigger) in triggers {
        let Value::Object(trigger) = trigger else {
            wrong(workflow, "must be an object such as {\"audience\": \"vip\"}".to_owned());
            continue;
        };
        for unknown in trigger.keys().filter(|key| *key != "audience") {
            let hint = did_you_mean(unknown, ["audience"]).unwrap_or_else(|| "known here is audience".to_owned());
            wrong(join(&workflow, unknown), format!("unknown key; {hint}"));
        }
        match trigger.get("audience") {
            Some(Value::String(audience)) => drop(joins.insert(workflow, audience.clone())),
            // W-AUD-03: it is one audience, and no list of them.
            _ => wrong(join(&workflow, "audience"), "is required: the key of one audience".to_owned()),
        }
    }
    joins
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test alone, gone when the test is.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("bellwire-project-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            let dir = Dir(root);
            for (path, content) in files {
                let file = dir.0.join(path);
                fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
                fs::write(file, content).expect("a file");
            }
            dir
        }

        /// Every problem, with this directory's own path cut off.
        fn problems(&self, dir: &str) -> Vec<String> {
            let prefix = format!("{}/", self.0.display());
            let problems = load(&self.0.join(dir), &[]).err().unwrap_or_default();
            problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const EMPTY: &str = r#"{"name": "Empty", "steps": []}"#;
    const STATIC: &str = r#"{"name": "VIP", "type": "static"}"#;
    const DYNAMIC: &str = r#"{"name": "Pro", "type": "dynamic", "segments":
        [{"conditions": [{"property": "recipient.plan", "operator": "equal_to", "argument": "pro"}]}]}"#;

    #[test]
    fn audiences_stand_beside_the_workflows_w_dsk_02() {
        for (name, dir) in [("inside", ""), ("beside", "workflows")] {
            let files = [
                ("workflows/story/workflow.json", EMPTY),
                ("audiences/vip/audience.json", STATIC),
                ("audiences/pro/audience.json", DYNAMIC),
                ("audiences/README.md", "no audience"),
                ("triggers.json", r#"{"story": {"audience": "vip"}}"#),
            ];
            let root = Dir::new(name, &files);
            let project = load(&root.0.join(dir), &[]).expect("a sound project");
            assert_eq!(project.workflows.len(), 1);
            assert_eq!(project.audiences.workflows("vip"), ["story"], "W-AMB-17 W-AUD-01");
            assert_eq!(project.audiences.dynamic().map(|(key, _)| key).collect::<Vec<_>>(), ["pro"], "W-AUD-13");
            assert_eq!(besides(&root.0.join(dir)).len(), 5);
        }
        let alone = Dir::new("alone", &[("story/workflow.json", EMPTY)]);
        assert_eq!(load(&alone.0, &[]).expect("workflows alone").audiences.all().count(), 0);
    }

    #[test]
    fn caps_stand_beside_the_workflows_and_are_read_with_them() {
        let files = |cap: &'static str| {
            [("workflows/story/workflow.json", EMPTY), ("caps/calm.json", cap), ("caps/README.md", "no cap")]
        };
        let sound = Dir::new("caps", &files(r#"{"name": "Calm", "limit": 5, "per": "day", "workflows": ["story"]}"#));
        let project = load(&sound.0, &[]).expect("a sound project");
        assert_eq!(project.caps.all().map(|cap| cap.key.as_str()).collect::<Vec<_>>(), ["calm"]);
        for (cap, said) in [
            ("{", "caps/calm.json: is no JSON"),
            (
                r#"{"name": "Calm", "limit": 0, "per": "day"}"#,
                "caps/calm.json: limit: must be a whole number from 1 to 1000",
            ),
            (
                r#"{"name": "Calm", "limit": 5, "per": "day", "overflow": {"workflow": "stroy"}}"#,
                "caps/calm.json: overflow.workflow: there is no workflow `stroy` (did you mean `story`?)",
            ),
        ] {
            let problems = Dir::new("caps-wrong", &files(cap)).problems("workflows");
            assert!(problems.len() == 1 && problems[0].contains(said), "{cap} gave {problems:?}");
        }
    }

    #[test]
    fn guides_stand_beside_the_workflows_in_the_order_of_their_group_w_dsk_02() {
        const TOUR: &str =
            r#"{"name": "Tour", "channel_key": "guides", "steps": [{"ref": "one", "schema_key": "card"}]}"#;
        let files = |tour: &'static str, group: &'static str| {
            [
                ("workflows/story/workflow.json", EMPTY),
                ("guides/tour/guide.json", tour),
                ("guides/group.json", group),
                ("guides/README.md", "no guide"),
            ]
        };
        let dir = Dir::new("guides", &files(TOUR, r#"{"display_sequence": ["tour"]}"#));
        let channel = Channel {
            id: uuid::Uuid::nil(),
            key: "guides".to_owned(),
            name: "Guides".to_owned(),
            kind: crate::model::channel::ChannelKind::InAppGuide,
            provider: String::new(),
            created_at: Default::default(),
            updated_at: Default::default(),
            conditions: None,
            response_filter: Default::default(),
        };
        let project = load(&dir.0.join("workflows"), std::slice::from_ref(&channel)).expect("a sound project");
        assert_eq!(project.guides.all().map(|guide| guide.key.as_str()).collect::<Vec<_>>(), ["tour"]);
        assert!(!project.guides.is_targeted("tour"));
        let brings = |key: &str| {
            format!(
                r#"{{"name": "S", "steps": [{{"type": "channel", "ref": "s", "channel_key": "guides",
                "channel_type": "in_app_guide", "guide_key": "{key}"}}]}}"#
            )
        };
        let (right, wrong) = (brings("tour"), brings("tuor"));
        let files = |story: &str| {
            let dir =
                Dir::new("guides-named", &[("workflows/story/workflow.json", story), ("guides/tour/guide.json", TOUR)]);
            load(&dir.0.join("workflows"), std::slice::from_ref(&channel))
        };
        assert!(files(&right).expect("a sound project").guides.is_targeted("tour"), "W-CHS-20");
        let problems = files(&wrong).expect_err("there is no such guide");
        let said = "workflows/story/workflow.json: steps[0].guide_key: there is no guide `tuor` (did you mean `tour`?)";
        assert!(problems.len() == 1 && problems[0].to_string().contains(said), "W-CHS-20: {problems:?}");
        let files = |tour: &'static str, group: &'static str| {
            [("workflows/story/workflow.json", EMPTY), ("guides/tour/guide.json", tour), ("guides/group.json", group)]
        };
        for (tour, group, said) in [
            ("{", "{}", "guides/tour/guide.json: is no JSON"),
            (r#"{"name": "Tour"}"#, "{}", "guides/tour/guide.json: channel_key: is required"),
            (TOUR, "{}", "guides/tour/guide.json: channel_key: there is no channel `guides`"),
            (
                TOUR,
                r#"{"display_sequence": ["tuor"]}"#,
                "guides/group.json: display_sequence[0]: there is no guide `tuor`",
            ),
            (TOUR, "[]", "guides/group.json: must be an object"),
        ] {
            let problems = Dir::new("guides-wrong", &files(tour, group)).problems("workflows");
            assert!(problems.iter().any(|problem| problem.contains(said)), "{tour} {group} gave {problems:?}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_said_with_its_file() {
        let step = |kind: &str, settings: &str| {
            format!(r#"{{"name": "S", "steps": [{{"type": "{kind}", "ref": "s", "settings": {settings}}}]}}"#)
        };
        let adds = |key: &str| step("update_audience", &format!(r#"{{"action": "add", "audience_key": "{key}"}}"#));
        let removes = step("update_audience", r#"{"action": "remove", "audience_key": "vip"}"#);
        let waits = |key: &str| {
            step(
                "wait_for_event",
                &format!(r#"{{"event": {{"event_type": "audience", "event_key": "enter", "audience_key": "{key}"}}}}"#),
            )
        };
        let joined = r#"{"story": {"audience": "vip"}}"#;
        for (name, story, triggers, said) in [
            ("sound", &removes, joined, vec![]),
            (
                "loop",
                &adds("vip"),
                joined,
                vec![
                    "workflows/story/workflow.json: steps[0].settings.audience_key: the workflow runs for whoever joins `vip`",
                ],
            ),
            ("other", &adds("other"), joined, vec![]),
            (
                "dynamic",
                &adds("pro"),
                "{}",
                vec!["workflows/story/workflow.json: steps[0].settings.audience_key: `pro` is dynamic"],
            ),
            ("waits", &waits("pro"), "{}", vec![]),
            (
                "static",
                &waits("vip"),
                "{}",
                vec!["workflows/story/workflow.json: steps[0].settings.event.audience_key: `vip` is static"],
            ),
            (
                "unknown",
                &waits("prp"),
                "{}",
                vec!["workflows/story/workflow.json: steps[0].settings.event.audience_key: there is no audience `prp`"],
            ),
            (
                "gone",
                &removes,
                r#"{"stroy": {"audience": "vip"}}"#,
                vec!["triggers.json: stroy: there is no workflow `stroy` (did you mean `story`?)"],
            ),
            (
                "none",
                &removes,
                r#"{"story": {"audience": "vp"}}"#,
                vec!["triggers.json: story.audience: there is no audience `vp` (did you mean `vip`?)"],
            ),
            (
                "many",
                &removes,
                r#"{"story": {"audience": ["vip"]}}"#,
                vec!["triggers.json: story.audience: is required: the key of one audience"],
            ),
            ("list", &removes, "[]", vec!["triggers.json: must hold a JSON object"]),
            ("word", &removes, r#"{"story": "vip"}"#, vec!["triggers.json: story: must be an object"]),
            (
                "key",
                &removes,
                r#"{"story": {"audience": "vip", "when": 1}}"#,
                vec!["triggers.json: story.when: unknown key"],
            ),
        ] {
            let dir = Dir::new(
                name,
                &[
                    ("workflows/story/workflow.json", story),
                    ("audiences/vip/audience.json", STATIC),
                    ("audiences/pro/audience.json", DYNAMIC),
                    ("triggers.json", triggers),
                ],
            );
            let problems = dir.problems("");
            assert_eq!(problems.len(), said.len(), "W-UPD-22 W-UPD-23 W-WFE-08 W-AUD-03 {name}: {problems:#?}");
            assert!(
                problems.iter().zip(&said).all(|(problem, said)| problem.starts_with(said)),
                "{name}: {problems:#?}"
            );
        }
        let takes = |audience: &str| {
            format!(
                r#"{{"mappings": [{{"event": "e", "action": "audiences_add_member", "audience": "{audience}", "user": "body.u"}},
                {{"event": "e", "action": "audiences_remove_member", "audience": "{audience}", "user": "body.u", "active": false}}]}}"#
            )
        };
        for (audience, said) in [
            ("vip", None),
            ("pro", Some("`pro` is dynamic: only members of static audiences are added and removed")),
            ("vpi", Some("there is no audience `vpi` (did you mean `vip`?)")),
        ] {
            let files = [
                ("workflows/story/workflow.json", EMPTY),
                ("audiences/vip/audience.json", STATIC),
                ("audiences/pro/audience.json", DYNAMIC),
                ("sources/shop.json", &takes(audience)),
            ];
            let said = said
                .into_iter()
                .flat_map(|said| [0, 1].map(|at| format!("sources/shop.json: mappings[{at}].audience: {said}")));
            assert_eq!(
                Dir::new("takes", &files).problems(""),
                said.collect::<Vec<_>>(),
                "W-UPD-23 W-SRC-01 {audience}"
            );
        }
        let broken = Dir::new(
            "broken",
            &[("story/workflow.json", EMPTY), ("audiences/vip/audience.json", r#"{"type": "static"}"#)],
        );
        assert_eq!(broken.problems(""), ["audiences/vip/audience.json: name: is required"], "W-AUD-14");
    }
}
