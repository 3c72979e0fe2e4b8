//! The laws of the house, each a few lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every source file, by its path below `src`.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    gather(&root, &mut |path, text| {
        files.insert(path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), text);
    });
    assert!(files.len() > 50, "the sources are not where they are looked for");
    files
}

fn gather(directory: &Path, take: &mut impl FnMut(&Path, String)) {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            gather(&path, take);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            take(&path, text);
        }
    }
}

/// What of a file is not its tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default()
}

/// The lines of a file that are not comments, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = without_tests(text).lines().enumerate().map(|(at, line)| (at + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Every line of code, tests left out, in which `is_wrong` sees a fault, unless its file is among `allowed`.
fn faults(allowed: &[&str], is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut out = Vec::new();
    for (path, text) in sources() {
        if allowed.iter().any(|prefix| path.starts_with(prefix)) {
            continue;
        }
        // A file of tests, declared behind `#[cfg(test)]`.
        if path.ends_with("/tests.rs") || path.contains("/tests/") {
            continue;
        }
        out.extend(code(&text).filter(|(_, line)| is_wrong(line)).map(|(at, line)| format!("src/{path}:{at}: {line}")));
    }
    out
}

#[track_caller]
fn expect_none(faults: Vec<String>, law: &str) {
    assert!(faults.is_empty(), "{law}\n{}", faults.join("\n"));
}

/// The table on the map: the floor of each room.
fn floors() -> BTreeMap<String, u8> {
    let map = sources().remove("lib.rs").unwrap();
    let mut floors = BTreeMap::new();
    for line in map.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let Ok(floor) = cells[0].parse() {
            floors.extend(cells[1].split(' ').map(|room| (room.to_owned(), floor)));
        }
    }
    assert!(floors.len() >= 14, "{floors:?}");
    floors
}

#[test]
fn a_floor_imports_only_floors_below_it() {
    let floors = floors();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = path.split(['/', '.']).next().unwrap();
        let Some(own) = floors.get(room) else { continue };
        for (at, line) in code(&text) {
            for named in line.split("crate::").skip(1) {
                let named: String = named.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let is_above = floors.get(&named).is_some_and(|floor| floor > own || (floor == own && *own > 0));
                if is_above && named != room && !is_allowed(room, &named) {
                    wrong.push(format!("src/{path}:{at}: {room} (floor {own}) names {named}"));
                }
            }
        }
    }
    expect_none(wrong, "a floor imports only floors below it: see the table in src/lib.rs");
}

/// Rooms of one floor that may know each other: the rim is one.
fn is_allowed(room: &str, named: &str) -> bool {
    room == "app" && named == "config"
}

#[test]
fn the_ground_knows_no_runtime_and_no_database() {
    let ground: Vec<String> = floors().into_iter().filter(|(_, floor)| *floor == 0).map(|(room, _)| room).collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if ground.iter().any(|room| path.starts_with(&format!("{room}/")) || path == format!("{room}.rs")) {
            let banned = ["tokio::", "rusqlite", "std::net", "hyper::", "std::fs"];
            let lines = code(&text).filter(|(_, line)| banned.iter().any(|word| line.contains(word)));
            wrong.extend(lines.map(|(at, line)| format!("src/{path}:{at}: {line}")));
        }
    }
    expect_none(wrong, "floor 0 is values in, values out");
}

#[test]
fn nothing_reaches_over_its_parent() {
    let banned = ["super", "super::"].join("::");
    let wrong = sources().into_iter().filter(|(_, text)| text.contains(&banned)).map(|(path, _)| path);
    expect_none(wrong.collect(), "name it from `crate::` instead");
}

#[test]
fn every_file_says_what_it_is() {
    let mut wrong: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    gather(&tests, &mut |path, text| {
        if !text.starts_with("//! ") {
            wrong.push(path.display().to_string());
        }
    });
    expect_none(wrong, "a file opens with a `//!` line");
}

#[test]
fn every_file_of_a_folder_is_in_its_list() {
    let sources = sources();
    let mut wrong = Vec::new();
    for path in sources.keys() {
        let (folder, file) = path.rsplit_once('/').map_or(("lib", path.as_str()), |(folder, file)| (folder, file));
        let name = file.trim_end_matches(".rs");
        if folder == "lib" && (name == "lib" || name == "main") {
            continue;
        }
        // The command line belongs to the binary.
        let folder = if folder == "lib" && name == "cli" { "main" } else { folder };
        let list = sources.get(&format!("{folder}.rs")).map(String::as_str).unwrap_or_default();
        let is_listed = list.lines().any(|line| line.trim_start().ends_with(&format!("mod {name};")));
        if !is_listed {
            wrong.push(format!("src/{path} is not listed in src/{folder}.rs"));
        }
    }
    expect_none(wrong, "a file that nobody lists is not compiled");
}

#[test]
fn only_the_clock_reads_the_clock() {
    let words = ["SystemTime::now", "Timestamp::now", "Zoned::now", "ZonedDateTime::now"];
    let wrong = faults(&["clock.rs"], |line| words.iter().any(|word| line.contains(word)));
    expect_none(wrong, "the time is an argument; `clock` reads it");
}

#[test]
fn only_config_reads_the_environment() {
    let wrong = faults(&["config", "main.rs"], |line| line.contains("env::var") || line.contains("env::args"));
    expect_none(wrong, "configuration is an argument; `config` reads it");
}

#[test]
fn only_the_store_knows_sql() {
    let words = ["\"SELECT ", "\"INSERT INTO ", "\"UPDATE ", "\"DELETE FROM ", "rusqlite::"];
    let wrong = faults(&["store"], |line| words.iter().any(|word| line.contains(word)));
    expect_none(wrong, "SQL stands in `store`");
}

#[test]
fn nothing_unwraps_outside_tests() {
    expect_none(
        faults(&[], |line| line.contains(".unwrap()")),
        "return the error, or say with `expect` why there is none",
    );
}

#[test]
fn there_are_no_globals() {
    let is_global = |line: &str| {
        let line = line.trim_start();
        let rest = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        rest.starts_with("static ") || line.contains("thread_local!") || line.contains("LazyLock")
    };
    expect_none(faults(&[], is_global), "state belongs to a struct that somebody owns");
}

#[test]
fn every_queue_has_a_size() {
    expect_none(faults(&[], |line| line.contains("unbounded")), "a queue has a size, and full is an answer");
}
