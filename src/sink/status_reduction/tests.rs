use super::*;
use crate::sink::status_object::tests::{first_status, report};

fn error(code: StatusCode, message: &str, invalid_fields: &[&str]) -> WriteError {
    WriteError {
        status: Some(code),
        invalid_fields: invalid_fields.iter().map(|field| (*field).to_owned()).collect(),
        ..WriteError::without_response(message.to_owned())
    }
}

fn invalid(fields: &[&str]) -> WriteError {
    error(StatusCode::UNPROCESSABLE_ENTITY, "is invalid", fields)
}

/// The error of Kubernetes 1.30 to 1.37.
fn undeclared(fields: &[&str]) -> WriteError {
    let object = "failed to create typed patch object (/mesh; sidewatch.dev/v1alpha1, Kind=SidecarPolicy): ";
    let lines: Vec<_> = fields
        .iter()
        .map(|field| format!("{field}{NOT_DECLARED}"))
        .collect();
    let message = match lines.as_slice() {
        [line] => format!("{object}{line}"),
        lines => format!("{object}errors:\n  {}", lines.join("\n  ")),
    };
    error(StatusCode::INTERNAL_SERVER_ERROR, &message, &[])
}

fn wanted() -> PolicyStatus {
    let mut report = report(1);
    report.violations = vec![report.violations[0].clone(); 2];
    first_status(&report)
}

#[test]
fn undeclared_fields_are_removed_from_every_entry() {
    let wanted = wanted();
    let one = [".status.violations[0].podUID"];
    let both = [".status.violations[0].podUID", ".status.violations[1].podUID"];
    for fields in [&one[..], &both] {
        let mut reduction = Reduction::default();
        let reduced = reduction.next(&wanted, &undeclared(fields)).unwrap();
        assert!(!reduction.is_empty());
        assert_eq!(reduced.violations.len(), 2);
        assert!(
            reduced
                .violations
                .iter()
                .all(|violation| violation.pod_uid.is_empty())
        );
        assert_eq!(
            (&reduced.summary, &reduced.checks),
            (&wanted.summary, &wanted.checks)
        );
        assert_eq!(reduced.violations_omitted, 0);
        assert!(reduced.conditions[0].message.ends_with(INCOMPLETE));
        assert_eq!(reduced.conditions[1..], wanted.conditions[1..]);
    }
    let fields = [".status.summary", ".status.checks[check=\"NotReady\"].new"];
    let reduced = Reduction::default().next(&wanted, &undeclared(&fields)).unwrap();
    assert_eq!((reduced.summary, &reduced.violations), (None, &wanted.violations));
}

#[test]
fn fields_are_removed_before_entries() {
    let wanted = wanted();
    let mut reduction = Reduction::default();
    let first = reduction
        .next(&wanted, &undeclared(&[".status.violations[0].podUID"]))
        .unwrap();
    let second = reduction
        .next(&first, &invalid(&["status.violations[1].check"]))
        .unwrap();
    assert_eq!((second.violations.len(), second.violations_omitted), (1, 1));
    assert_eq!(second.violations[0].pod_uid, "");
    let third = reduction.next(&second, &invalid(&["status.checks[0]"])).unwrap();
    assert!(third.violations.is_empty() && third.checks.is_empty());
    assert_eq!(
        reduction.next(&third, &invalid(&[])),
        None,
        "nothing left to remove"
    );
}

#[test]
fn other_errors_remove_nothing() {
    let mut reduction = Reduction::default();
    for code in [StatusCode::FORBIDDEN, StatusCode::INTERNAL_SERVER_ERROR] {
        assert_eq!(
            reduction.next(&wanted(), &error(code, "etcdserver: timeout", &[])),
            None
        );
    }
    let first = reduction
        .next(&wanted(), &undeclared(&[".status.summary"]))
        .unwrap();
    let later = error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &[]);
    assert_eq!(reduction.next(&first, &later), None, "after a removed field");
    let mut reduction = Reduction::default();
    let of_spec = undeclared(&[".spec.checks"]);
    assert_eq!(
        reduction.next(&wanted(), &of_spec),
        None,
        "not a field of the status"
    );
    assert!(reduction.is_empty());
}

#[test]
fn refused_entries_are_removed_and_counted() {
    let mut report = report(1);
    report.violations = vec![report.violations[0].clone(); 3];
    let wanted = first_status(&report);
    let table = [
        (&["status.violations[1].workload"][..], 2, 1, 1, "one violation"),
        (
            &["status.violations[0].x", "status.violations[2]"],
            1,
            1,
            2,
            "two violations",
        ),
        (&["status.checks[0].check"], 3, 0, 0, "a check"),
        (
            &["violations[2].check", "checks[0].check", "<nil>"],
            2,
            0,
            1,
            "Kubernetes 1.30",
        ),
        (
            &["status.summary"],
            0,
            0,
            3,
            "a field that is not an entry: all entries",
        ),
        (&[], 0, 0, 3, "no field: all entries"),
    ];
    for (names, violations, checks, omitted, why) in table {
        let reduced = Reduction::default().next(&wanted, &invalid(names)).unwrap();
        assert_eq!(reduced.violations.len(), violations, "{why}");
        assert_eq!(reduced.checks.len(), checks, "{why}");
        assert_eq!(reduced.violations_omitted, omitted, "{why}");
        assert!(
            reduced.conditions[0].message.contains("CRDs"),
            "{why}: the condition Ready reports it"
        );
    }
    report.violations.clear();
    report.checks.clear();
    report.images.repositories.clear();
    let empty = Reduction::default().next(&first_status(&report), &invalid(&[]));
    assert_eq!(empty, None, "nothing left to remove");
}

#[test]
fn images_are_removed_if_the_crd_does_not_declare_them_or_refuses_them() {
    let wanted = wanted();
    let fields = [".status.images", ".status.imagesOmitted"];
    let reduced = Reduction::default().next(&wanted, &undeclared(&fields)).unwrap();
    assert_eq!((reduced.images.len(), reduced.images_omitted), (0, 0));
    assert_eq!(
        (&reduced.summary, &reduced.checks, &reduced.violations),
        (&wanted.summary, &wanted.checks, &wanted.violations)
    );
    let fields = ["status.images[0].versions[0].version"];
    let reduced = Reduction::default().next(&wanted, &invalid(&fields)).unwrap();
    assert_eq!((reduced.images.len(), reduced.images_omitted), (0, 2));
    assert_eq!(reduced.violations, wanted.violations);
    let reduced = Reduction::default().next(&wanted, &invalid(&[])).unwrap();
    assert!(reduced.images.is_empty(), "no field: all entries");
}
