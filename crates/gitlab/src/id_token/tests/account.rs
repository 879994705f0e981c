//! Tokens that Google issues to accounts, good and bad.

use serde_json::json;

use super::Change;
use super::world::{AT, Offer, SECOND_ISSUER, Signer};

fn google(change: Change) -> Offer {
    Offer::changed(|it| {
        it.claims = json!({
            "iss": it.claims["iss"], "aud": "branchline", "sub": "1021", "iat": AT,
            "exp": AT + 3_600, "email": "ada@example.com", "email_verified": true,
        });
    })
    .also(change)
}

#[test]
fn an_account_is_known_by_its_verified_address() {
    let account = google(|_| ()).account().unwrap();
    assert_eq!((account.email.as_str(), account.subject.as_str()), ("ada@example.com", "1021"));
}

#[test]
fn what_google_has_not_said_of_an_account_is_not_believed() {
    let cases: [(&str, Change, &str); 11] = [
        ("unverified", |it| it.claims["email_verified"] = json!(false), "email_verified"),
        ("not said to be", |it| it.remove("email_verified"), "has no email_verified"),
        ("no address", |it| it.remove("email"), "has no email"),
        ("no subject", |it| it.remove("sub"), "has no sub"),
        ("control characters", |it| it.claims["email"] = json!("a\nb@c"), "email is not what"),
        ("another audience", |it| it.claims["aud"] = json!("gcloud"), "audience is"),
        ("another issuer", |it| it.claims["iss"] = json!("https://a.example"), "issuer"),
        ("another's key", |it| it.claims["iss"] = json!(SECOND_ISSUER), "has no signing key"),
        ("a stranger's key", |it| it.signer = Signer::Stranger, "signature"),
        ("expired", |it| it.publish_at(AT + 3_600 + 60), "expired"),
        ("not yet issued", |it| it.publish_at(AT - 61), "valid from"),
    ];
    for (name, change, reason) in cases {
        let refused = google(change).account().unwrap_err().to_string();
        assert!(refused.contains(reason), "{name}: {refused}");
    }
}

#[test]
fn a_job_is_no_account_and_an_account_no_job() {
    assert!(Offer::changed(|_| ()).account().is_err());
    assert!(google(|_| ()).judge(&[]).is_err());
}
