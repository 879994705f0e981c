//! Does what the doctor proposes, as a person would who pastes it: commands of gcloud's against
//! the local stack, and what is written in files.

use branchline_local::iam::Resource;
use branchline_local::installation::{PROJECT, subscription};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{Clinic, now};

/// Applies a fix, line by line.
pub(crate) async fn apply(clinic: &mut Clinic, fix: &str) {
    let lines: Vec<&str> = fix.lines().collect();
    if lines[0].starts_with("# in .gitlab-ci.yml") {
        return write_job(clinic, &lines);
    }
    if lines[0]
        == "# in worker.yaml, a region of https://cloud.google.com/vertex-ai/docs/general/locations"
    {
        let written: Value = serde_saphyr::from_str(lines[1]).unwrap();
        clinic.worker["regions"] = written["regions"].clone();
        return;
    }
    if let [first, text @ .., "EOF"] = &lines[..]
        && let Some(file) = first.strip_prefix("cat >").and_then(|it| it.strip_suffix(" <<'EOF'"))
    {
        std::fs::write(file, text.join("\n")).unwrap();
        return;
    }
    if let [curl, "# in worker.yaml", written] = &lines[..] {
        run(clinic, curl).await;
        let written: Value = serde_saphyr::from_str(written).unwrap();
        clinic.worker["identity"] = written["identity"].clone();
        // Where the command wrote it.
        let file = clinic.file(written["identity"]["issuers"][0]["jwks_file"].as_str().unwrap());
        clinic.worker["identity"]["issuers"][0]["jwks_file"] = json!(file);
        return;
    }
    for line in lines.into_iter().filter(|it| !it.starts_with('#')) {
        run(clinic, line).await;
    }
}

/// What a job's configuration says.
fn write_job(clinic: &mut Clinic, lines: &[&str]) {
    match lines {
        [_, "id_tokens:", name, audience] => {
            let audience = audience.trim().strip_prefix("aud: ").unwrap();
            match name.trim() {
                "BRANCHLINE_ID_TOKEN:" => {
                    let mut claims = clinic.google_token.clone();
                    claims["aud"] = json!(audience);
                    clinic.own_token = Some(claims);
                }
                "GOOGLE_ID_TOKEN:" => clinic.google_token["aud"] = json!(audience),
                other => panic!("{other}"),
            }
        }
        [_, "printf %s \"$GOOGLE_ID_TOKEN\" >google-token"] => clinic.behind_token = "",
        // The job runs again, and longer.
        [_, "timeout: 2h"] => {
            clinic.google_token["iat"] = json!(now());
            clinic.google_token["exp"] = json!(now() + 7_200);
        }
        other => panic!("{other:?}"),
    }
}

