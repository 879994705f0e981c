//! The demo's run through containers of both images, asked for and fetched by the components' scripts. `deploy/image/check` builds these and starts this in a network that
//! has loopback and nothing else: there is the stack, and there are the containers.

mod container;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use branchline_ledger::Entry;
use branchline_local::gitlab::{CiJob, Trigger};
use branchline_local::iam::{Provider, Resource};
use branchline_local::installation::{self, PROJECT};
use branchline_local::stack::{Options, Stack};
use branchline_tests::eventually::eventually;
use branchline_tests::roles::{account, endpoints, google, grant};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::container::{Role, USER, ci_job};

/// Starts of each role that are measured.
const STARTS: usize = 5;
/// A network of one's own has every port free.
const PORTS: [u16; 3] = [8080, 8081, 8082];
/// Kubernetes kills a pod after this; a role that drains has long ended then.
const GRACE: Duration = Duration::from_secs(40);
const DRAINED_WITHIN: Duration = Duration::from_secs(5);
const PROJECT_PATH: &str = "demo/iris";
const BRANCH: &str = "more-epochs";
/// Some seconds of training, within which a worker goes and another one comes.
const EPOCHS: &str = r#"epochs: "4000""#;

#[tokio::main]
async fn main() -> Result<()> {
    let images: Vec<String> = std::env::args().skip(1).collect();
    let [roles, ci] = &images[..] else { anyhow::bail!("usage: image ROLES_IMAGE CI_IMAGE") };
    let stack = Stack::start(Options { enforce_iam: true, ..Options::default() }).await?;
    installation::create(&stack, PROJECT)?;
    grant(&stack);
    let config = configure(&stack).await?;
    for (role, port) in [("worker", PORTS[0]), ("notifier", PORTS[2])] {
        measure_starts(roles, role, config.path(), port).await?;
    }

    let (project_id, job) = open_merge_request(&stack)?;
    let checkout = check_out(&stack, project_id, &job)?;
    let (first, _) = Role::start(roles, "worker", config.path(), PORTS[0]).await?;
    let (notifier, _) = Role::start(roles, "notifier", config.path(), PORTS[2]).await?;
    first.is_confined().await?;
    notifier.is_confined().await?;

    let ours = |name: &str| name.starts_with("BRANCHLINE_") && name.ends_with("_ENDPOINT");
    let exports = stack.exports().into_iter().filter(|(name, _)| ours(name));
    let mut environment = job.variables.clone();
    environment.extend(exports.map(|(name, value)| (name.to_owned(), value)));
    environment.extend(inputs(&stack));
    let asked = ci_job(
        ci.clone(),
        checkout.path().to_owned(),
        component(&stack, "train")?,
        environment.clone(),
    );
    let job_done = tokio::spawn(asked);

    // One worker begins the run, and another one ends it.
    eventually("the run trains", async || kinds(&stack).contains(&"submitted").then_some(())).await;
    let (second, _) = Role::start(roles, "worker", config.path(), PORTS[1]).await?;
    stop("the worker whose run trains", first).await?;
    ensure!(!kinds(&stack).contains(&"finished"), "the run ended before its worker did");
    job_done.await.context("the CI job panicked")??;
    eventually("the commit shows it", async || {
        (status(&stack, project_id, &job.sha).await.ok()? == "success").then_some(())
    })
    .await;
    let results = fs::read_to_string(checkout.path().join("branchline.env"))?;
    let results = results.lines().filter_map(|it| it.split_once('='));
    environment.extend(results.map(|(name, value)| (name.to_owned(), value.to_owned())));
    ci_job(ci.clone(), checkout.path().to_owned(), component(&stack, "fetch")?, environment)
        .await?;
    let fetched = fs::read_dir(checkout.path().join("model"))?.count();
    ensure!(fetched > 0, "nothing was fetched");
    println!("model   │ {fetched} files, fetched by the user of the ci image");
    let kinds = kinds(&stack);
    println!("run     │ {}", kinds.join(", "));
    let submitted = kinds.iter().filter(|it| **it == "submitted").count();
    ensure!(submitted == 1, "{submitted} jobs were submitted");

    println!("memory  │ worker {}", second.memory().await?);
    println!("memory  │ notifier {}", notifier.memory().await?);
    stop("the other worker", second).await?;
    stop("the notifier", notifier).await?;
    stack.shutdown().await;
    Ok(())
}

/// Prints how long a role takes from `podman run` until it is ready.
async fn measure_starts(image: &str, role: &str, config: &Path, port: u16) -> Result<()> {
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let (container, start) = Role::start(image, role, config, port).await?;
        took.push(start.as_millis());
        container.stop(GRACE).await?;
    }
    took.sort_unstable();
    let (least, median, most) = (took[0], took[STARTS / 2], took[STARTS - 1]);
    println!(
        "start   │ {role}: ready {median} ms after podman run ({least} to {most}, {STARTS} starts)"
    );
    Ok(())
}

/// Sends SIGTERM, and expects an end that is in order and in time.
async fn stop(what: &str, role: Role) -> Result<()> {
    let took = role.stop(GRACE).await?;
    ensure!(took < DRAINED_WITHIN, "{what} took {took:?} to drain");
    println!("SIGTERM │ {what} drained within {} ms, exit code 0", took.as_millis());
    Ok(())
}

