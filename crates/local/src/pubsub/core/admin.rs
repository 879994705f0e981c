//! Creating, reading, listing, updating and deleting topics and subscriptions.

use std::collections::BTreeMap;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    ListSubscriptionsRequest, ListSubscriptionsResponse, ListTopicSubscriptionsRequest,
    ListTopicSubscriptionsResponse, ListTopicsRequest, ListTopicsResponse, Subscription, Topic,
    UpdateSubscriptionRequest, UpdateTopicRequest, subscription, topic,
};

use super::error::{Error, Result, invalid};
use super::name::Name;
use super::policy::Policy;
use super::{Core, Record};

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 1_000;

impl Core {
    pub(in super::super) fn create_topic(&mut self, mut topic: Topic) -> Result<Topic> {
        let name = Name::topic(&topic.name)?;
        if self.topics.contains_key(&name) {
            return Err(Error::AlreadyExists(name.id().to_owned()));
        }
        check_topic(&topic)?;
        topic.state = topic::State::Active.into();
        self.record(Record::Topic(Box::new(topic.clone())));
        Ok(topic)
    }

    pub(in super::super) fn get_topic(&self, name: &str) -> Result<Topic> {
        self.topic(name).cloned()
    }

    pub(in super::super) fn update_topic(&mut self, request: UpdateTopicRequest) -> Result<Topic> {
        let wanted = request.topic.unwrap_or_default();
        let mut topic = self.get_topic(&wanted.name)?;
        for path in mask(request.update_mask)? {
            match path.as_str() {
                "labels" => topic.labels.clone_from(&wanted.labels),
                "message_retention_duration" => {
                    topic.message_retention_duration = wanted.message_retention_duration;
                }
                "message_storage_policy" => {
                    topic.message_storage_policy.clone_from(&wanted.message_storage_policy);
                }
                _ => {
                    return invalid(format!(
                        "Invalid update_mask provided in the UpdateTopicRequest: {path} cannot be updated."
                    ));
                }
            }
        }
        self.record(Record::Topic(Box::new(topic.clone())));
        Ok(topic)
    }

    pub(in super::super) fn delete_topic(&mut self, name: &str) -> Result<()> {
        self.topic(name)?;
        self.record(Record::TopicDeleted(name.to_owned()));
        Ok(())
    }

    pub(in super::super) fn list_topics(
        &self,
        request: &ListTopicsRequest,
    ) -> Result<ListTopicsResponse> {
        let all = in_project(&self.topics, &request.project)?;
        let (page, next_page_token) =
            page(all, request.page_size, &request.page_token, |it| &it.name);
        Ok(ListTopicsResponse { topics: page.into_iter().cloned().collect(), next_page_token })
    }

    pub(in super::super) fn list_topic_subscriptions(
        &self,
        request: &ListTopicSubscriptionsRequest,
    ) -> Result<ListTopicSubscriptionsResponse> {
        self.topic(&request.topic)?;
        let all = self
            .subscriptions
            .values()
            .map(|it| &it.resource)
            .filter(|it| it.topic == request.topic);
        let (page, next_page_token) =
            page(all, request.page_size, &request.page_token, |it| &it.name);
        let subscriptions = page.into_iter().map(|it| it.name.clone()).collect();
        Ok(ListTopicSubscriptionsResponse { subscriptions, next_page_token })
    }

    pub(in super::super) fn create_subscription(
        &mut self,
        mut subscription: Subscription,
    ) -> Result<Subscription> {
        let name = Name::subscription(&subscription.name)?;
        if self.subscriptions.contains_key(&name) {
            return Err(Error::AlreadyExists(name.id().to_owned()));
        }
        self.topic(&subscription.topic)?;
        Policy::adopt(&mut subscription)?;
        subscription.state = subscription::State::Active.into();
        self.record(Record::Subscription(Box::new(subscription.clone())));
        Ok(subscription)
    }

    pub(in super::super) fn get_subscription(&self, name: &str) -> Result<Subscription> {
        Ok(self.subscription(name)?.resource.clone())
    }

