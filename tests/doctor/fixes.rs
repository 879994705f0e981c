//! Does what the doctor proposes, as a person would who pastes it: commands of gcloud's and glab's
//! against the local stack, and what is written in files. Nothing is filled in that is not said.

use branchline_local::gitlab::AccessLevel;
use branchline_local::iam::Resource;
use branchline_local::installation::{PROJECT, subscription};
use reqwest::Method;
use serde_json::{Value, json};

use crate::clinic::{Clinic, now, sent};

/// Whether it is told in words, and there is nothing to paste.
pub(crate) fn is_in_words(fix: &str) -> bool {
    fix.lines().all(|it| it.starts_with("# "))
}

/// Applies a fix, line by line.
pub(crate) async fn apply(clinic: &mut Clinic, fix: &str) {
    let lines: Vec<&str> = fix.lines().collect();
    if lines[0].starts_with("# in .gitlab-ci.yml") {
        return write_job(clinic, &lines);
    }
    if let [first, text @ .., "EOF"] = &lines[..]
        && let Some(file) = first.strip_prefix("cat >").and_then(|it| it.strip_suffix(" <<'EOF'"))
    {
        std::fs::write(file, text.join("\n")).unwrap();
        return;
    }
    let mut in_notifier = false;
    for line in lines {
        if line.starts_with('#') {
            in_notifier = line == "# in notifier.yaml";
        } else if in_notifier {
            let written: Value = serde_saphyr::from_str(line).unwrap();
            clinic.notifier.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
        } else {
            run(clinic, line).await;
        }
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
        [_, write] if write.starts_with("printf ") => {
            let file = clinic.file("google-token");
            assert_eq!(*write, format!("printf %s \"$GOOGLE_ID_TOKEN\" >{}", file.display()));
            (clinic.behind_token, clinic.tampered) = ("", false);
        }
        // The job runs again, and longer.
        [_, "timeout: 2h"] => {
            clinic.google_token["iat"] = json!(now());
            clinic.google_token["exp"] = json!(now() + 7_200);
        }
        other => panic!("{other:?}"),
    }
}

/// What nobody can paste: something that the reader has to put a name in the place of.
fn has_placeholder(line: &str) -> bool {
    let known = ["GOOGLE_ID_TOKEN", "POST"];
    let words = line.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    let shouted =
        |it: &str| it.len() > 3 && it.bytes().all(|it| it.is_ascii_uppercase() || it == b'_');
    line.contains(['…', '<']) || words.into_iter().any(|it| shouted(it) && !known.contains(&it))
}

#[test]
fn a_placeholder_is_known_when_it_is_seen() {
    let cases = [
        ("gcloud projects add-iam-policy-binding p --member=MEMBER", true),
        ("gcloud x create-cred-config projects/NUMBER/locations/global", true),
        ("glab api --method POST projects/7/members -f user_id=USER", true),
        ("export BRANCHLINE_GITLAB_TOKEN=…", true),
        ("gcloud x --member=principal://iam.googleapis.com/subject/SUBJECT", true),
        ("gcloud pubsub topics create projects/p/topics/t --condition=None", false),
        ("glab api --method POST projects/7/members -f user_id=3", false),
    ];
    for (line, expected) in cases {
        assert_eq!(has_placeholder(line), expected, "{line}");
    }
}

