//! `branchline doctor` in front of installations that are wrong in one way, or two, or none.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "doctor/clinic.rs"]
mod clinic;
#[path = "doctor/faults.rs"]
mod faults;
#[path = "doctor/fixes.rs"]
mod fixes;
#[path = "doctor/good.rs"]
mod good;
#[path = "doctor/looks.rs"]
mod looks;

use std::time::Duration;

use branchline_local::iam::Resource;
use branchline_local::installation::OUTPUT;
use clinic::{Clinic, account};
use faults::{Fault, faults};
use good::GOOD;
use looks::{Part, Told};
use serde_json::json;

/// A diagnosis takes no longer, even on a machine that is busy with other tests.
const WITHIN: Duration = Duration::from_secs(3);

/// Applies what is proposed until nothing is wrong, which a second look has to confirm.
async fn heal(clinic: &mut Clinic, part: Part, name: &str, faults: &[&Fault]) {
    for _ in 0..3 {
        let told = clinic.look(part).await;
        if told.findings.is_empty() {
            assert_eq!(told.code, 0, "{name}");
            return;
        }
        for finding in &told.findings {
            let fix = finding["fix"].as_str().unwrap_or_else(|| panic!("{name}: {finding}"));
            if !fixes::is_in_words(fix) {
                fixes::apply(clinic, fix).await;
                continue;
            }
            let mut by_hand = faults.iter().filter_map(|it| it.by_hand);
            let read = by_hand.find(|(words, _)| fix.contains(words));
            let (_, mend) = read.unwrap_or_else(|| panic!("{name}: {finding}"));
            mend(clinic);
        }
    }
    let left = clinic.look(part).await;
    assert!(left.findings.is_empty(), "{name}: {:?}", left.findings);
}

fn named(findings: &[serde_json::Value], fault: &Fault) -> bool {
    let says = |it: &serde_json::Value| {
        let text = format!("{} {}", it["what"], it["why"]);
        it["check"] == fault.check && it["level"] == "wrong" && text.contains(fault.says)
    };
    findings.iter().any(says)
}

