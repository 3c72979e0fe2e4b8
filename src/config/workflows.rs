//! Loads workflows from a directory in the layout that the Knock CLI pulls and pushes.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use crate::model::channel::Channel;
use crate::model::channel_group::ChannelGroup;
use crate::model::workflow::Workflow;
use crate::template::Template;

const DOCUMENT: &str = "workflow.json";
const PROJECT: &str = "knock.json";
const DIRECTORY: &str = "workflows";
/// The one file whose JSON becomes part of the document; any other content stays text (W-DSK-13).
const BLOCKS: &str = "visual_blocks.json";
/// `workflow.json` refers to files, and of these only the blocks refer on (W-DSK-10).
const DEEPEST_REFERENCE: usize = 2;

/// One thing that keeps a directory of workflows from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The file to change.
    pub file: PathBuf,
    /// Where in the workflow's document; empty when it is about the file itself.
    pub path: String,
    /// What is wrong, as a sentence.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(file: &Path, path: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { file: file.to_owned(), path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "{}: {}", self.file.display(), self.message),
            path => write!(f, "{}: {path}: {}", self.file.display(), self.message),
        }
    }
}

/// Loads every workflow below `dir`, in the order of their keys; all are sound or none is loaded (W-AMB-15).
///
/// `dir` holds `<key>/workflow.json`, `workflows/<key>/workflow.json`, or a `knock.json` that names the directory which
/// does. `channels` are the configured ones; see [`Workflow::parse`].
pub fn load(dir: &Path, channels: &[Channel]) -> Result<Vec<Workflow>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let base = project_directory(dir).map_err(|problem| vec![problem])?;
    for directory in workflow_directories(&base).map_err(|problem| vec![problem])? {
        let key = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(first) = found.get(&key) {
            let message = format!("`{key}` is already the key of {}", first.display());
            problems.push(Problem::new(&directory.join(DOCUMENT), "", message));
            continue;
        }
        found.insert(key, directory);
    }
    let mut workflows = Vec::new();
    for (key, directory) in &found {
        match load_one(key, directory, &base, channels) {
            Ok(workflow) => workflows.push(workflow),
            Err(wrong) => problems.extend(wrong),
        }
    }
    if problems.is_empty() { Ok(workflows) } else { Err(problems) }
}

/// Steps of these workflows of `dir` that can be loaded, and would do nothing: see [`Workflow::doubts`].
pub fn doubts(dir: &Path, workflows: &[Workflow], channels: &[Channel], groups: &[ChannelGroup]) -> Vec<Problem> {
    let each = |workflow: &Workflow| {
        let found = workflow.doubts(channels).into_iter().chain(workflow.undeclared_groups(groups));
        found.map(|fault| Problem::new(&document(dir, &workflow.key), fault.path, fault.message)).collect::<Vec<_>>()
    };
    workflows.iter().flat_map(each).collect()
}

/// The document of a workflow of `dir`.
pub(super) fn document(dir: &Path, key: &str) -> PathBuf {
    let directories = project_directory(dir).and_then(|base| workflow_directories(&base)).unwrap_or_default();
    let found = directories.into_iter().find(|directory| directory.ends_with(key));
    found.unwrap_or_else(|| dir.join(key)).join(DOCUMENT)
}

/// Every directory that holds a `workflow.json` where workflows may stand (W-DSK-02, W-DSK-03).
fn workflow_directories(base: &Path) -> Result<Vec<PathBuf>, Problem> {
    if base.join(DOCUMENT).exists() {
        let message = "this is the directory of one workflow; the one above it is to be loaded";
        return Err(Problem::new(&base.join(DOCUMENT), "", message));
    }
    let mut found = children(base)?;
    let inner = base.join(DIRECTORY);
    if inner.is_dir() && !found.contains(&inner) {
        found.extend(children(&inner)?);
    }
    Ok(found)
}

