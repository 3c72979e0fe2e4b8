//! Filters on text.

use std::borrow::Cow;

use crate::template::{
    decimal::Number,
    filters::{Args, Made},
    run::Run,
    value::{Problem, Val},
};

/// Makes text of the input's text.
fn with_text<'r>(run: &mut Run<'r>, input: &Val<'r>, change: impl FnOnce(&str) -> String) -> Made<'r> {
    let text = input.text(run.value_limit())?;
    Ok(Val::from(change(&text)))
}

/// Takes a part of the input's text, without copying where the text is borrowed.
fn part_of<'r>(run: &mut Run<'r>, input: Val<'r>, part: impl Fn(&str) -> &str) -> Made<'r> {
    match input {
        Val::Str(text) => {
            let range = span(text, part(text));
            Ok(Val::Str(&text[range]))
        }
        _ => with_text(run, &input, |text| part(text).to_owned()),
    }
}

fn span(whole: &str, part: &str) -> std::ops::Range<usize> {
    let from = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    from..from + part.len()
}

fn arg<'v>(run: &Run<'_>, args: &'v Args<'_>, at: usize) -> Result<Cow<'v, str>, Problem> {
    args.at(at).text(run.value_limit())
}

pub(super) fn append<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let end = arg(run, args, 0)?;
    with_text(run, &input, |text| [text, &*end].concat())
}

pub(super) fn prepend<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let start = arg(run, args, 0)?;
    with_text(run, &input, |text| [&*start, text].concat())
}

pub(super) fn upcase<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    with_text(run, &input, str::to_uppercase)
}

pub(super) fn downcase<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    with_text(run, &input, str::to_lowercase)
}

pub(super) fn capitalize<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    with_text(run, &input, capitalized)
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars.as_str().to_lowercase().chars()).collect()
}

/// Every word with a capital first letter (D-TPL-18).
pub(super) fn titlecase<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    with_text(run, &input, |text| text.split_inclusive(char::is_whitespace).map(capitalized).collect())
}

pub(super) fn strip<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    part_of(run, input, str::trim)
}

pub(super) fn lstrip<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    part_of(run, input, str::trim_start)
}

pub(super) fn rstrip<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    part_of(run, input, str::trim_end)
}

pub(super) fn newline_to_br<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    with_text(run, &input, |text| text.replace("\r\n", "\n").replace('\n', "<br />\n"))
}

pub(super) fn strip_newlines<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    with_text(run, &input, |text| text.replace("\r\n", "").replace('\n', ""))
}

/// The first word for the number 1, the second for all else (D-TPL-18, D-AMB-22).
pub(super) fn pluralize<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let is_one = Number::strictly(&input).is_some_and(|n| n.float() == 1.0);
    Ok(args.at(usize::from(!is_one)).clone())
}

pub(super) fn replace<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let (old, new) = (arg(run, args, 0)?, arg(run, args, 1)?);
    let text = input.text(run.value_limit())?;
    let found = text.matches(&*old).count();
    if text.len().saturating_add(found.saturating_mul(new.len())) > run.value_limit() {
        return Err("the text grows too long".into());
    }
    Ok(Val::from(text.replace(&*old, &new)))
}

/// Puts `new` in the place of one `old`, of which `at` says where it begins.
fn replace_at<'r>(
    run: &mut Run<'r>,
    input: Val<'r>,
    (old, new): (&str, &str),
    at: impl Fn(&str, &str) -> Option<usize>,
) -> Made<'r> {
    let text = input.text(run.value_limit())?;
    let replaced = at(&text, old).map(|at| [&text[..at], new, &text[at + old.len()..]].concat());
    Ok(match replaced {
        Some(text) => Val::from(text),
        None => Val::from(text.into_owned()),
    })
}

pub(super) fn replace_first<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let (old, new) = (arg(run, args, 0)?, arg(run, args, 1)?);
    replace_at(run, input, (&old, &new), |text, old| text.find(old))
}

