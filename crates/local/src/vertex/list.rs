//! One page of a list: filtered, ordered, cut.

use std::cmp::Ordering;
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::error::{Answer, Refusal};
use super::filter::Filter;
use super::json::snake_case;
use super::kind::Kind;
use super::store::Resource;

/// Jobs on one page, unless fewer are asked for.
const PAGE_MAX: usize = 100;

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Query {
    filter: Filter,
    order: Order,
    size: usize,
    after: Option<Place>,
    mask: Option<Vec<String>>,
}

/// The field that the list is ordered by.
#[derive(Debug)]
struct Order {
    field: &'static str,
    descending: bool,
}

/// Where an item stands in the list: its order field, then its name.
#[derive(Debug, PartialEq, Eq)]
struct Place(String, String);

impl Query {
    pub(super) fn parse(kind: Kind, parameters: &HashMap<String, String>) -> Answer<Self> {
        let given =
            |name: &str| parameters.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let size = match given("pageSize").map(str::parse::<i64>) {
            None | Some(Ok(0)) => PAGE_MAX,
            Some(Ok(size)) if size > 0 => usize::try_from(size).unwrap_or(PAGE_MAX).min(PAGE_MAX),
            Some(_) => {
                return Err(Refusal::invalid("page_size must be a number that is not negative."));
            }
        };
        let mask = given("readMask").filter(|mask| *mask != "*").map(|mask| {
            mask.split(',')
                .map(|path| snake_case(path.trim().split('.').next().unwrap_or_default()))
                .collect()
        });
        Ok(Self {
            filter: Filter::parse(kind, given("filter").unwrap_or_default())?,
            order: Order::parse(given("orderBy").unwrap_or("create_time desc"))?,
            size,
            after: given("pageToken").map(Place::from_token).transpose()?,
            mask,
        })
    }

    /// The page in the API's shape.
    pub(super) fn page(&self, kind: Kind, jobs: Vec<Resource>) -> Value {
        let mut jobs: Vec<_> = jobs
            .into_iter()
            .filter(|job| self.filter.matches(job))
            .map(|job| (self.order.place(&job), job))
            .filter(|(place, _)| {
                self.after.as_ref().is_none_or(|it| self.order.compare(place, it).is_gt())
            })
            .collect();
        jobs.sort_by(|(left, _), (right, _)| self.order.compare(left, right));
        let more = jobs.len() > self.size;
        jobs.truncate(self.size);
        let mut page = Map::new();
        if let (true, Some((last, _))) = (more, jobs.last()) {
            page.insert("nextPageToken".to_owned(), Value::from(last.token()));
        }
        let jobs = jobs.into_iter().map(|(_, job)| Value::Object(self.shown(job)));
        page.insert(kind.collection().to_owned(), jobs.collect());
        Value::Object(page)
    }

    fn shown(&self, mut job: Resource) -> Resource {
        // The tasks of a pipeline are told only by its own GET.
        job.shift_remove("jobDetail");
        if let Some(mask) = &self.mask {
            job.retain(|field, _| mask.contains(&snake_case(field)));
        }
        job
    }
}

impl Order {
    fn parse(text: &str) -> Answer<Self> {
        let mut words = text.split_whitespace();
        let field = match words.next() {
            Some("create_time") => "createTime",
            Some("update_time") => "updateTime",
            Some("start_time") => "startTime",
            Some("end_time") => "endTime",
            _ => return Err(Refusal::invalid(format!("Cannot order by '{text}'."))),
        };
        let descending = match words.next() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(Refusal::invalid(format!("Cannot order by '{text}'."))),
        };
        Ok(Self { field, descending })
    }

    fn place(&self, job: &Resource) -> Place {
        let text =
            |field: &str| job.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        Place(text(self.field), text("name"))
    }

    fn compare(&self, left: &Place, right: &Place) -> Ordering {
        let order = (&left.0, &left.1).cmp(&(&right.0, &right.1));
        if self.descending { order.reverse() } else { order }
    }
}

impl Place {
    fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(json!([self.0, self.1]).to_string())
    }

    fn from_token(token: &str) -> Answer<Self> {
        let invalid = || Refusal::invalid("The page token is invalid.");
        let json = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
        let (key, name) = serde_json::from_slice(&json).map_err(|_| invalid())?;
        Ok(Self(key, name))
    }
}