/// Where the resources of the project in `dir` stand: `dir`, unless its `knock.json` says otherwise (W-DSK-01).
pub(super) fn project_directory(dir: &Path) -> Result<PathBuf, Problem> {
    let file = dir.join(PROJECT);
    if !file.exists() {
        return Ok(dir.to_owned());
    }
    let project = read_json(&file, "")?;
    let base = match project.get("knockDir") {
        None | Some(Value::Null) => dir.to_owned(),
        Some(Value::String(relative)) if Path::new(relative).is_relative() => dir.join(relative),
        Some(_) => return Err(Problem::new(&file, "knockDir", "must be a path relative to this file")),
    };
    if base.is_dir() { Ok(base) } else { Err(Problem::new(&file, "knockDir", "there is no such directory")) }
}

/// The directories in `dir` that hold a `workflow.json`, in order.
fn children(dir: &Path) -> Result<Vec<PathBuf>, Problem> {
    let unreadable = |error: std::io::Error| {
        Problem::new(
            dir,
            "",
            format!("can't be listed: {error}; it is the directory named by `dir` of [workflows], or by --workflows"),
        )
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.join(DOCUMENT).symlink_metadata().is_ok() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn load_one(key: &str, directory: &Path, root: &Path, channels: &[Channel]) -> Result<Workflow, Vec<Problem>> {
    let file = directory.join(DOCUMENT);
    if let Some(message) = Workflow::key_problem(key) {
        return Err(vec![Problem::new(&file, "", format!("the directory's name is the key, and {message}"))]);
    }
    stays_within(directory, root).map_err(|message| vec![Problem::new(directory, "", message)])?;
    let mut assembly = Assembly { directory, problems: Vec::new(), used: HashSet::new(), places: Vec::new() };
    let document = assembly.document(&file);
    let Assembly { mut problems, places, .. } = assembly;
    let Some(document) = document else { return Err(problems) };
    match Workflow::parse(key, &document, channels) {
        Ok(workflow) => {
            if problems.is_empty() {
                return Ok(workflow);
            }
        }
        Err(wrong) => {
            for invalid in wrong {
                // What a file could not give, or gave with broken Liquid, has been said.
                if !problems.iter().any(|problem| problem.path == invalid.path) {
                    problems.push(Problem::new(&origin(&places, &invalid.path, &file), invalid.path, invalid.message));
                }
            }
        }
    }
    Err(problems)
}

/// The file from which the value at `path` came: that of the innermost reference around it.
fn origin(places: &[(String, PathBuf)], path: &str, document: &Path) -> PathBuf {
    let around =
        |place: &str| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let innermost = places.iter().filter(|(place, _)| around(place)).max_by_key(|(place, _)| place.len());
    innermost.map_or_else(|| document.to_owned(), |(_, file)| file.clone())
}

/// Puts a workflow's document together from its files.
struct Assembly<'a> {
    directory: &'a Path,
    problems: Vec<Problem>,
    /// Files that are referred to already, by their real paths (W-DSK-11).
    used: HashSet<PathBuf>,
    /// Which value of the document came from which file.
    places: Vec<(String, PathBuf)>,
}

impl Assembly<'_> {
    /// The document as the CLI would push it (W-DSK-23); `None` when there is no object to go on with.
    fn document(&mut self, file: &Path) -> Option<Value> {
        let read = stays_within(file, self.directory).map_err(|message| Problem::new(file, "", message));
        match read.and_then(|_| read_json(file, "")) {
            Ok(Value::Object(mut map)) => {
                // Ignored on reading (W-DSK-05), and no place for references either.
                map.remove("__readonly");
                map.remove("$schema");
                let mut document = Value::Object(map);
                self.inline(&mut document, "", file, 0);
                Some(document)
            }
            Ok(_) => {
                self.problems.push(Problem::new(file, "", "must hold a JSON object"));
                None
            }
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// Replaces every `field@` in `value`, which stands in `file` below `depth` references (W-DSK-07).
    fn inline(&mut self, value: &mut Value, path: &str, file: &Path, depth: usize) {
        match value {
            Value::Object(map) => {
                self.inline_fields(map, path, file, depth);
            }
            Value::Array(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.inline(item, &format!("{path}[{i}]"), file, depth);
                }
            }
            _ => {}
        }
    }

    fn inline_fields(&mut self, map: &mut Map<String, Value>, path: &str, file: &Path, depth: usize) {
        let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        for (key, value) in map.iter_mut() {
            self.inline(value, &at(key), file, depth);
        }
        let references: Vec<String> = map.keys().filter(|key| key.len() > 1 && key.ends_with('@')).cloned().collect();
        for reference in references {
            let Some(target) = map.remove(&reference) else { continue };
            let field = &reference[..reference.len() - 1];
            // The inline value wins, and the file is not read (W-DSK-08).
            if map.contains_key(field) {
                continue;
            }
            if let Some(content) = self.content(&target, &at(field), file, depth + 1) {
                map.insert(field.to_owned(), content);
            }
        }
    }

    /// What the field at `path` holds according to its reference `target`, which stands in `file`.
    fn content(&mut self, target: &Value, path: &str, file: &Path, depth: usize) -> Option<Value> {
        let found = self.resolve(target, file, depth).and_then(|content_file| {
            let text = read_text(&content_file)?;
            Ok((content_file, text))
        });
        let (content_file, text) = match found {
            Ok(found) => found,
            Err(message) => {
                self.problems.push(Problem::new(file, path, message));
                return None;
            }
        };
        self.places.push((path.to_owned(), content_file.clone()));
        if content_file.file_name().is_some_and(|name| name == BLOCKS) {
            return self.blocks(&text, path, &content_file, depth);
        }
        if let Err(error) = Template::parse(&text) {
            let message = format!("line {}: {}", error.line, error.message);
            self.problems.push(Problem::new(&content_file, path, message));
        }
        Some(Value::String(text))
    }

    fn blocks(&mut self, text: &str, path: &str, file: &Path, depth: usize) -> Option<Value> {
        match serde_json::from_str(text) {
            Ok(mut blocks) => {
                self.inline(&mut blocks, path, file, depth);
                Some(blocks)
            }
            Err(error) => {
                self.problems.push(Problem::new(file, path, format!("is no JSON: {error}")));
                None
            }
        }
    }

    /// The file that `target`, standing in `file`, refers to (W-DSK-09, W-DSK-11).
    fn resolve(&mut self, target: &Value, file: &Path, depth: usize) -> Result<PathBuf, String> {
        let Some(relative) = target.as_str().filter(|text| !text.is_empty()) else {
            return Err("the reference must be a relative path as text".into());
        };
        if depth > DEEPEST_REFERENCE {
            return Err(format!("`{relative}` would be a third level of references; two are allowed"));
        }
        if !Path::new(relative).is_relative() {
            return Err(format!("`{relative}` must be relative to the file that refers to it"));
        }
        let path = file.parent().unwrap_or(self.directory).join(relative);
        let path = normal(&path).filter(|path| path.starts_with(normal(self.directory).unwrap_or_default()));
        let Some(path) = path else {
            return Err(format!("`{relative}` leads out of the workflow's directory"));
        };
        if !path.exists() {
            return Err(format!("there is no file `{}`", path.display()));
        }
        let real = stays_within(&path, self.directory)?;
        if !self.used.insert(real) {
            return Err(format!("`{relative}` is used by another field already; a file belongs to one field"));
        }
        Ok(path)
    }
}

/// `path` without `.` and `..`, by its spelling alone; `None` when it climbs above where it starts.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            Component::ParentDir if out.has_root() => return None,
            other => out.push(other),
        }
    }
    Some(out)
}

