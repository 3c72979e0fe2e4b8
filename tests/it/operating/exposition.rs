//! Reads figures as strictly as the format is written (OpenMetrics 1.0, text): what it does not allow is a failed test.

use std::collections::{BTreeMap, BTreeSet};

/// All samples, by name and labels as they are written.
#[derive(Debug, Default)]
pub struct Exposition {
    samples: BTreeMap<String, f64>,
    pub families: BTreeMap<String, Family>,
}

#[derive(Debug, Default, Clone)]
pub struct Family {
    pub kind: String,
    pub help: String,
    unit: String,
}

impl Exposition {
    #[track_caller]
    pub fn read(text: &str) -> Exposition {
        let body = text.strip_suffix("# EOF\n").expect("it ends with its end");
        assert!(!body.contains("# EOF"), "one end");
        let mut out = Exposition::default();
        let mut current = String::new();
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let (word, rest) = rest.split_once(' ').expect("a word of metadata");
                let (name, value) = rest.split_once(' ').expect("metadata of a name");
                if name != current {
                    assert!(!out.families.contains_key(name), "{name} comes in one piece");
                    assert!(is_name(name) && (name.starts_with("bellwire_") || name.starts_with("process_")), "{name}");
                    name.clone_into(&mut current);
                }
                let family = out.families.entry(name.to_owned()).or_default();
                let slot = match word {
                    "HELP" => &mut family.help,
                    "TYPE" => &mut family.kind,
                    "UNIT" => &mut family.unit,
                    other => panic!("`{other}` is no metadata"),
                };
                assert!(slot.is_empty(), "{name} says {word} once");
                value.clone_into(slot);
            } else {
                out.sample(line, &current);
            }
        }
        out.families.iter().for_each(|(name, family)| out.check(name, family));
        out
    }

    fn sample(&mut self, line: &str, family: &str) {
        let (key, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
        let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
        let names = labels_of(labels.strip_suffix('}').unwrap_or_else(|| panic!("open labels: {line}")));
        let kind = self.families.get(family).map(|family| family.kind.as_str()).unwrap_or_default();
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_count", "_sum"],
            "info" => &["_info"],
            other => panic!("{line}: a sample of type {other:?}"),
        };
        assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{line} in {family}");
        assert_eq!(name.ends_with("_bucket"), names.contains("le"), "{line}");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert!(self.samples.insert(key.to_owned(), value).is_none(), "twice: {line}");
    }

    fn check(&self, name: &str, family: &Family) {
        assert!(!family.kind.is_empty() && !family.help.is_empty(), "{name}: {family:?}");
        assert!(family.unit.is_empty() || name.ends_with(&format!("_{}", family.unit)), "{name}: {family:?}");
        let own = |suffix: &str| {
            let start = format!("{name}{suffix}");
            let is_own =
                move |key: &str| key.strip_prefix(&start).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
            self.samples.iter().filter(move |(key, _)| is_own(key))
        };
        if family.kind != "histogram" {
            return;
        }
        for (key, count) in own("_count") {
            let labels = key[name.len() + "_count".len()..].trim_matches(['{', '}']);
            let mut buckets: Vec<(f64, f64)> = own("_bucket")
                .filter(|(key, _)| without_le(&key[name.len() + "_bucket".len()..]) == labels)
                .map(|(key, value)| (bound(key), *value))
                .collect();
            buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            assert!(buckets.is_sorted_by(|(_, a), (_, b)| a <= b), "{key}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{key}");
            assert!(self.samples.contains_key(&key.replacen("_count", "_sum", 1)), "{key}");
        }
    }

    /// The value of one sample; nothing counted is zero.
    pub fn get(&self, key: &str) -> f64 {
        self.samples.get(key).copied().unwrap_or_default()
    }

    /// Every value of every label.
    pub fn label_values(&self) -> BTreeSet<String> {
        let labels = self.samples.keys().filter_map(|key| key.split_once('{'));
        labels.flat_map(|(_, labels)| pairs(labels.trim_end_matches('}'))).map(|(_, value)| value).collect()
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn labels_of(labels: &str) -> BTreeSet<String> {
    let pairs = pairs(labels);
    let names: BTreeSet<String> = pairs.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names.len(), pairs.len(), "each label once: {labels}");
    assert!(names.iter().all(|name| is_name(name)), "{labels}");
    names
}

fn pairs(labels: &str) -> Vec<(String, String)> {
    if labels.is_empty() {
        return Vec::new();
    }
    let pair = |pair: &str| {
        let (name, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("no label: {pair}"));
        let value = value.strip_suffix('"').unwrap_or_else(|| panic!("an open value: {pair}"));
        // None of ours needs an escape.
        assert!(!value.contains(['"', '\\', '\n']), "{pair}");
        (name.to_owned(), value.to_owned())
    };
    labels.split(',').map(pair).collect()
}

fn bound(key: &str) -> f64 {
    let (_, rest) = key.split_once("le=\"").unwrap();
    let (le, _) = rest.split_once('"').unwrap();
    le.replace("+Inf", "inf").parse().unwrap()
}

/// Labels without `le`, as the count of the same histogram has them.
fn without_le(labels: &str) -> String {
    let kept: Vec<&str> = labels.trim_matches(['{', '}']).split(',').filter(|pair| !pair.starts_with("le=")).collect();
    kept.join(",")
}
