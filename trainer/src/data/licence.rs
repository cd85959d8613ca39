//! Which licences allow training on a file.

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
}
