//! What a provider makes of a token, by tables.

use super::*;

fn claims() -> Claims {
    let claims = json!({
        "namespace_path": "ml", "project_path": "ml/Iris", "ref_protected": "true",
        "ref": "main", "project_id": "7", "sub": "project_path:ml/iris:ref_type:branch:ref:main",
    });
    claims.as_object().unwrap().clone()
}

fn fails(condition: &str) -> Vec<Clause> {
    let attributes = Attributes::from([("attribute.project_id".to_owned(), "7".to_owned())]);
    failing(condition, &claims(), &attributes).unwrap()
}

#[test]
fn the_clauses_that_keep_a_token_out_are_named() {
    let cases: [(&str, &[&str]); 15] = [
        (r#"assertion.namespace_path == "ml""#, &[]),
        (
            r#"assertion.namespace_path == "ml" && assertion.ref == "dev""#,
            &[r#"assertion.ref == "dev""#],
        ),
        (
            r#"assertion.ref == "a && b" && assertion.ref == 'c && d'"#,
            &[r#"assertion.ref == "a && b""#, "assertion.ref == 'c && d'"],
        ),
        (
            r#"(assertion.ref == "x" && true) && assertion.namespace_path == "ml""#,
            &[r#"(assertion.ref == "x" && true)"#],
        ),
        (
            r#"assertion.ref == "x" || assertion.ref == "y""#,
            &[r#"assertion.ref == "x" || assertion.ref == "y""#],
        ),
        (
            r#"assertion.ref == "x" && true || assertion.ref == "y""#,
            &[r#"assertion.ref == "x" && true || assertion.ref == "y""#],
        ),
        (
            r#"assertion.ref == "main" ? false : true && true"#,
            &[r#"assertion.ref == "main" ? false : true && true"#],
        ),
        ("true // not && all\n && false", &["true // not && all\n && false"]),
        (r#"assertion.ref.matches("^v[0-9]+$")"#, &[r#"assertion.ref.matches("^v[0-9]+$")"#]),
        (r#"assertion.ref in ["main", "next"]"#, &[]),
        (r#"attribute.project_id == "7""#, &[]),
        (r#"assertion.ref.startsWith("m")"#, &[]),
        (r#"assertion.sub.extract("path:{path}:ref_type") == "ml/iris""#, &[]),
        (r#"assertion.environment == "prod""#, &[r#"assertion.environment == "prod""#]),
        (
            r#"assertion.ref == "main" && assertion.environment == "prod""#,
            &[r#"assertion.environment == "prod""#],
        ),
    ];
    for (condition, expected) in cases {
        let failing: Vec<_> = fails(condition).into_iter().map(|it| it.text).collect();
        assert_eq!(failing, expected, "{condition}");
    }
}

#[test]
fn a_clause_tells_the_values_of_the_token() {
    let found = fails(r#"assertion.project_path == "ml/iris""#);
    assert_eq!(found[0].claims, [("project_path".to_owned(), Some("ml/Iris".to_owned()))]);
    assert!(found[0].but_for_case);
    let found = fails(r#"assertion.ref == "dev" && assertion.environment == "prod""#);
    assert!(!found[0].but_for_case);
    assert_eq!(found[1].claims, [("environment".to_owned(), None)]);
}

#[test]
fn a_condition_is_widened_by_one_kind_of_job_or_not_at_all() {
    let cases = [
        (
            r#"assertion.namespace_path == "vision" && assertion.ref_protected == "true""#,
            Some(
                r#"(assertion.namespace_path == "vision" && assertion.ref_protected == "true") || (assertion.namespace_path == "ml" && assertion.ref_protected == "true")"#,
            ),
        ),
        (
            r#"assertion.namespace_path == 'ML' && assertion.ref == "dev""#,
            Some(
                r#"(assertion.namespace_path == 'ML' && assertion.ref == "dev") || (assertion.namespace_path == "ml" && assertion.ref == "main")"#,
            ),
        ),
        // Of its parts none could be taken for the whole.
        (
            r#"assertion.namespace_path == "a" && assertion.ref == "main" || assertion.namespace_path == "b""#,
            None,
        ),
        (r#"assertion.namespace_path == "a" ? true : false"#, None),
        (r#"assertion.namespace_path == "a" || false"#, None),
        (r#"!(assertion.namespace_path == "ml")"#, None),
        (r#"assertion.namespace_path != "ml""#, None),
        (r#"assertion.namespace_path in ["a"]"#, None),
        (r"assertion.namespace_path == assertion.ref", None),
        // Names that were not given, and one that is not there.
        (r#"assertion.ref_protected == "false""#, None),
        (r#"assertion.namespace_path == "a" && assertion.environment == "prod""#, None),
        // A comment would take the rest along.
        ("assertion.namespace_path == \"a\" // ours", None),
    ];
    for (condition, expected) in cases {
        let names = ["namespace_path", "ref", "environment"];
        let widened = widened(condition, &fails(condition), &claims(), &names);
        assert_eq!(widened.map(|it| it.condition).as_deref(), expected, "{condition}");
    }
    let mut foreign = claims();
    foreign["namespace_path"] = json!("x\" || true || \"");
    let condition = r#"assertion.namespace_path == "ml""#;
    let failing = failing(condition, &foreign, &Attributes::new()).unwrap();
    assert_eq!(widened(condition, &failing, &foreign, &["namespace_path"]), None);
}

#[test]
fn a_token_is_mapped_and_what_cannot_be_is_told() {
    let unknown = |why: &str| Err(Unclear::Unknown(why.to_owned()));
    let cases = [
        ("\"p:\" + assertion.project_id", Ok("p:7".to_owned())),
        ("assertion.sub.extract('project_path:{path}:ref_type')", Ok("ml/iris".to_owned())),
        ("assertion.sub.extract(':ref:{ref}')", Ok("main".to_owned())),
        ("assertion.sub.extract('other:{ref}')", Ok(String::new())),
        ("has(assertion.nobody) ? assertion.nobody : \"\"", Ok(String::new())),
        ("assertion.nobody", Err(Unclear::Missing("nobody".to_owned()))),
        ("1 + 1", Err(Unclear::Type("no text"))),
        ("assertion.", unknown("it is no CEL")),
    ];
    for (expression, expected) in cases {
        let mapped = map(&[("a".to_owned(), expression.to_owned())], &claims());
        assert_eq!(mapped["a"], expected, "{expression}");
    }
    // What Google may know, and this does not.
    for expression in ["assertion.sub.someday()", "someday(assertion.sub)"] {
        let mapped = map(&[("a".to_owned(), expression.to_owned())], &claims());
        assert!(matches!(mapped["a"], Err(Unclear::Unknown(_))), "{mapped:?}");
        let condition = failing(expression, &claims(), &Attributes::new());
        assert!(matches!(condition, Err(Unclear::Unknown(_))), "{condition:?}");
    }
}
