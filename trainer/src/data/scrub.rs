//! Takes licence headers, names, e-mail addresses and secrets out of a source file.

/// What replaces an e-mail address.
const NEUTRAL_EMAIL: &str = "user@example.com";
/// What replaces a secret.
const MASKED_SECRET: &str = "REDACTED";

/// Cleans a text: line ends become `\n`, licence headers and lines that name people go, e-mail addresses and secrets
/// are replaced.
pub fn scrub(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\u{c}', "");
    let body = strip_header(&text);
    let mut clean = String::with_capacity(body.len());
    let mut in_private_key = false;
    for line in body.split_inclusive('\n') {
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY-----") {
            in_private_key = !line.contains("-----END");
            clean.push_str(&mask_private_key(line));
            continue;
        }
        if in_private_key {
            in_private_key = !line.contains("-----END");
            if !in_private_key {
                clean.push_str(line);
            }
            continue;
        }
        if names_people(line) {
            continue;
        }
        let line = mask_secrets(line);
        clean.push_str(&neutral_emails(&line));
    }
    // What followed a removed header should not begin with blank lines.
    let start = clean.len() - clean.trim_start_matches('\n').len();
    clean.split_off(start)
}

const LICENCE_WORDS: [&str; 7] =
    ["copyright", "license", "licence", "spdx", "(c) ", "public domain", "all rights reserved"];

/// Drops leading comment blocks that speak of a licence or copyright; a shebang line stays.
fn strip_header(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    if text.starts_with("#!") && !text.starts_with("#![") {
        let (shebang, after) = text.split_at(text.find('\n').map_or(text.len(), |at| at + 1));
        kept.push_str(shebang);
        rest = after;
    }
    // A header may be several blocks (encoding line, copyright, long text) with blank lines between.
    for _ in 0..6 {
        let trimmed = rest.trim_start_matches(['\n', ' ']);
        let length = comment_block(trimmed);
        if length == 0 {
            break;
        }
        let (block, after) = trimmed.split_at(length);
        let lower = block.to_ascii_lowercase();
        if LICENCE_WORDS.iter().any(|word| lower.contains(word)) {
            rest = after;
        } else {
            kept.push_str(block);
            kept.push('\n');
            rest = after;
        }
    }
    kept.push_str(rest);
    kept
}

/// Length in bytes of the plain comment block that `text` begins with; 0 for documentation comments and code.
fn comment_block(text: &str) -> usize {
    if text.starts_with("/*") && !text.starts_with("/*!") && !text.starts_with("/**") {
        return text.find("*/").map_or(0, |end| {
            let end = end + 2;
            end + text[end..].find('\n').map_or(text.len() - end, |at| at + 1)
        });
    }
    let mut length = 0;
    for line in text.split_inclusive('\n') {
        let plain = line.starts_with("//") && !line.starts_with("//!") && !line.starts_with("///")
            || line.starts_with('#') && !line.starts_with("#[") && !line.starts_with("#![");
        if !plain {
            break;
        }
        length += line.len();
    }
    length
}

/// A comment or dunder line whose only purpose is to name authors.
fn names_people(line: &str) -> bool {
    let line = line.trim_start();
    if ["__author__", "__email__", "__copyright__", "__credits__", "__maintainer__"]
        .iter()
        .any(|dunder| line.starts_with(dunder))
    {
        return line.trim_end().ends_with(['"', '\'']);
    }
    let Some(comment) = ["//", "#", "*"].iter().find_map(|mark| line.strip_prefix(mark)) else {
        return false;
    };
    if line.starts_with("#[") || line.starts_with("#!") {
        return false;
    }
    let comment = comment.trim_start_matches(['/', '!', '*', '#', ' ', '\t', '-']);
    let lower = comment.to_ascii_lowercase();
    [
        "copyright (c)",
        "copyright 19",
        "copyright 20",
        "(c) 19",
        "(c) 20",
        "author:",
        "authors:",
        "author(s):",
        "@author",
        "written by",
        "originally by",
        "maintainer:",
        "contributed by",
    ]
    .iter()
    .any(|word| lower.starts_with(word))
}