async fn run(clinic: &mut Clinic, line: &str) {
    let words = words(line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let option = |name: &str| words.iter().find_map(|it| it.strip_prefix(name));
    match &words[..] {
        ["gcloud", rest @ ..] if rest.contains(&"add-iam-policy-binding") => {
            let at = rest.iter().position(|it| *it == "add-iam-policy-binding").unwrap();
            let on = resource(&rest[..at].join(" "), rest[at + 1]);
            let (member, role) = (option("--member=").unwrap(), option("--role=").unwrap());
            clinic.stack.iam.bind(&on, role, member).unwrap();
        }
        ["gcloud", "services", "enable", service, ..] => {
            let project = option("--project=").unwrap();
            clinic.stack.iam.enable_api(project, service);
        }
        ["gcloud", "iam", "workload-identity-pools", "providers", "update-oidc", ..] => {
            update_provider(clinic, &words);
        }
        ["gcloud", "iam", "workload-identity-pools", "create-cred-config", provider, ..] => {
            create_credentials(clinic, provider, option("--service-account="));
        }
        ["gcloud", "pubsub", "subscriptions", "update", name, ..] => {
            let id = name.rsplit('/').next().unwrap().to_owned();
            patch_subscription(clinic, &id, &changes(&words));
        }
        ["gcloud", "pubsub", "topics", "create", name] => {
            clinic.stack.pubsub.create_topic(name).unwrap();
        }
        ["gcloud", "storage", "buckets", "create", bucket, ..] => {
            let bucket = bucket.strip_prefix("gs://").unwrap();
            clinic.stack.storage.create_bucket(bucket).unwrap();
        }
        ["curl", "--fail", url, file] => {
            let keys = reqwest::get(*url).await.unwrap().text().await.unwrap();
            std::fs::write(clinic.file(file.trim_start_matches('>')), keys).unwrap();
        }
        ["sudo", "chronyc", "makestep", ..] => {
            clinic.google_token["iat"] = json!(now());
            clinic.google_token["nbf"] = json!(now() - 5);
        }
        ["export", "BRANCHLINE_GITLAB_TOKEN=…"] => {
            clinic.gitlab_token = clinic.stack.gitlab.token();
        }
        // An owner makes the user of the token a Developer: here, another user's token.
        ["glab", "api", ..] if option("access_level=") == Some("30") => {
            let level = branchline_local::gitlab::AccessLevel::Developer;
            clinic.gitlab_token = clinic.stack.gitlab.create_user("developer", level).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

/// Words as a shell takes them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut depth) = (Vec::new(), String::new(), false, 0);
    for it in line.chars() {
        match it {
            '\'' if depth == 0 => quoted = !quoted,
            ' ' if !quoted && depth == 0 => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            '#' if !quoted && depth == 0 && word.is_empty() => break,
            it => {
                depth += i32::from(it == '(') * i32::from(!quoted);
                depth -= i32::from(it == ')') * i32::from(!quoted);
                word.push(it);
            }
        }
    }
    words.extend(Some(word).filter(|it| !it.is_empty()));
    words
}

/// What gcloud names by a group and a name.
pub(crate) fn resource(group: &str, name: &str) -> Resource {
    let last = name.rsplit('/').next().unwrap();
    match group {
        "projects" => Resource::project(name),
        "storage buckets" => Resource::bucket(last),
        "pubsub topics" => Resource::topic(PROJECT, last),
        "pubsub subscriptions" => Resource::subscription(PROJECT, last),
        "iam service-accounts" => Resource::account(name),
        other => panic!("{other}"),
    }
}

fn update_provider(clinic: &mut Clinic, words: &[&str]) {
    for word in words {
        let Some((flag, value)) = word.split_once('=').or(Some((word, ""))) else { continue };
        let provider = &mut clinic.provider;
        match flag {
            "--no-disabled" => provider.disabled = false,
            "--issuer-uri" => value.clone_into(&mut provider.issuer),
            "--attribute-condition" => provider.condition = Some(value.to_owned()),
            "--attribute-mapping" => {
                let pairs = value.split(',').map(|it| it.split_once('=').unwrap());
                let pairs = pairs.map(|(name, it)| (name.to_owned(), it.to_owned()));
                provider.mapping = pairs.collect();
            }
            "--jwk-json-path" => {
                let path = clinic.file(value);
                clinic.provider.jwks = Some(std::fs::read_to_string(path).unwrap());
            }
            _ => {}
        }
    }
    clinic.put_provider();
}

/// gcloud writes the file anew, here with the addresses of the local stack.
fn create_credentials(clinic: &mut Clinic, provider: &str, account: Option<&str>) {
    let number = clinic.stack.iam.create_project(PROJECT);
    let described =
        format!("$(gcloud projects describe {PROJECT} --format='value(projectNumber)')");
    let provider = provider
        .replace(&described, &number)
        .replace("NUMBER", &number)
        .replace("POOL", crate::clinic::POOL)
        .replace("PROVIDER", crate::clinic::POOL);
    let iam = clinic.worker["google"]["iam_endpoint"].as_str().unwrap().to_owned();
    let account = account.map_or_else(|| crate::clinic::account("ci"), str::to_owned);
    clinic.credentials = Some(json!({
        "type": "external_account",
        "audience": format!("//iam.googleapis.com/{provider}"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{iam}/v1/token"),
        "credential_source": {"file": clinic.file("google-token")},
        "service_account_impersonation_url":
            format!("{iam}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"),
    }));
}

/// The fields of a subscription that flags of gcloud's set.
fn changes(words: &[&str]) -> Value {
    let option = |name: &str| words.iter().find_map(|it| it.strip_prefix(name));
    let mut changes = json!({});
    if let Some(topic) = option("--dead-letter-topic=") {
        let attempts: u32 = option("--max-delivery-attempts=").unwrap().parse().unwrap();
        changes["deadLetterPolicy"] =
            json!({"deadLetterTopic": topic, "maxDeliveryAttempts": attempts});
    }
    if let Some(least) = option("--min-retry-delay=") {
        let most = option("--max-retry-delay=").unwrap();
        changes["retryPolicy"] = json!({"minimumBackoff": least, "maximumBackoff": most});
    }
    if let Some(seconds) = option("--ack-deadline=") {
        changes["ackDeadlineSeconds"] = json!(seconds.parse::<u32>().unwrap());
    }
    if option("--expiration-period=") == Some("never") {
        changes["expirationPolicy"] = json!({});
    }
    changes
}

/// Changes a subscription over its API, as an administrator.
pub(crate) fn patch_subscription(clinic: &Clinic, id: &str, changes: &Value) {
    let name = subscription(PROJECT, id);
    let fields = changes.as_object().unwrap();
    let mask: Vec<&str> = fields.keys().map(String::as_str).collect();
    let mut patch = changes.clone();
    patch["name"] = json!(name);
    // A field of the mask that is not there is cleared.
    patch.as_object_mut().unwrap().retain(|_, it| !it.is_null());
    let url = format!("http://{}/v1/{name}", clinic.stack.endpoints().pubsub);
    let request = clinic
        .admin(Method::PATCH, &url)
        .json(&json!({"subscription": patch, "updateMask": mask.join(",")}));
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(async {
            let answer = request.send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        });
    });
}
