//! The supported versions of Kubernetes are those that `make compat` has run.

use e2e::compat::{PAGE, rows};
use e2e::project::read;
use e2e::tools::KubernetesVersion;

#[test]
fn the_pages_the_chart_and_doctor_name_the_versions_that_ran() {
    let rows = rows(&read(PAGE).unwrap()).unwrap();
    let ran: Vec<KubernetesVersion> = rows.iter().map(|row| row.version).collect();
    for row in &rows {
        let pinned = row.version.patch().unwrap();
        assert_eq!(row.patch, pinned, "run `make compat VERSIONS={}`", row.version);
    }
    let (Some(oldest), Some(newest)) = (ran.first(), ran.last()) else {
        panic!("{PAGE} has no rows");
    };
    let names: Vec<String> = ran.iter().map(ToString::to_string).collect();
    let (last, others) = names.split_last().unwrap();
    let tested = format!("It is tested on {} and {last}", others.join(", "));
    let doctor = format!("({}, {})", oldest.minor(), newest.minor());
    let matrix: Vec<String> = others.iter().map(|version| format!("\"{version}\"")).collect();
    let or_later = format!("Kubernetes {oldest} or later");
    #[rustfmt::skip]
    let expected = [
        ("README.md", tested),
        (".github/workflows/ci.yaml", format!("kubernetes: [{}]", matrix.join(", "))),
        ("README.md", or_later.clone()),
        ("docs/quickstart.md", or_later.clone()),
        ("docs/install.md", format!("[Kubernetes](compatibility.md) {oldest} or later")),
        ("docs/cli.md", format!("older than {oldest}, which the chart requires, or newer than {newest}")),
        ("charts/sidewatch/README.md", or_later),
        ("charts/sidewatch/Chart.yaml", format!("kubeVersion: \">={oldest}.0-0\"")),
        ("src/commands/doctor/api_server.rs", format!("const SUPPORTED: (u32, u32) = {doctor};")),
    ];
    for (path, text) in expected {
        // A line may break between two words.
        let page = read(path)
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(page.contains(&text), "{path} does not say: {text}");
    }
}