    pub(in super::super) fn update_subscription(
        &mut self,
        request: UpdateSubscriptionRequest,
    ) -> Result<Subscription> {
        let wanted = request.subscription.unwrap_or_default();
        let mut updated = self.get_subscription(&wanted.name)?;
        for path in mask(request.update_mask)? {
            match path.as_str() {
                "ack_deadline_seconds" => {
                    updated.ack_deadline_seconds = wanted.ack_deadline_seconds;
                }
                "dead_letter_policy" => {
                    updated.dead_letter_policy.clone_from(&wanted.dead_letter_policy);
                }
                "enable_exactly_once_delivery" => {
                    updated.enable_exactly_once_delivery = wanted.enable_exactly_once_delivery;
                }
                "expiration_policy" => updated.expiration_policy = wanted.expiration_policy,
                "labels" => updated.labels.clone_from(&wanted.labels),
                "message_retention_duration" => {
                    updated.message_retention_duration = wanted.message_retention_duration;
                }
                "push_config" => updated.push_config.clone_from(&wanted.push_config),
                "retain_acked_messages" => {
                    updated.retain_acked_messages = wanted.retain_acked_messages;
                }
                "retry_policy" => updated.retry_policy = wanted.retry_policy,
                _ => {
                    return invalid(format!(
                        "Invalid update_mask provided in the UpdateSubscriptionRequest: {path} cannot be updated."
                    ));
                }
            }
        }
        Policy::adopt(&mut updated)?;
        self.record(Record::Subscription(Box::new(updated.clone())));
        Ok(updated)
    }

    pub(in super::super) fn delete_subscription(&mut self, name: &str) -> Result<()> {
        self.subscription(name)?;
        self.record(Record::SubscriptionDeleted(name.to_owned()));
        Ok(())
    }

    pub(in super::super) fn list_subscriptions(
        &self,
        request: &ListSubscriptionsRequest,
    ) -> Result<ListSubscriptionsResponse> {
        let all = in_project(&self.subscriptions, &request.project)?.map(|it| &it.resource);
        let (page, next_page_token) =
            page(all, request.page_size, &request.page_token, |it| &it.name);
        Ok(ListSubscriptionsResponse {
            subscriptions: page.into_iter().cloned().collect(),
            next_page_token,
        })
    }
}

fn check_topic(topic: &Topic) -> Result<()> {
    let unsupported = [
        (topic.schema_settings.is_some(), "schemas"),
        (topic.ingestion_data_source_settings.is_some(), "ingestion topics"),
        (!topic.message_transforms.is_empty(), "message transforms"),
    ];
    match unsupported.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(Error::Unimplemented(what)),
        None => Ok(()),
    }
}

fn mask(mask: Option<prost_types::FieldMask>) -> Result<Vec<String>> {
    match mask {
        Some(mask) if !mask.paths.is_empty() => Ok(mask.paths),
        _ => invalid(
            "The update_mask in the request must be set, and must contain a non-empty paths list.",
        ),
    }
}

fn in_project<'a, T>(
    all: &'a BTreeMap<Name, T>,
    project: &str,
) -> Result<impl Iterator<Item = &'a T> + use<'a, T>> {
    let Some(id) =
        project.strip_prefix("projects/").filter(|it| !it.is_empty() && !it.contains('/'))
    else {
        return invalid(format!("Invalid project given (name={project})."));
    };
    let id = id.to_owned();
    Ok(all.iter().filter(move |(name, _)| name.project() == id).map(|(_, it)| it))
}

/// One page of resources in the order of their names, and the token for the next: the last name.
fn page<'a, T>(
    all: impl Iterator<Item = &'a T>,
    size: i32,
    token: &str,
    name: impl Fn(&T) -> &str,
) -> (Vec<&'a T>, String) {
    let size = match usize::try_from(size) {
        Ok(size @ 1..) => size.min(PAGE_SIZE_MAX),
        _ => PAGE_SIZE_DEFAULT,
    };
    let mut page: Vec<&T> = all.filter(|it| name(it) > token).take(size + 1).collect();
    let more = page.len() > size;
    page.truncate(size);
    let next = page.last().filter(|_| more).map(|it| name(it).to_owned());
    (page, next.unwrap_or_default())
}
