//! Which licences allow training on a file.

use serde_json::Value;
use spdx::{Expression, ParseMode};

/// SPDX ids of licences that ask for no more than notice.
const PERMISSIVE: [&str; 22] = [
    "0BSD",
    "Apache-2.0",
    "BlueOak-1.0.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "HPND",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "PostgreSQL",
    "PSF-2.0",
    "Python-2.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "WTFPL",
    "X11",
    "Zlib",
];

/// Whether an SPDX expression can be fulfilled with permissive licences alone: one branch of an OR is enough, an AND
/// needs both sides. An exception (`WITH`) only adds permissions. What cannot be parsed is not permissive.
pub fn is_permissive(expression: &str) -> bool {
    let Ok(expression) = Expression::parse_mode(expression, ParseMode::LAX) else {
        return false;
    };
    expression.evaluate(|requirement| {
        requirement.license.id().is_some_and(|id| PERMISSIVE.contains(&id.name))
    })
}

/// Licences by the names that Python packages' classifiers have for them. `BSD License` leaves open which clauses; both
/// forms are permissive.
const CLASSIFIERS: [(&str, &str); 16] = [
    ("Apache Software License", "Apache-2.0"),
    ("Boost Software License 1.0 (BSL-1.0)", "BSL-1.0"),
    ("BSD License", "BSD-3-Clause"),
    ("CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", "CC0-1.0"),
    ("Historical Permission Notice and Disclaimer (HPND)", "HPND"),
    ("ISC License (ISCL)", "ISC"),
    ("MIT License", "MIT"),
    ("MIT No Attribution License (MIT-0)", "MIT-0"),
    ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
    ("PostgreSQL License", "PostgreSQL"),
    ("Python Software Foundation License", "PSF-2.0"),
    ("The Unlicense (Unlicense)", "Unlicense"),
    ("Universal Permissive License (UPL)", "UPL-1.0"),
    ("University of Illinois/NCSA Open Source License", "NCSA"),
    ("zlib/libpng License", "Zlib"),
    ("Zope Public License", "ZPL-2.1"),
];

/// SPDX expression of a Python package; empty where its metadata do not tell.
///
/// `License-Expression` counts first, then `License` if it is an expression (it is often a whole text), then all
/// licence classifiers together: who names several may mean a choice or a sum, and the sum asks for more.
pub fn of_python_package(
    expression: Option<&str>,
    licence: Option<&str>,
    classifiers: &[&str],
) -> String {
    let parses = |text: &&str| Expression::parse_mode(text, ParseMode::LAX).is_ok();
    if let Some(expression) = expression.or(licence.filter(parses)) {
        return expression.to_owned();
    }
    let ids: Vec<&str> = classifiers
        .iter()
        .filter_map(|classifier| classifier.strip_prefix("License :: "))
        .map(|classifier| classifier.rsplit(" :: ").next().unwrap_or(classifier))
        .filter(|name| *name != "OSI Approved")
        .map(|name| {
            CLASSIFIERS.iter().find(|(known, _)| known == &name).map_or(UNKNOWN, |(_, id)| id)
        })
        .collect();
    ids.join(" AND ")
}

/// Stands for a licence that has no SPDX id here.
const UNKNOWN: &str = "LicenseRef-unknown";

/// SPDX expression of a Node package; empty where its manifest does not tell. Old manifests have an object with a
/// `type`, or a list of such objects to choose from.
pub fn of_node_package(licence: Option<&Value>, licences: Option<&Value>) -> String {
    let one = |value: &Value| -> String {
        value.as_str().or_else(|| value["type"].as_str()).unwrap_or_default().to_owned()
    };
    match licence.or(licences) {
        Some(Value::Array(choices)) => choices.iter().map(one).collect::<Vec<_>>().join(" OR "),
        Some(value) => one(value),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let table = [
            ("MIT", true),
            ("MIT OR Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("Apache-2.0 / MIT", true),
            ("Unlicense/MIT", true),
            ("PSF-2.0", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT OR Apache-2.0 OR LGPL-2.1-or-later", true),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only", false),
            ("GPL-2.0-or-later WITH Classpath-exception-2.0", false),
            ("MIT AND GPL-3.0-only", false),
            ("MPL-2.0", false),
            ("LGPL-2.1-or-later OR MPL-2.0", false),
            ("LicenseRef-Proprietary", false),
            ("", false),
            ("see the file LICENSE", false),
        ];
        for (expression, permissive) in table {
            assert_eq!(is_permissive(expression), permissive, "{expression}");
        }
    }
    #[test]
    fn python_packages_tell_their_licence_in_three_ways() {
        let mit = "License :: OSI Approved :: MIT License";
        let gpl = "License :: OSI Approved :: GNU General Public License v3 (GPLv3)";
        assert_eq!(of_python_package(Some("MIT"), Some("GPL"), &[gpl]), "MIT");
        assert_eq!(of_python_package(None, Some("BSD-3-Clause"), &[gpl]), "BSD-3-Clause");
        let text = "Copyright 2008\nRedistribution and use in source";
        assert_eq!(of_python_package(None, Some(text), &["License :: OSI Approved", mit]), "MIT");
        assert!(is_permissive(&of_python_package(None, None, &[mit])));
        assert!(!is_permissive(&of_python_package(None, None, &[mit, gpl])));
        assert!(!is_permissive(&of_python_package(None, Some("see LICENSE"), &[])));
    }

    #[test]
    fn node_packages_tell_their_licence_in_three_ways() {
        let of = |text: &str| {
            let manifest: Value = serde_json::from_str(text).unwrap();
            of_node_package(manifest.get("license"), manifest.get("licenses"))
        };
        assert_eq!(of(r#"{"license":"(MIT OR CC0-1.0)"}"#), "(MIT OR CC0-1.0)");
        assert_eq!(of(r#"{"license":{"type":"ISC","url":"x"}}"#), "ISC");
        assert_eq!(
            of(r#"{"licenses":[{"type":"MIT"},{"type":"GPL-2.0-only"}]}"#),
            "MIT OR GPL-2.0-only"
        );
        assert!(!is_permissive(&of("{}")));
        assert!(!is_permissive(&of(r#"{"license":"SEE LICENSE IN LICENSE.txt"}"#)));
    }
}