async fn run(clinic: &mut Clinic, line: &str) {
    assert!(!has_placeholder(line), "this cannot be pasted: {line}");
    let words = words(line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let option = |name: &str| words.iter().find_map(|it| it.strip_prefix(name));
    match &words[..] {
        ["gcloud", rest @ ..] if rest.contains(&"add-iam-policy-binding") => {
            let at = rest.iter().position(|it| *it == "add-iam-policy-binding").unwrap();
            let group = rest[..at].join(" ");
            let on = resource(&group, rest[at + 1]);
            let (member, role) = (option("--member=").unwrap(), option("--role=").unwrap());
            // gcloud knows no conditions of Pub/Sub's, and asks about them elsewhere.
            let expected = (!group.starts_with("pubsub")).then_some("None");
            assert_eq!(option("--condition="), expected, "{line}");
            clinic.stack.iam.bind(&on, role, member).unwrap();
        }
        ["gcloud", "services", "enable", service, ..] => {
            let project = option("--project=").unwrap();
            clinic.stack.iam.enable_api(project, service);
        }
        ["gcloud", "iam", "workload-identity-pools", rest @ ..] => {
            run_on_pool(clinic, rest, line).await;
        }
        ["gcloud", "pubsub", "subscriptions", "update", name, ..] => {
            let id = name.rsplit('/').next().unwrap().to_owned();
            patch_subscription(clinic, &id, &changes(&words));
        }
        ["gcloud", "pubsub", "subscriptions", "create", name, ..] => {
            let mut new = changes(&words);
            new["topic"] = json!(option("--topic=").unwrap());
            new["enableMessageOrdering"] = json!(words.contains(&"--enable-message-ordering"));
            put_subscription(clinic, name, &new);
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
        ["glab", "api", "--hostname", host, "--method", method, path, fields @ ..] => {
            let owner = clinic.stack.gitlab.create_user("owner", AccessLevel::Maintainer).unwrap();
            assert_eq!(*host, clinic.stack.endpoints().gitlab.to_string());
            let fields = fields.chunks(2).map(|it| it[1].split_once('=').unwrap());
            let request = reqwest::Client::new()
                .request(method.parse().unwrap(), format!("http://{host}/api/v4/{path}"))
                .header("PRIVATE-TOKEN", owner)
                .json(&fields.collect::<std::collections::BTreeMap<_, _>>());
            sent(request);
        }
        other => panic!("{other:?}"),
    }
}

async fn run_on_pool(clinic: &mut Clinic, words: &[&str], line: &str) {
    match words {
        ["providers", "update-oidc", ..] => {
            update_provider(clinic, words);
        }
        ["providers", "describe", .., ">provider.json"] => {
            clinic.describe().await;
        }
        // Where nothing is deleted, gcloud says so.
        ["undelete", ..] => {}
        ["update", crate::clinic::POOL, ..] => {
            assert!(words.contains(&"--no-disabled"), "{line}");
            clinic.disable_pool(false);
        }
        ["create-cred-config", provider, ..] => {
            create_credentials(clinic, provider, words);
        }
        other => panic!("{other:?}"),
    }
}

/// Words as a shell takes them.
pub(crate) fn words(line: &str) -> Vec<String> {
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
            "--attribute-mapping" => provider.mapping = pairs(value),
            "--jwk-json-path" => {
                let path = clinic.file(value);
                clinic.provider.jwks = Some(std::fs::read_to_string(path).unwrap());
            }
            _ => {}
        }
    }
    clinic.put_provider();
}

/// A map as gcloud reads it: joined by commas, or by what stands between two `^` in front.
fn pairs(value: &str) -> std::collections::BTreeMap<String, String> {
    let own = value.strip_prefix('^').and_then(|it| it.split_once('^'));
    let (sign, text) = own.unwrap_or((",", value));
    let pairs = text.split(sign).map(|it| it.split_once('=').unwrap_or_else(|| panic!("{it}")));
    pairs.map(|(name, it)| (name.to_owned(), it.to_owned())).collect()
}

/// gcloud writes the file anew, here with the addresses of the local stack.
fn create_credentials(clinic: &mut Clinic, provider: &str, words: &[&str]) {
    let option = |name: &str| words.iter().find_map(|it| it.strip_prefix(name));
    let number = clinic.stack.iam.create_project(PROJECT);
    let described =
        format!("$(gcloud projects describe {PROJECT} --format='value(projectNumber)')");
    let iam = clinic.worker["google"]["iam_endpoint"].as_str().unwrap().to_owned();
    // In the job, which the clinic runs elsewhere.
    let source = clinic.file(option("--credential-source-file=").unwrap());
    assert_eq!(clinic.file(option("--output-file=").unwrap()), clinic.file("google.json"));
    let mut file = json!({
        "type": "external_account",
        "audience": format!("//iam.googleapis.com/{}", provider.replace(&described, &number)),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{iam}/v1/token"),
        "credential_source": {"file": source},
    });
    if let Some(account) = option("--service-account=") {
        let url = format!("{iam}/v1/projects/-/serviceAccounts/{account}:generateAccessToken");
        file["service_account_impersonation_url"] = json!(url);
    }
    if let Some(kind) = option("--credential-source-type=") {
        let field = option("--credential-source-field-name=").unwrap();
        file["credential_source"]["format"] =
            json!({"type": kind, "subject_token_field_name": field});
    }
    // Nothing of what was right is lost.
    assert_eq!(file, clinic.good_credentials);
    clinic.credentials = Some(file);
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
    let body = json!({"subscription": patch, "updateMask": mask.join(",")});
    sent(clinic.admin(Method::PATCH, &url).json(&body));
}

/// Makes one, by its full name.
pub(crate) fn put_subscription(clinic: &Clinic, name: &str, new: &Value) {
    let url = format!("http://{}/v1/{name}", clinic.stack.endpoints().pubsub);
    sent(clinic.admin(Method::PUT, &url).json(new));
}

/// Takes one away, with all that is in it.
pub(crate) fn delete_subscription(clinic: &Clinic, id: &str) {
    let name = subscription(PROJECT, id);
    let url = format!("http://{}/v1/{name}", clinic.stack.endpoints().pubsub);
    sent(clinic.admin(Method::DELETE, &url));
}
