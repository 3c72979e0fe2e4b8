//! Filters that encode, decode, escape or digest.

use aws_lc_rs::{digest, hmac};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use serde_json::Value;

use crate::template::{
    filters::{Args, Made},
    markdown, md5 as digest_md5,
    run::Run,
    value::{Val, json_text},
};

pub(super) fn escape<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    if input.is_nil() {
        return Ok(Val::Nil);
    }
    let escaped = {
        let text = input.text(run.value_limit())?;
        text.contains(['&', '<', '>', '"', '\'']).then(|| escaped(&text, false))
    };
    Ok(escaped.map_or(input, Val::from))
}

pub(super) fn escape_once<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    Ok(Val::from(escaped(&input.text(run.value_limit())?, true)))
}

/// Escapes for HTML; `once` leaves entities as they are.
fn escaped(text: &str, once: bool) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for (at, c) in text.char_indices() {
        match c {
            '&' if once && is_entity(&text[at..]) => out.push('&'),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

fn is_entity(text: &str) -> bool {
    let Some(end) = text.bytes().take(34).position(|byte| byte == b';') else { return false };
    let name = &text[1..end];
    match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(hex) => !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
            None => !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()),
        },
        None => !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()),
    }
}

pub(super) fn url_encode<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    if input.is_nil() {
        return Ok(Val::Nil);
    }
    let text = input.text(run.value_limit())?;
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                [byte >> 4, byte & 15]
                    .iter()
                    .for_each(|half| out.push(b"0123456789ABCDEF"[usize::from(*half)] as char));
            }
        }
    }
    Ok(Val::from(out))
}

pub(super) fn url_decode<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    if input.is_nil() {
        return Ok(Val::Nil);
    }
    let text = input.text(run.value_limit())?;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = text.get(at + 1..at + 3).filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match (bytes[at], pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    decoded(out)
}

fn decoded<'r>(bytes: Vec<u8>) -> Made<'r> {
    String::from_utf8(bytes).map(Val::from).map_err(|_| "what was decoded is not text".into())
}

pub(super) fn base64_encode<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    Ok(Val::from(general_purpose::STANDARD.encode(&*input.text(run.value_limit())?)))
}

pub(super) fn base64_url_safe_encode<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    Ok(Val::from(general_purpose::URL_SAFE.encode(&*input.text(run.value_limit())?)))
}

/// Padding may be missing.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

pub(super) fn base64_decode<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    from_base64(run, &input, &alphabet::STANDARD)
}

pub(super) fn base64_url_safe_decode<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    from_base64(run, &input, &alphabet::URL_SAFE)
}

fn from_base64<'r>(run: &mut Run<'r>, input: &Val<'r>, alphabet: &alphabet::Alphabet) -> Made<'r> {
    let text = input.text(run.value_limit())?;
    match GeneralPurpose::new(alphabet, LENIENT).decode(text.trim()) {
        Ok(bytes) => decoded(bytes),
        Err(_) => Err("the text is not base64".into()),
    }
}

/// JSON text of a value (D-TPL-17).
pub(super) fn json<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    let mut out = String::new();
    match input.as_str() {
        Some(text) => json_text(text, &mut out),
        None => input.print_json(&mut out, run.value_limit())?,
    }
    Ok(Val::from(out))
}

/// The value of JSON text; what is no JSON stays (D-TPL-17, D-AMB-22).
pub(super) fn from_json<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    let Some(text) = input.as_str() else { return Ok(input) };
    run.spend(text.len() / 64)?;
    Ok(serde_json::from_str::<Value>(text).map_or_else(|_| input.clone(), Val::from))
}

/// HTML of Markdown (D-TPL-18).
pub(super) fn from_markdown<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    let text = input.text(run.value_limit())?;
    run.spend(text.len() / 64)?;
    Ok(Val::from(markdown::to_safe_html(&text)))
}

fn hex<'r>(bytes: &[u8]) -> Val<'r> {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    Val::from(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>())
}

pub(super) fn md5<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    let text = input.text(run.value_limit())?;
    run.spend(text.len() / 256)?;
    Ok(hex(&digest_md5::md5(text.as_bytes())))
}

pub(super) fn sha256<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    let text = input.text(run.value_limit())?;
    run.spend(text.len() / 256)?;
    Ok(hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()))
}

pub(super) fn hmac_sha256<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let (text, key) = (input.text(run.value_limit())?, args.at(0).text(run.value_limit())?);
    run.spend((text.len() + key.len()) / 256)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    Ok(hex(hmac::sign(&key, text.as_bytes()).as_ref()))
}