/// Replaces e-mail addresses, and the name in front of one in angle brackets.
fn neutral_emails(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('@') {
        let is_local = |c: char| c.is_ascii_alphanumeric() || "._%+-".contains(c);
        let is_domain = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        let start = rest[..at]
            .rfind(|c| !is_local(c))
            .map_or(0, |i| i + rest[i..].chars().next().map_or(1, char::len_utf8));
        let after = &rest[at + 1..];
        let end = at + 1 + after.find(|c| !is_domain(c)).unwrap_or(after.len());
        let domain = rest[at + 1..end].trim_end_matches(['.', '-']);
        let end = at + 1 + domain.len();
        let top = domain.rsplit_once('.').map_or("", |(_, top)| top);
        let is_email = start < at
            && (2..=6).contains(&top.len())
            && top.chars().all(|c| c.is_ascii_lowercase())
            && !domain.starts_with("example.");
        if !is_email {
            clean.push_str(&rest[..at + 1]);
            rest = &rest[at + 1..];
            continue;
        }
        clean.push_str(&rest[..start]);
        if clean.ends_with('<') {
            clean.pop();
            let kept = without_trailing_name(&clean).len();
            clean.truncate(kept);
            clean.push('<');
        }
        clean.push_str(NEUTRAL_EMAIL);
        rest = &rest[end..];
    }
    clean.push_str(rest);
    clean
}

/// Cuts up to four capitalised words off the end.
fn without_trailing_name(text: &str) -> &str {
    let mut kept = text;
    for _ in 0..4 {
        let trimmed = kept.trim_end_matches(' ');
        let start = trimmed.rfind([' ', '(', ',', '"', '\'', '\t']).map_or(0, |i| i + 1);
        let word = &trimmed[start..];
        let is_name = word.chars().next().is_some_and(char::is_uppercase)
            && word.chars().all(|c| c.is_alphabetic() || ".-'".contains(c));
        if !is_name {
            break;
        }
        kept = &trimmed[..start];
    }
    kept
}

/// Prefixes of keys that services hand out, with the least number of characters that follow.
const KEY_PREFIXES: [(&str, usize); 8] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("ghp_", 30),
    ("github_pat_", 30),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("AIza", 30),
    ("sk-", 32),
];
/// Shortest run that can count as a secret by its look alone.
const SECRET_MIN_CHARS: usize = 32;

/// Replaces key-like runs of characters.
fn mask_secrets(line: &str) -> String {
    let is_key_char = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let run = rest.find(|c| !is_key_char(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(run);
        clean.push_str(if is_secret(word) { MASKED_SECRET } else { word });
        let next = after.find(is_key_char).unwrap_or(after.len());
        clean.push_str(&after[..next]);
        rest = &after[next..];
    }
    clean
}

fn is_secret(word: &str) -> bool {
    let known = KEY_PREFIXES.iter().any(|(prefix, least)| {
        word.strip_prefix(prefix).is_some_and(|key| {
            key.len() >= *least && key.chars().any(|c| c.is_ascii_digit()) && !key.contains("__")
        })
    });
    if known {
        return true;
    }
    if word.len() < SECRET_MIN_CHARS || word.starts_with("0x") || word.starts_with("0b") {
        return false;
    }
    let count = |test: fn(&u8) -> bool| word.as_bytes().iter().filter(|byte| test(byte)).count();
    let digits = count(u8::is_ascii_digit);
    if word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return digits > 4 && digits < word.len();
    }
    // Words of identifiers and paths are longer than the runs of letters in random text.
    let longest_letters =
        word.split(|c: char| !c.is_ascii_alphabetic()).map(str::len).max().unwrap_or(0);
    digits >= 4
        && count(u8::is_ascii_uppercase) >= 5
        && count(u8::is_ascii_lowercase) >= 5
        && longest_letters <= 16
        && entropy_bits(word) > 4.3
}

