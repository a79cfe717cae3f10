//! The comparison with the common alerts.

use e2e::project::read;

#[test]
fn each_missed_fault_of_a_sidecar_or_an_init_container_has_a_reason() {
    let page = read("docs/comparison.md").unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ["));
    let mut missed = 0;
    for row in rows {
        let columns: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, fault, common, sidewatch, reason] = columns.as_slice() else {
            panic!("not five columns: {row}");
        };
        for (alerts, outcome) in [("common: ", common), ("Sidewatch: ", sidewatch)] {
            let is_missed = outcome.starts_with("**missed**") || outcome.starts_with("**wrong container**");
            if is_missed && !fault.contains(" (main container) ") {
                missed += 1;
                let explained = reason.split("; ").find_map(|reason| reason.strip_prefix(alerts));
                assert!(explained.is_some_and(|reason| reason != "not explained"), "{row}");
            }
        }
    }
    assert!(missed > 0, "the page has no missed fault");
}