/// A directory with what Kubernetes would mount: configurations, policy and GitLab's token.
async fn configure(stack: &Stack) -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    let gitlab = format!("http://{}", stack.endpoints().gitlab);
    for (name, port) in [("worker", PORTS[0]), ("worker", PORTS[1]), ("notifier", PORTS[2])] {
        let more = json!({
            "listen": format!("127.0.0.1:{port}"),
            "google": endpoints(&google(stack, name, true).await),
        });
        let mut config = match name {
            "worker" => installation::worker(more),
            _ => installation::notifier(more),
        };
        if name == "worker" {
            config["identity"] = json!({"issuers": [{"issuer": gitlab}]});
            config["policy"] = json!("/etc/branchline/policy.yaml");
        } else {
            config["gitlab"] = json!(gitlab);
        }
        fs::write(directory.path().join(format!("{port}.yaml")), config.to_string())?;
    }
    fs::write(directory.path().join("policy.yaml"), fs::read("examples/local/policy.yaml")?)?;
    let token = directory.path().join("gitlab-token");
    fs::write(&token, stack.gitlab.token())?;
    fs::set_permissions(&token, Permissions::from_mode(0o400))?;
    chown(&token, Some(USER), Some(USER))?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// The example project with a merge request, and the job of its pipeline.
fn open_merge_request(stack: &Stack) -> Result<(u64, CiJob)> {
    const FILES: [&str; 4] = [".gitlab-ci.yml", "branchline.yaml", "data/iris.csv", "train.sh"];
    let mut files = Vec::new();
    for path in FILES {
        files.push((path, fs::read(Path::new("examples/iris").join(path)).context(path)?));
    }
    let config = String::from_utf8_lossy(&files[1].1).replace(r#"epochs: "300""#, EPOCHS);
    ensure!(config.contains(EPOCHS), "the example has other parameters");
    let borrowed: Vec<_> = files.iter().map(|(path, bytes)| (*path, &bytes[..])).collect();
    let project_id = stack.gitlab.create_project(PROJECT_PATH, "main", &borrowed)?;
    let change = [("branchline.yaml", config.as_bytes())];
    stack.gitlab.commit(project_id, BRANCH, "Train longer", &change)?;
    let iid = stack.gitlab.open_merge_request(project_id, BRANCH, "main", "Train longer")?;
    let job = stack.gitlab.start_pipeline(project_id, Trigger::MergeRequest(iid), "train")?;
    Ok((project_id, job))
}

/// The script of a component, which finds Google's token service where the stack is.
fn component(stack: &Stack, name: &str) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Job {
        script: Vec<String>,
    }
    let text = fs::read_to_string(format!("templates/{name}/template.yml"))?;
    let (_, body) = text.split_once("\n---\n").context("it has a header")?;
    let jobs: BTreeMap<String, Job> = serde_saphyr::from_str(body)?;
    let mut script = jobs.into_values().next().context("it has a job")?.script.join("\n");
    for host in ["https://sts.googleapis.com", "https://iamcredentials.googleapis.com"] {
        ensure!(script.contains(host), "{name} does not ask {host}");
        script = script.replace(host, &format!("http://{}", stack.endpoints().iam));
    }
    Ok(script)
}

/// The inputs of both components, as the variables that GitLab makes of them.
fn inputs(stack: &Stack) -> BTreeMap<String, String> {
    let pool = stack.iam.create_pool(PROJECT, "gitlab");
    let provider = format!("{}/providers/gitlab", pool.trim_start_matches("//iam.googleapis.com/"));
    let inputs = [
        ("PROVIDER", provider.as_str()),
        ("SERVICE_ACCOUNT", &account("ci")),
        ("RUN", "iris"),
        ("CONFIG", "branchline.yaml"),
        ("SET", ""),
        ("WAIT", "wait=true"),
        ("TIMEOUT", "10m"),
        ("LEDGER", installation::LEDGER),
        ("OUTPUT", "model"),
    ];
    let inputs = inputs.map(|(name, value)| (format!("COMPONENT_{name}"), value.to_owned()));
    inputs.into()
}

/// The job's working directory, whose tokens become the account of CI.
fn check_out(stack: &Stack, project_id: u64, job: &CiJob) -> Result<TempDir> {
    let gitlab = format!("http://{}", stack.endpoints().gitlab);
    let pool = stack.iam.create_pool(PROJECT, "gitlab");
    let mapping = [
        ("google.subject", r#""project:" + assertion.project_id"#),
        ("attribute.project_id", "assertion.project_id"),
    ];
    stack.iam.put_provider(PROJECT, "gitlab", "gitlab", Provider::new(&gitlab, &mapping))?;
    let jobs = format!("principalSet:{pool}/attribute.project_id/{project_id}");
    let ci = Resource::account(&account("ci"));
    stack.iam.bind(&ci, "roles/iam.workloadIdentityUser", &jobs)?;

    let directory = tempfile::tempdir()?;
    stack.gitlab.checkout(project_id, &job.sha, directory.path())?;
    // GitLab's runner leaves the directory to whatever user the image has.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
    Ok(directory)
}

/// The facts of the only run, in order.
fn kinds(stack: &Stack) -> Vec<&'static str> {
    let objects = stack.storage.list(installation::LEDGER, "runs/");
    let contents =
        objects.iter().filter_map(|it| stack.storage.get(installation::LEDGER, &it.name));
    contents.filter_map(|it| Some(Entry::decode(&it.1).ok()?.fact.body.kind())).collect()
}

/// What GitLab says of the commit.
async fn status(stack: &Stack, project_id: u64, sha: &str) -> Result<String> {
    let url = format!(
        "http://{}/api/v4/projects/{project_id}/repository/commits/{sha}/statuses?name=branchline/iris",
        stack.endpoints().gitlab
    );
    let answer = reqwest::Client::new().get(url).bearer_auth(stack.gitlab.token()).send().await?;
    let statuses: Value = answer.json().await?;
    Ok(statuses[0]["status"].as_str().context("there is no status yet")?.to_owned())
}
