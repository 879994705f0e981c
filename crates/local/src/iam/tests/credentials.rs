//! Tokens of service accounts, and Google's ID tokens.

use std::time::Duration;

use jiff::Timestamp;

use super::*;

/// Claims of a token that one of Google's published keys has signed.
pub(super) async fn google_claims(iam: &Iam, token: &str) -> Value {
    let certs = send(iam, "", "GET", "/oauth2/v3/certs", &Value::Null).await.json();
    let jwt = super::super::jwt::Jwt::read(token).unwrap();
    let key = jwt.key(certs["keys"].as_array().unwrap()).expect("it is published");
    assert!(jwt.is_signed_with(key));
    jwt.claims
}

#[tokio::test]
async fn a_workload_gets_a_token_of_the_account_that_it_may_be() {
    let at = &Fixture::new().await;
    let (iam, federated) = (at.iam(), &at.token().await);
    let email = iam.create_service_account(PROJECT, "worker");
    let account = Resource::account(&email);
    let path = format!("/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
    let ask = json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"]});
    let post = async |token: &str, body: &Value| send(iam, token, "POST", &path, body).await;

    // Even where nothing else is enforced.
    let refused = post(federated, &ask).await;
    let message =
        "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).";
    let expected = json!({"error": {
        "code": 403,
        "message": message,
        "status": "PERMISSION_DENIED",
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "IAM_PERMISSION_DENIED",
            "domain": "iam.googleapis.com",
            "metadata": {"permission": "iam.serviceAccounts.getAccessToken"},
        }],
    }});
    assert_eq!((refused.status, refused.json()), (403, expected));
    assert_eq!([post("", &ask).await.status, post("other", &ask).await.status], [401, 401]);

    for role in ["roles/iam.workloadIdentityUser", "roles/iam.serviceAccountTokenCreator"] {
        let member = format!("principalSet:{}/attribute.ref_protected/true", at.pool);
        iam.bind(&account, role, &member).unwrap();
        let answer = post(federated, &ask).await;
        assert_eq!(answer.status, 200, "{role}: {}", answer.text);
        let expires = answer.json()["expireTime"].as_str().unwrap().to_owned();
        assert_eq!((expires.len(), &expires[19..]), (20, "Z"), "no fraction: {expires}");
        let left = expires.parse::<Timestamp>().unwrap().as_second() - Timestamp::now().as_second();
        assert!((3_595..=3_600).contains(&left), "{left}");
        iam.unbind(&account, role, &member);
        assert_eq!(post(federated, &ask).await.status, 403);
    }

    iam.bind(&account, "roles/iam.workloadIdentityUser", &format!("principalSet:{}/*", at.pool))
        .unwrap();
    for (body, expected) in [
        (json!({"scope": ["a"], "lifetime": "600s"}), 200),
        (json!({"scope": ["a"], "lifetime": "3601s"}), 400),
        (json!({"scope": ["a"], "lifetime": "0s"}), 400),
        (json!({"scope": []}), 400),
    ] {
        assert_eq!(post(federated, &body).await.status, expected, "{body}");
    }
    iam.disable_api(PROJECT, "iamcredentials.googleapis.com");
    let (status, message) = post(federated, &ask).await.refusal();
    assert_eq!(status, 403);
    let start =
        format!("IAM Service Account Credentials API has not been used in project {NUMBER} ");
    assert!(message.starts_with(&start), "{message}");
}

#[tokio::test]
async fn an_id_token_of_an_account_says_for_whom_it_is() {
    let iam = &Iam::new();
    iam.create_project(PROJECT);
    let email = iam.create_service_account(PROJECT, "worker");
    let caller = iam.create_service_account(PROJECT, "caller");
    let (token, member) = (iam.account_token(&caller), format!("serviceAccount:{caller}"));
    let path = format!("/v1/projects/-/serviceAccounts/{email}:generateIdToken");
    let ask = json!({"audience": "https://worker.example", "includeEmail": true});
    assert_eq!(send(iam, &token, "POST", &path, &ask).await.status, 403);
    let role = "roles/iam.serviceAccountOpenIdTokenCreator";
    iam.bind(&Resource::account(&email), role, &member).unwrap();
    let answer = send(iam, &token, "POST", &path, &ask).await.json();
    let claims = google_claims(iam, answer["token"].as_str().unwrap()).await;
    assert_eq!(claims["iss"], "https://accounts.google.com");
    assert_eq!(claims["aud"], "https://worker.example");
    assert_eq!((&claims["email"], &claims["email_verified"]), (&json!(email), &json!(true)));
    // That role has no access tokens.
    let path = path.replace("Id", "Access");
    assert_eq!(send(iam, &token, "POST", &path, &json!({"scope": ["a"]})).await.status, 403);
    // An account that is not there, for somebody who may be all of the project's.
    let creator = "roles/iam.serviceAccountTokenCreator";
    iam.bind(&Resource::project(PROJECT), creator, &member).unwrap();
    let missing = path.replace("worker", "other");
    assert_eq!(send(iam, &token, "POST", &missing, &json!({"scope": ["a"]})).await.status, 404);
}

#[tokio::test]
async fn google_says_who_a_person_is() {
    let iam = &Iam::new();
    let mint = |age| iam.google_id_token("ana@example.org", "branchline", Duration::from_secs(age));
    let claims = google_claims(iam, &mint(0).unwrap()).await;
    let now = Timestamp::now().as_second();
    assert_eq!(claims["iss"], "https://accounts.google.com");
    assert_eq!(
        (&claims["aud"], &claims["email"]),
        (&json!("branchline"), &json!("ana@example.org"))
    );
    assert_eq!(
        (claims["sub"].as_str().unwrap().len(), &claims["email_verified"]),
        (21, &json!(true))
    );
    let iat = claims["iat"].as_i64().unwrap();
    assert!((now - 2..=now).contains(&iat));
    assert_eq!(claims["exp"], iat + 3_600);
    let old = mint(7_200).unwrap();
    assert!(google_claims(iam, &old).await["exp"].as_i64().unwrap() < now);
    iam.rotate_google_key().unwrap();
    google_claims(iam, &old).await;
    google_claims(iam, &mint(0).unwrap()).await;
}