/// Entropy of the characters of `word`, bits per character.
fn entropy_bits(word: &str) -> f64 {
    let mut counts = [0u32; 256];
    for byte in word.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let all = word.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}

/// A private key on one line: only its frame stays.
fn mask_private_key(line: &str) -> String {
    let Some(begin) = line.find("PRIVATE KEY-----").map(|at| at + "PRIVATE KEY-----".len()) else {
        return line.to_owned();
    };
    match line[begin..].find("-----END") {
        Some(end) => format!("{}{MASKED_SECRET}{}", &line[..begin], &line[begin + end..]),
        None => format!("{}\n", &line[..begin]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_headers_go_and_documentation_stays() {
        let rust = "// Copyright 2020 Jane Doe\n// Licensed under MIT\n\n//! Docs.\nfn f() {}\n";
        assert_eq!(scrub(rust), "//! Docs.\nfn f() {}\n");
        let block = "/*\n * Copyright (c) A Company.\n */\n\nfn f() {}\n";
        assert_eq!(scrub(block), "fn f() {}\n");
        let python = "#!/usr/bin/env python3\n# Copyright 2001 by Jane Doe\n#\n# All Rights Reserved\n\nimport os\n";
        assert_eq!(scrub(python), "#!/usr/bin/env python3\n\nimport os\n");
        let plain = "// Reads a file.\nfn f() {}\n";
        assert!(scrub(plain).starts_with("// Reads a file.\n"));
    }

    #[test]
    fn people_and_addresses_go() {
        assert_eq!(scrub("x = 1\n# Written by Jane Doe\ny = 2\n"), "x = 1\ny = 2\n");
        assert_eq!(scrub("x = 1\n__author__ = 'Jane Doe'\n"), "x = 1\n");
        assert_eq!(
            scrub("/// Thanks to Jane van Doe <jane.doe@mail.test.org> for this.\n"),
            "/// Thanks to Jane van <user@example.com> for this.\n"
        );
        for code in
            ["@decorator.name\n", "let n @ 1 = x;\n", "c = a@b.T\n", "name @ Some(_) => 1,\n"]
        {
            assert_eq!(scrub(code), code);
        }
    }

    #[test]
    fn secrets_are_masked_and_identifiers_are_not() {
        let table = [
            ("key = \"AKIAIOSFODNN7EXAMPLE\"\n", "key = \"REDACTED\"\n"),
            ("t = 'ghp_16C7e42F292c6912E7710c838347Ae178B4a'\n", "t = 'REDACTED'\n"),
            ("h = \"9f86d081884c7d659a2feaa0c55ad015\"\n", "h = \"REDACTED\"\n"),
            ("k = \"wJalrXUtnFEMI7K7MDENGbPxRfiCYEX4MPLEKEY9\"\n", "k = \"REDACTED\"\n"),
        ];
        for (text, clean) in table {
            assert_eq!(scrub(text), clean);
        }
        for code in [
            "self.assertRaisesRegexWithAVeryLongName2(x)\n",
            "use crate::very_long_module_name_that_goes_on::and_on;\n",
            "const MASK: u128 = 0xffff0000ffff0000ffff0000ffff0000;\n",
        ] {
            assert_eq!(scrub(code), code);
        }
    }

    #[test]
    fn private_keys_lose_their_body() {
        let text = "K = '''-----BEGIN RSA PRIVATE KEY-----\nMIIabc\ndef\n-----END RSA PRIVATE KEY-----'''\nx = 1\n";
        let clean = scrub(text);
        assert!(!clean.contains("MIIabc") && !clean.contains("def"), "{clean}");
        assert!(clean.contains("-----END RSA PRIVATE KEY-----'''\nx = 1\n"));
    }

    #[test]
    fn line_ends_become_newlines() {
        assert_eq!(scrub("fn f() {\r\n}\r\n"), "fn f() {\n}\n");
        assert_eq!(scrub("fn f() {\r}\r\r\n"), "fn f() {\n}\n\n");
    }
}