pub(super) fn replace_last<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let (old, new) = (arg(run, args, 0)?, arg(run, args, 1)?);
    replace_at(run, input, (&old, &new), |text, old| text.rfind(old))
}

pub(super) fn remove<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let old = arg(run, args, 0)?;
    with_text(run, &input, |text| text.replace(&*old, ""))
}

pub(super) fn remove_first<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let old = arg(run, args, 0)?;
    replace_at(run, input, (&old, ""), |text, old| text.find(old))
}

pub(super) fn remove_last<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let old = arg(run, args, 0)?;
    replace_at(run, input, (&old, ""), |text, old| text.rfind(old))
}

/// Splits as Ruby does: a space means any whitespace, nothing means each character, empty ends fall away.
pub(super) fn split<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let separator = arg(run, args, 0)?;
    let text = input.text(run.value_limit())?;
    let mut parts: Vec<Val<'r>> = Vec::new();
    let each: Box<dyn Iterator<Item = &str> + '_> = match &*separator {
        "" => Box::new(text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()])),
        " " => Box::new(text.split_whitespace()),
        _ => Box::new(text.split(&*separator)),
    };
    for part in each {
        run.spend(1)?;
        parts.push(match &input {
            Val::Str(whole) => Val::Str(&whole[span(whole, part)]),
            _ => Val::Text(part.into()),
        });
    }
    while parts.last().is_some_and(|last| last.as_str() == Some("")) {
        parts.pop();
    }
    Ok(Val::from(parts))
}

/// Takes out tags, comments, and what scripts and styles hold.
pub(super) fn strip_html<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    with_text(run, &input, without_tags)
}

fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let end = element_end(rest, "<script", "</script>")
            .or_else(|| element_end(rest, "<!--", "-->"))
            .or_else(|| element_end(rest, "<style", "</style>"))
            .or_else(|| rest.find('>').map(|end| end + 1));
        let Some(end) = end else { break };
        rest = &rest[end..];
    }
    out + rest
}

/// Where the element that `text` begins with ends.
fn element_end(text: &str, open: &str, close: &str) -> Option<usize> {
    let starts = text.get(..open.len()).is_some_and(|start| start.eq_ignore_ascii_case(open));
    if !starts {
        return None;
    }
    let bytes = text.as_bytes().get(open.len()..)?;
    let at = bytes.windows(close.len()).position(|window| window.eq_ignore_ascii_case(close.as_bytes()))?;
    Some(open.len() + at + close.len())
}

pub(super) fn truncate<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let length = count(args, 50)?;
    let ellipsis = if args.positional.len() > 1 { arg(run, args, 1)? } else { Cow::Borrowed("...") };
    if input.is_nil() {
        return Ok(Val::Nil);
    }
    let text = input.text(run.value_limit())?;
    if text.chars().nth(length).is_none() {
        drop(text);
        return Ok(input);
    }
    let kept = length.saturating_sub(ellipsis.chars().count());
    let end = text.char_indices().nth(kept).map_or(text.len(), |(at, _)| at);
    Ok(Val::from([&text[..end], &*ellipsis].concat()))
}

pub(super) fn truncatewords<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let length = count(args, 15)?.max(1);
    let ellipsis = if args.positional.len() > 1 { arg(run, args, 1)? } else { Cow::Borrowed("...") };
    if input.is_nil() {
        return Ok(Val::Nil);
    }
    let text = input.text(run.value_limit())?;
    let mut words = text.split_whitespace();
    let kept: Vec<&str> = words.by_ref().take(length).collect();
    if words.next().is_none() {
        drop(text);
        return Ok(input);
    }
    Ok(Val::from(kept.join(" ") + &ellipsis))
}

fn count(args: &Args<'_>, default: i64) -> Result<usize, Problem> {
    Ok(usize::try_from(args.whole(0)?.unwrap_or(default)).unwrap_or(0))
}
