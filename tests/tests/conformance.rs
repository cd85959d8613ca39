//! Every required reference case passes.

use std::path::Path;

use diffcoder_tests::conformance::{self, Setup};

#[test]
fn the_reference_cases_pass() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let cases =
        conformance::run(&directory, &Setup::cpu(), &mut |case| println!("{case}")).unwrap();
    let fatal: Vec<String> =
        cases.iter().filter(|case| case.is_fatal()).map(ToString::to_string).collect();
    assert!(fatal.is_empty(), "{}", fatal.join("\n"));
}
