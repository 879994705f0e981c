//! What goes wrong in installations, one thing at a time.

#[path = "faults/ci.rs"]
mod ci;
#[path = "faults/cluster.rs"]
mod cluster;

use branchline_local::iam::Resource;
use branchline_local::installation::PROJECT;
use serde_json::json;

use crate::clinic::{Clinic, account, now};
use crate::looks::Part;

/// What somebody does to an installation.
pub(crate) type Act = fn(&mut Clinic);

/// One misconfiguration, and what the doctor has to say of it.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) part: Part,
    /// What it is of: two faults of one thing are not made together.
    pub(crate) of: &'static str,
    /// Whether it hides what lies behind it.
    pub(crate) bars: bool,
    pub(crate) make: Act,
    /// The check that finds it.
    pub(crate) check: &'static str,
    /// A part of the text that names its cause.
    pub(crate) says: &'static str,
    /// Where the fix is told in words, some of them, and what whoever reads them does.
    pub(crate) by_hand: Option<(&'static str, Act)>,
}

impl Fault {
    const fn by_hand(self, words: &'static str, mend: Act) -> Self {
        Self { by_hand: Some((words, mend)), ..self }
    }

    const fn barring(self) -> Self {
        Self { bars: true, ..self }
    }
}

const fn bars(name: &'static str, make: Act, check: &'static str, says: &'static str) -> Fault {
    Fault { name, part: Part::Ci, of: "", bars: true, make, check, says, by_hand: None }
}

const fn one(
    part: Part,
    of: &'static str,
    name: &'static str,
    make: Act,
    check: &'static str,
    says: &'static str,
) -> Fault {
    Fault { name, part, of, bars: false, make, check, says, by_hand: None }
}

fn member(id: &str) -> String {
    format!("serviceAccount:{}", account(id))
}

fn lose(clinic: &Clinic, on: &Resource, role: &str, id: &str) {
    clinic.stack.iam.unbind(on, role, &member(id));
}

pub(crate) fn agent(clinic: &Clinic) -> String {
    let number = clinic.stack.iam.create_project(PROJECT);
    format!("serviceAccount:service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com")
}

fn provide(clinic: &mut Clinic, change: impl FnOnce(&mut branchline_local::iam::Provider)) {
    change(&mut clinic.provider);
    clinic.put_provider();
}

fn credentials(clinic: &mut Clinic, place: &str, change: impl FnOnce(&str) -> String) {
    let file = clinic.credentials.as_mut().unwrap().pointer_mut(place).unwrap();
    *file = json!(change(file.as_str().unwrap()));
}

fn at(clinic: &mut Clinic, issued: i64, expires: i64) {
    clinic.google_token["iat"] = json!(now() + issued);
    clinic.google_token["nbf"] = json!(now() + issued - 5);
    clinic.google_token["exp"] = json!(now() + expires);
}

/// All of them.
pub(crate) fn faults() -> Vec<&'static Fault> {
    ci::FAULTS.iter().chain(cluster::FAULTS).collect()
}
