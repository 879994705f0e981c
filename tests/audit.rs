//! The audit trail of a run that trained, with the executable as auditors use it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use branchline_contract::LedgerHead;
use branchline_gcp::storage::Objects as _;
use branchline_ledger::FactName;
use branchline_local::installation::LEDGER;
use branchline_tests::auditor::Told;
use branchline_tests::eventually::eventually;
use branchline_tests::world::{World, run_id};
use serde_json::{Value, json};

/// A world with one run that came to its end.
struct Trained {
    world: World,
    run: String,
    job: String,
    head: LedgerHead,
}

impl Trained {
    async fn start() -> Self {
        let world = World::start().await;
        let request = world.request("iris", &json!([]), "exit 0");
        world.publish(request.to_string()).await;
        let history = world.ended(&request, 1).await;
        let (run, head) = (run_id(&request).to_string(), history.run.head);
        Self { run, job: history.run.job.unwrap(), head, world }
    }

    async fn audit(&self, arguments: &[&str]) -> (i32, String, String) {
        let Told { code, stdout, stderr } =
            self.world.branchline(&[&["audit"], arguments].concat()).await;
        (code, stdout, stderr)
    }

    /// Verifies the run, and expects a problem with each of these positions and no other.
    async fn verify(&self, head: Option<LedgerHead>, positions: &[u32]) {
        let head = head.map(|it| it.to_string());
        let arguments = ["verify", &self.run];
        let (code, stdout, stderr) = match &head {
            Some(head) => self.audit(&[&arguments[..], &["--head", head]].concat()).await,
            None => self.audit(&arguments).await,
        };
        assert_eq!(code, if positions.is_empty() { 0 } else { 65 }, "{stdout}{stderr}");
        let causes = stdout.lines().filter(|it| !it.contains("cannot be judged"));
        let causes = causes.filter_map(|it| it.split_once(": ").map(|(object, _)| object));
        let causes: Vec<_> = causes.filter(|it| it.starts_with("runs/")).collect();
        let expected: Vec<_> = positions.iter().map(|it| self.object(*it)).collect();
        assert_eq!(causes, expected, "{stdout}");
    }

    fn object(&self, position: u32) -> String {
        let run = self.run.parse().unwrap();
        FactName { project_id: self.world.project_id, run, position }.to_string()
    }

    fn read(&self, position: u32) -> Vec<u8> {
        self.world.stack.storage.get(LEDGER, &self.object(position)).unwrap().1.into()
    }

    fn write(&self, position: u32, bytes: Vec<u8>) {
        self.world.stack.storage.put(LEDGER, &self.object(position), bytes).unwrap();
    }

    async fn delete(&self, position: u32) {
        let name = self.object(position);
        let object = self.world.storage.stat(LEDGER, &name, None).await.unwrap();
        self.world.storage.delete(LEDGER, &name, object.generation).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_told_from_request_to_outcome_and_found_again_by_its_job() {
    let it = Trained::start().await;
    let (code, shown, stderr) = it.audit(&["show", &it.run]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(shown.starts_with("team/iris ("), "{shown}");
    for part in [" requested ", " verified ", " intended ", " finished ", "succeeded", &it.job] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    // By its labels, and, without Vertex AI, by the fact that names it.
    for more in [&[][..], &["--since", "2020-01-01"]] {
        let arguments = [&["why", it.job.as_str()][..], more].concat();
        let (code, why, stderr) = it.audit(&arguments).await;
        assert_eq!((code, stderr.as_str()), (0, ""));
        let line = format!("{} is the job of attempt 1 of run {}\n\n", it.job, it.run);
        assert_eq!(why, line + &shown);
    }
    let unknown = it.job.rsplit_once('/').unwrap().0.to_owned() + "/404";
    for more in [&[][..], &["--since", "2020-01-01"]] {
        let (code, ..) = it.audit(&[&["why", unknown.as_str()][..], more].concat()).await;
        assert_eq!(code, 66);
    }
    let (code, ..) = it.audit(&["show", "iris-00000000000000000000"]).await;
    assert_eq!(code, 66);
    it.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fact_is_exported_as_a_line() {
    let it = Trained::start().await;
    let (code, lines, _) = it.audit(&["export", "--since", "2020-01-01"]).await;
    assert_eq!(code, 0);
    let lines: Vec<Value> = lines.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(lines.len(), it.head.sequence as usize + 1);
    for (position, line) in (0..).zip(&lines) {
        assert_eq!(line["object"], it.object(position));
        assert_eq!(line["fact"].to_string().into_bytes(), it.read(position));
    }
    let last = lines.last().unwrap();
    assert_eq!(last["sha256"], it.head.sha256.to_string());

    // From the time of the last one on, and up to it.
    let time = last["stored_at"].as_str().unwrap();
    let csv = ["export", "--format", "csv", "--since"];
    let since = it.audit(&[&csv[..], &[time]].concat()).await.1;
    let until = it.audit(&[&csv[..], &["2020-01-01", "--until", time]].concat()).await.1;
    assert_eq!(since.lines().count(), 2, "{since}");
    assert_eq!(until.lines().count(), lines.len(), "{until}");
    assert!(since.lines().nth(1).unwrap().contains(",finished,"), "{since}");
    it.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tampering_is_found_and_located() {
    let it = Trained::start().await;
    let (last, middle) = (it.head.sequence, it.head.sequence / 2);
    it.verify(None, &[]).await;
    it.verify(Some(it.head), &[]).await;

    let facts: Vec<_> = (0..=last).map(|position| it.read(position)).collect();
    let mend = |position: u32| it.write(position, facts[position as usize].clone());
    for position in 0..=last {
        let mut bytes = it.read(position);
        let bit = fastrand::usize(..bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        it.write(position, bytes);
        it.verify(Some(it.head), &[position]).await;
        mend(position);
    }

    it.write(middle, facts[1].clone());
    it.write(1, facts[middle as usize].clone());
    it.verify(None, &[1, middle]).await;
    mend(middle);
    mend(1);

    it.delete(middle).await;
    it.verify(None, &[middle]).await;
    let (code, all, _) = it.audit(&["verify", "--since", "2020-01-01"]).await;
    assert_eq!(code, 65);
    assert!(all.contains(&format!("{}: missing\n", it.object(middle))), "{all}");
    let (code, all, _) = it.audit(&["verify", "--since", "2100-01-01"]).await;
    assert_eq!(code, 0, "{all}");
    mend(middle);

    it.delete(last).await;
    it.verify(None, &[]).await;
    it.verify(Some(it.head), &[last]).await;
    it.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_note_on_the_merge_request_keeps_the_head_outside_of_the_ledger() {
    let it = Trained::start().await;
    let path = format!("projects/{}/merge_requests/{}/notes", it.world.project_id, it.world.iid);
    let head = format!("`{}`", it.head);
    eventually("the note shows the head", async || {
        let notes = it.world.gitlab(&path).await;
        notes.to_string().contains(&head).then_some(())
    })
    .await;
    it.world.stop().await;
}