/// Tokens are decoded, and never printed.
fn never_shown(clinic: &Clinic, told: &Told, name: &str) {
    let shown = format!("{:?} {}", told.findings, told.stderr);
    for token in clinic.secrets() {
        for part in token.split('.').filter(|it| it.len() >= 20) {
            assert!(!shown.contains(&part[..20]), "{name}: {shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_misconfiguration_is_named_and_its_fix_works() {
    let all = faults();
    assert!(all.len() >= 20);
    let mut slowest = Duration::ZERO;
    for fault in &all {
        let mut clinic = Clinic::open().await;
        (fault.make)(&mut clinic);
        let told = clinic.look(fault.part).await;
        assert!(named(&told.findings, fault), "{}: {:?}", fault.name, told.findings);
        assert_eq!(told.findings.len(), 1, "{}: {:?}", fault.name, told.findings);
        assert_eq!(told.code, 78, "{}", fault.name);
        slowest = slowest.max(told.took);
        never_shown(&clinic, &told, fault.name);
        heal(&mut clinic, fault.part, fault.name, &[fault]).await;
        clinic.close().await;
    }
    println!("{} misconfigurations, the slowest diagnosis took {slowest:?}", all.len());
    assert!(slowest < WITHIN, "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_misconfigurations_at_once_are_both_named() {
    let (mut pairs, all) = (0, faults());
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            // One that bars the way hides what lies behind it.
            if one.part != other.part || one.bars || other.bars || one.of == other.of {
                continue;
            }
            let mut clinic = Clinic::open().await;
            (one.make)(&mut clinic);
            (other.make)(&mut clinic);
            let told = clinic.look(one.part).await;
            let name = format!("{} and {}", one.name, other.name);
            for fault in [one, other] {
                assert!(named(&told.findings, fault), "{name}: {:?}", told.findings);
            }
            assert_eq!(told.findings.len(), 2, "{name}: {:?}", told.findings);
            heal(&mut clinic, one.part, &name, &[one, other]).await;
            clinic.close().await;
            pairs += 1;
        }
    }
    println!("{pairs} pairs");
    assert!(pairs >= 20, "{pairs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_behind_another_is_named_once_the_first_is_mended() {
    let all = faults();
    let behind = all.iter().find(|it| it.of == "publisher").unwrap();
    for fault in all.iter().filter(|it| it.bars && it.part == behind.part) {
        let mut clinic = Clinic::open().await;
        (fault.make)(&mut clinic);
        (behind.make)(&mut clinic);
        let told = clinic.look(fault.part).await;
        assert!(named(&told.findings, fault), "{}: {:?}", fault.name, told.findings);
        heal(&mut clinic, fault.part, fault.name, &[fault, behind]).await;
        clinic.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refusal_of_a_provider_that_is_not_shown_tells_where_to_look() {
    let from_text =
        ["audience", "issuer", "condition", "subject", "expired", "provider", "pool", "signature"];
    let mut looked = 0;
    for fault in faults().into_iter().filter(|it| it.bars && from_text.contains(&it.check)) {
        let mut clinic = Clinic::open().await;
        clinic.shows_provider = false;
        (fault.make)(&mut clinic);
        let told = clinic.look(Part::Ci).await;
        let [found] = &told.findings[..] else { panic!("{}: {:?}", fault.name, told.findings) };
        assert_eq!(found["level"], "wrong", "{}: {found}", fault.name);
        looked += 1;
        if found["check"] != fault.check {
            // Who looks where it says finds the cause.
            let fix = found["fix"].as_str().unwrap();
            let (before, again) = fix.rsplit_once('\n').unwrap();
            fixes::apply(&mut clinic, before).await;
            let words = fixes::words(again);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let told = clinic.look_again(&words).await;
            assert_eq!(told.code, 78, "{again}: {}", told.stderr);
            assert!(named(&told.findings, fault), "{}: {:?}", fault.name, told.findings);
        }
        clinic.close().await;
    }
    assert!(looked >= from_text.len(), "{looked}");
}

/// As in a pod, whose account may do its work and look at nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_may_not_see_is_told_to_be_unknown() {
    let mut clinic = Clinic::open().await;
    clinic.runs_as("worker");
    let (bucket, role) = (Resource::bucket(OUTPUT), "roles/storage.objectViewer");
    let worker = format!("serviceAccount:{}", account("worker"));
    clinic.stack.iam.unbind(&bucket, role, &worker);
    let told = clinic.look(Part::Worker).await;
    // What it lacks itself is known, and who it is.
    let lacks = &told.findings[0];
    let fix = lacks["fix"].as_str().unwrap();
    assert!(fix.contains(&format!(" --member={worker} ")), "{lacks}");
    fixes::apply(&mut clinic, fix).await;
    let told = clinic.look(Part::Worker).await;
    assert_eq!(told.code, 75, "{:?}", told.findings);
    let checks: Vec<_> = told.findings.iter().map(|it| (&it["check"], &it["level"])).collect();
    let unknown =
        |check: &str| checks.iter().filter(|it| *it == &(&json!(check), &json!("unknown"))).count();
    assert_eq!((unknown("subscription"), unknown("api"), unknown("service-agent")), (1, 3, 2));
    assert_eq!(told.findings.len(), 6, "{:?}", told.findings);
    clinic.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_where_nothing_is_wrong() {
    assert!(GOOD.len() >= 5);
    for (name, make) in GOOD {
        let mut clinic = Clinic::open().await;
        make(&mut clinic);
        for part in [Part::Ci, Part::Worker, Part::Notifier, Part::All] {
            let told = clinic.look(part).await;
            assert!(told.findings.is_empty(), "{name}, {part:?}: {:?}", told.findings);
            assert_eq!(told.code, 0, "{name}, {part:?}: {}", told.stderr);
        }
        clinic.close().await;
    }
}