/// The real path of `path`, which must stand in `directory` after all symbolic links.
fn stays_within(path: &Path, directory: &Path) -> Result<PathBuf, String> {
    let real =
        |path: &Path| path.canonicalize().map_err(|error| format!("`{}` can't be opened: {error}", path.display()));
    let found = real(path)?;
    if found.starts_with(real(directory)?) {
        Ok(found)
    } else {
        Err(format!("`{}` is a symbolic link that leads out of `{}`", path.display(), directory.display()))
    }
}

fn read_text(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("`{}` can't be read: {error}", file.display()))
}

pub(super) fn read_json(file: &Path, path: &str) -> Result<Value, Problem> {
    let text = read_text(file).map_err(|message| Problem::new(file, path, message))?;
    // The error names its line and column.
    serde_json::from_str(&text).map_err(|error| Problem::new(file, path, format!("is no JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workflow::StepKind;
    use serde_json::json;

    /// A directory of this test alone, gone when the test is.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("bellwire-workflows-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).expect("a directory");
            let dir = Dir(root);
            files.iter().for_each(|(path, content)| dir.write(path, content));
            dir
        }

        fn write(&self, path: &str, content: &str) {
            let file = self.0.join(path);
            fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
            fs::write(file, content).expect("a file");
        }

        fn load(&self) -> Result<Vec<Workflow>, Vec<Problem>> {
            load(&self.0, &[])
        }

        fn keys(&self) -> Vec<String> {
            self.load().expect("sound workflows").into_iter().map(|workflow| workflow.key).collect()
        }

        /// Every problem as it is shown, with this directory's own path cut off.
        fn problems(&self) -> Vec<String> {
            let prefix = format!("{}/", self.0.display());
            let problems = self.load().err().unwrap_or_default();
            problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const EMPTY: &str = r#"{"name": "Empty", "steps": []}"#;

    fn feed(template: Value) -> String {
        let step = json!({
            "type": "channel", "ref": "bell", "channel_key": "in-app-feed", "channel_type": "in_app_feed",
            "template": template
        });
        json!({"name": "Feed", "steps": [step]}).to_string()
    }

    fn email(template: Value) -> String {
        let step = json!({
            "type": "channel", "ref": "email_1", "channel_key": "post", "channel_type": "email", "template": template
        });
        json!({"name": "Mail", "steps": [step]}).to_string()
    }

    fn template_of(workflow: &Workflow) -> &Value {
        &workflow.source["steps"][0]["template"]
    }

    /// The one problem, which must begin with `start`.
    #[track_caller]
    fn says(problems: &[String], start: &str, rule: &str) {
        assert_eq!(problems.len(), 1, "{rule}: {problems:#?}");
        assert!(problems[0].starts_with(start), "{rule}: {}", problems[0]);
    }

    #[test]
    fn both_layouts_and_a_project_file_are_found() {
        let flat = Dir::new("flat", &[("b-two/workflow.json", EMPTY), ("a-one/workflow.json", EMPTY)]);
        assert_eq!(flat.keys(), ["a-one", "b-two"], "W-DSK-03, W-DSK-04: the key is the directory's name");
        let nested =
            Dir::new("nested", &[("workflows/one/workflow.json", EMPTY), ("layouts/default/layout.json", "{}")]);
        assert_eq!(nested.keys(), ["one"], "W-DSK-02");
        let project = [("knock.json", r#"{"knockDir": "./knock"}"#), ("knock/workflows/one/workflow.json", EMPTY)];
        assert_eq!(Dir::new("project", &project).keys(), ["one"], "W-DSK-01");
        let silent = [("knock.json", "{}"), ("workflows/one/workflow.json", EMPTY)];
        assert_eq!(Dir::new("silent", &silent).keys(), ["one"], "W-DSK-01: knockDir is optional");
        let named = [("workflows/workflow.json", EMPTY)];
        assert_eq!(Dir::new("named", &named).keys(), ["workflows"], "a key like any other");
    }

    #[test]
    fn a_directory_without_the_file_is_no_workflow() {
        let files = [("notes/readme.md", "x"), ("one/workflow.json", EMPTY), ("one/deep/workflow.json", "no JSON")];
        assert_eq!(Dir::new("without", &files).keys(), ["one"], "W-DSK-03");
        assert_eq!(Dir::new("nothing", &[]).keys(), [""; 0], "W-DSK-03");
    }

    #[test]
    fn a_wrong_directory_is_said_to_be_wrong() {
        let missing = load(Path::new("/no/such/directory"), &[]).expect_err("nothing to list");
        assert_eq!(missing[0].file, Path::new("/no/such/directory"));
        let one = Dir::new("inside", &[("workflow.json", EMPTY)]);
        says(&one.problems(), "workflow.json: this is the directory of one workflow", "W-DSK-03");
        let astray = Dir::new("astray", &[("knock.json", r#"{"knockDir": "knock"}"#)]);
        says(&astray.problems(), "knock.json: knockDir: there is no such directory", "W-DSK-01");
        let absolute = Dir::new("absolute", &[("knock.json", r#"{"knockDir": "/tmp"}"#)]);
        says(&absolute.problems(), "knock.json: knockDir: must be a path relative", "W-DSK-01");
    }

    #[test]
    fn keys_are_checked_and_unique() {
        let bad = Dir::new("badkey", &[("New Comment/workflow.json", EMPTY)]);
        says(
            &bad.problems(),
            "New Comment/workflow.json: the directory's name is the key, and `New Comment`",
            "W-WFD-01",
        );
        let twice = Dir::new("twice", &[("one/workflow.json", EMPTY), ("workflows/one/workflow.json", EMPTY)]);
        says(&twice.problems(), "workflows/one/workflow.json: `one` is already the key of one", "W-WFD-01");
    }

    #[test]
    fn read_only_parts_are_ignored() {
        let document = r#"{"$schema": "https://x.test/s.json", "__readonly": {"key": "other", "x@": "nowhere.md"},
            "name": "One", "steps": []}"#;
        let dir = Dir::new("readonly", &[("one/workflow.json", document)]);
        let loaded = dir.load().expect("W-DSK-05");
        assert_eq!(
            (loaded[0].key.as_str(), &loaded[0].source),
            ("one", &json!({"name": "One", "steps": []})),
            "W-DSK-05"
        );
    }

    #[test]
    fn broken_json_is_named_with_line_and_column() {
        let dir = Dir::new("syntax", &[("one/workflow.json", "{\n  \"name\": \"One\",\n  steps: []\n}")]);
        let problems = dir.problems();
        says(&problems, "one/workflow.json: is no JSON: ", "W-AMB-15");
        assert!(problems[0].ends_with("at line 3 column 3"), "{}", problems[0]);
        let list = Dir::new("list", &[("one/workflow.json", "[]")]);
        says(&list.problems(), "one/workflow.json: must hold a JSON object", "W-DSK-05");
    }

    #[test]
    fn a_reference_becomes_the_content_of_its_file() {
        let dir = Dir::new(
            "reference",
            &[
                ("one/workflow.json", &feed(json!({"markdown_body@": "bell/markdown_body.md", "action_url": "/"}))),
                ("one/bell/markdown_body.md", "Hello **{{ recipient.name }}**\n"),
            ],
        );
        let loaded = dir.load().expect("W-DSK-06");
        let expected = json!({"markdown_body": "Hello **{{ recipient.name }}**\n", "action_url": "/"});
        assert_eq!(*template_of(&loaded[0]), expected, "W-DSK-06, W-DSK-07, W-DSK-23");
        assert!(matches!(loaded[0].steps[0].kind, StepKind::Channel(_)), "W-DSK-23");
    }

    #[test]
    fn an_edited_file_makes_a_new_version() {
        let document = feed(json!({"markdown_body@": "bell/markdown_body.md"}));
        let dir = Dir::new("version", &[("one/workflow.json", &document), ("one/bell/markdown_body.md", "First")]);
        let first = dir.load().expect("sound")[0].version_id;
        assert_eq!(dir.load().expect("sound")[0].version_id, first, "W-AMB-52");
        dir.write("one/bell/markdown_body.md", "Second");
        assert_ne!(dir.load().expect("sound")[0].version_id, first, "W-AMB-52");
    }

    #[test]
    fn the_inline_value_wins_and_the_file_is_not_read() {
        let dir = Dir::new(
            "inline",
            &[("one/workflow.json", &feed(json!({"markdown_body": "Here", "markdown_body@": "../../nowhere.md"})))],
        );
        assert_eq!(*template_of(&dir.load().expect("W-DSK-08")[0]), json!({"markdown_body": "Here"}), "W-DSK-08");
    }

    #[test]
    fn blocks_are_structure_and_their_references_are_their_own() {
        let dir = Dir::new(
            "blocks",
            &[
                (
                    "one/workflow.json",
                    &email(json!({"visual_blocks@": "email_1/visual_blocks.json", "json_body@": "x.json"})),
                ),
                (
                    "one/email_1/visual_blocks.json",
                    r#"[{"type": "markdown", "variant": "default", "content@": "visual_blocks/1.content.md"}]"#,
                ),
                ("one/email_1/visual_blocks/1.content.md", "Hi"),
                ("one/x.json", r#"{"a": 1}"#),
            ],
        );
        let expected = json!({
            "visual_blocks": [{"type": "markdown", "variant": "default", "content": "Hi"}], "json_body": r#"{"a": 1}"#
        });
        assert_eq!(*template_of(&dir.load().expect("W-DSK-09")[0]), expected, "W-DSK-09, W-DSK-10, W-DSK-13");
    }

    #[test]
    fn two_levels_of_references_are_allowed_and_no_third() {
        let dir = Dir::new(
            "levels",
            &[
                ("one/workflow.json", &email(json!({"visual_blocks@": "a/visual_blocks.json"}))),
                ("one/a/visual_blocks.json", r#"[{"inner@": "b/visual_blocks.json"}]"#),
                ("one/a/b/visual_blocks.json", r#"[{"content@": "c.md"}]"#),
                ("one/a/b/c.md", "too deep"),
            ],
        );
        let start =
            "one/a/b/visual_blocks.json: steps[0].template.visual_blocks[0].inner[0].content: `c.md` would be a third";
        says(&dir.problems(), start, "W-DSK-10");
    }

    #[test]
    fn steps_in_branches_have_their_files_at_the_workflows_root() {
        let step = |template: Value| {
            let channel = json!({"type": "channel", "ref": "bell", "channel_key": "f", "channel_type": "in_app_feed"});
            let mut step = channel.as_object().cloned().unwrap_or_default();
            step.insert("template".into(), template);
            Value::Object(step)
        };
        let delay = json!({"type": "delay", "ref": "wait", "settings": {"delay_for": {"unit": "hours", "value": 1}}});
        let when = json!({"all": [{"variable": "data.a", "operator": "equal_to", "argument": "x"}]});
        let inner = step(json!({"markdown_body@": "bell/markdown_body.md"}));
        let branches = json!([{"conditions": when, "steps": [delay, inner]}, {"steps": []}]);
        let document = json!({"name": "N", "steps": [{"type": "branch", "ref": "b", "branches": branches}]});
        let dir = Dir::new(
            "branches",
            &[("one/workflow.json", &document.to_string()), ("one/bell/markdown_body.md", "Inside")],
        );
        let loaded = dir.load().expect("W-DSK-18, W-DSK-19: a delay needs no directory");
        let expected = step(json!({"markdown_body": "Inside"}));
        assert_eq!(loaded[0].source["steps"][0]["branches"][0]["steps"][1], expected, "W-DSK-18");
    }

    #[test]
    fn a_bad_reference_is_named_by_its_object_path() {
        let cases = [
            (json!("nowhere.md"), "there is no file", "W-DSK-12"),
            (json!("/etc/hostname"), "`/etc/hostname` must be relative", "W-DSK-11"),
            (json!("../other/body.md"), "`../other/body.md` leads out", "W-DSK-11"),
            (json!("a/../../other/body.md"), "`a/../../other/body.md` leads out", "W-DSK-11"),
            (json!(""), "the reference must be a relative path", "W-DSK-11"),
            (json!(7), "the reference must be a relative path", "W-DSK-11"),
            (json!("."), "`", "W-DSK-11: a directory"),
        ];
        for (target, message, rule) in cases {
            let dir = Dir::new(
                "bad",
                &[("one/workflow.json", &feed(json!({"markdown_body@": target}))), ("other/body.md", "secret")],
            );
            let start = format!("one/workflow.json: steps[0].template.markdown_body: {message}");
            says(&dir.problems(), &start, rule);
        }
    }

    #[test]
    fn a_file_belongs_to_one_field() {
        let template = json!({"html_body@": "body.txt", "text_body@": "./x/../body.txt"});
        let dir =
            Dir::new("unique", &[("one/workflow.json", &email(template)), ("one/body.txt", "Hi"), ("one/x/y", "")]);
        says(&dir.problems(), "one/workflow.json: steps[0].template.text_body: `./x/../body.txt` is used", "W-DSK-11");
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_must_not_lead_out() {
        use std::os::unix::fs::symlink;
        let outside = Dir::new("outside", &[("secret.md", "secret"), ("two/workflow.json", EMPTY)]);
        let document = feed(json!({"markdown_body@": "body.md"}));
        let dir = Dir::new("links", &[("one/workflow.json", &document)]);
        symlink(outside.0.join("secret.md"), dir.0.join("one/body.md")).expect("a link");
        says(
            &dir.problems(),
            "one/workflow.json: steps[0].template.markdown_body: `one/body.md` is a symbolic",
            "W-DSK-11",
        );
        let whole = Dir::new("links-whole", &[]);
        symlink(outside.0.join("two"), whole.0.join("two")).expect("a link");
        says(&whole.problems(), "two: `two` is a symbolic link that leads out", "W-DSK-11");
        let file = Dir::new("links-file", &[("one/keep", "")]);
        symlink(outside.0.join("two/workflow.json"), file.0.join("one/workflow.json")).expect("a link");
        says(&file.problems(), "one/workflow.json: `one/workflow.json` is a symbolic link that leads out", "W-DSK-11");
        let inside = Dir::new("links-inside", &[("one/workflow.json", &document), ("one/real.md", "Hi")]);
        symlink("real.md", inside.0.join("one/body.md")).expect("a link");
        assert_eq!(inside.keys(), ["one"], "W-DSK-11: a link that stays is a file like any other");
    }

    #[test]
    fn liquid_is_checked_in_every_file_and_said_once() {
        let dir = Dir::new(
            "liquid",
            &[
                ("one/workflow.json", &feed(json!({"markdown_body@": "bell/markdown_body.md"}))),
                ("one/bell/markdown_body.md", "Hello\n{{ recipient.name"),
                ("two/workflow.json", &email(json!({"visual_blocks@": "visual_blocks.json"}))),
                ("two/visual_blocks.json", r#"[{"content": "{{ oops"}]"#),
            ],
        );
        let problems = dir.problems();
        assert_eq!(problems.len(), 2, "W-DSK-14: {problems:#?}");
        assert!(
            problems[0].starts_with("one/bell/markdown_body.md: steps[0].template.markdown_body: line "),
            "W-DSK-14"
        );
        let start = "two/visual_blocks.json: steps[0].template.visual_blocks[0].content: line ";
        assert!(problems[1].starts_with(start), "W-DSK-14, the file that is to be changed: {}", problems[1]);
    }

    #[test]
    fn broken_blocks_are_named_with_line_and_column() {
        let document = email(json!({"visual_blocks@": "visual_blocks.json"}));
        let dir = Dir::new("brokenblocks", &[("one/workflow.json", &document), ("one/visual_blocks.json", "[\n{]")]);
        let problems = dir.problems();
        says(&problems, "one/visual_blocks.json: steps[0].template.visual_blocks: is no JSON: ", "W-DSK-13");
        assert!(problems[0].ends_with("at line 2 column 2"), "{}", problems[0]);
    }

    #[test]
    fn the_problems_of_all_workflows_are_listed() {
        let batch = json!({"name": "B", "steps": [{"type": "teleport", "ref": "b"}]}).to_string();
        let files = [("one/workflow.json", "{"), ("two/workflow.json", &batch), ("three/workflow.json", EMPTY)];
        let problems = Dir::new("all", &files).problems();
        assert_eq!(problems.len(), 2, "W-AMB-15: {problems:#?}");
        assert!(problems[0].starts_with("one/workflow.json: is no JSON"), "{}", problems[0]);
        assert!(problems[1].starts_with("two/workflow.json: steps[0].type: "), "W-AMB-15: {}", problems[1]);
    }

    #[test]
    fn the_samples_are_sound() {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/workflows");
        let loaded = match load(&samples, &[]) {
            Ok(loaded) => loaded,
            Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        };
        let keys: Vec<&str> = loaded.iter().map(|workflow| workflow.key.as_str()).collect();
        assert_eq!(keys, ["comment", "deploy-finished", "invoice-due", "welcome"]);
        let invoice = &loaded[2];
        let due = json!({"number": "2026-117", "amount": 1250, "currency": "EUR", "url": "https://x.test/i/117"});
        assert_eq!(invoice.validate_data(&due), [], "W-VAL-05");
        assert!(!invoice.validate_data(&json!({"number": "2026-117"})).is_empty(), "W-VAL-06");
    }
}
