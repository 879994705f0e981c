//! What is refused: names, sizes, settings, filters, ack ids.

use super::super::filter::Filter;
use super::*;

#[test]
fn a_name_is_checked_before_anything_else() {
    let cases = [
        ("projects/p/topics/orders", true),
        ("projects/p/topics/a-b_c.d~e+f%g", true),
        ("projects/p/topics/ab", false),
        ("projects/p/topics/1abc", false),
        ("projects/p/topics/googly", false),
        ("projects/p/topics/with space", false),
        ("projects//topics/orders", false),
        ("projects/p/subscriptions/orders", false),
        ("orders", false),
    ];
    for (name, ok) in cases {
        let mut core = Core::new(Timestamp::UNIX_EPOCH);
        let created = core.create_topic(Topic { name: name.to_owned(), ..Topic::default() });
        assert_eq!(created.is_ok(), ok, "{name}: {created:?}");
    }
}

#[test]
fn limits_on_messages_are_kept() {
    let attributes = |it: &[(String, String)]| it.iter().cloned().collect();
    let text = |length| "x".repeat(length);
    let message = |attributes| PubsubMessage { attributes, ..PubsubMessage::default() };
    let data =
        |length: usize| PubsubMessage { data: vec![0; length].into(), ..PubsubMessage::default() };
    let many = |count: usize| (0..count).map(|it| (it.to_string(), String::new())).collect();
    let keyed = |key: &str| PubsubMessage { ordering_key: key.to_owned(), ..data(1) };
    let cases = [
        ("no message", vec![], false),
        ("an empty message", vec![PubsubMessage::default()], false),
        ("an attribute is enough", vec![message(many(1))], true),
        ("100 attributes", vec![message(many(100))], true),
        ("101 attributes", vec![message(many(101))], false),
        ("a long key", vec![message(attributes(&[(text(256), text(1024))]))], true),
        ("too long a key", vec![message(attributes(&[(text(257), text(1))]))], false),
        ("too long a value", vec![message(attributes(&[(text(1), text(1025))]))], false),
        ("an empty key", vec![message(attributes(&[(text(0), text(1))]))], false),
        ("1000 messages", vec![data(1); 1000], true),
        ("1001 messages", vec![data(1); 1001], false),
        ("almost 10 MB", vec![data(9_999_000)], true),
        ("more than 10 MB", vec![data(10_000_000)], false),
        ("one key", vec![keyed("k"), keyed("k")], true),
        ("two keys", vec![keyed("k"), keyed("l")], false),
        ("too long an ordering key", vec![keyed(&text(1025))], false),
    ];
    for (name, messages, ok) in cases {
        let mut world = World::new(subscription());
        let published =
            world.core.publish(world.now, PublishRequest { topic: TOPIC.to_owned(), messages });
        assert_eq!(published.is_ok(), ok, "{name}: {published:?}");
    }
}

#[test]
fn a_filter_decides_by_attributes() {
    let attributes = HashMap::from([("kind", "order"), ("ce-type", "a.b.v1"), ("empty", "")]);
    let attributes =
        attributes.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let cases = [
        ("attributes:kind", Some(true)),
        ("attributes:empty", Some(true)),
        ("attributes:missing", Some(false)),
        ("attributes.kind = \"order\"", Some(true)),
        ("attributes.kind=\"Order\"", Some(false)),
        ("attributes.kind != \"invoice\"", Some(true)),
        ("attributes.missing != \"x\"", Some(true)),
        ("attributes.\"ce-type\" = \"a.b.v1\"", Some(true)),
        ("hasPrefix(attributes.ce-type, \"a.b\")", Some(true)),
        ("hasPrefix(attributes.missing, \"\")", Some(false)),
        ("NOT attributes:kind", Some(false)),
        ("-attributes:missing", Some(true)),
        ("attributes:kind AND attributes:missing", Some(false)),
        ("attributes:missing OR attributes:kind OR attributes:empty", Some(true)),
        ("attributes:kind AND (attributes:missing OR NOT attributes:missing)", Some(true)),
        ("attributes.kind = \"\\\"\"", Some(false)),
        ("attributes:kind AND attributes:empty OR attributes:missing", None),
        ("attributes.kind = order", None),
        ("attributes.kind", None),
        ("attributes.kind = \"order", None),
        ("data = \"x\"", None),
        ("(attributes:kind", None),
        ("attributes:kind attributes:empty", None),
        ("attributes:kind;", None),
    ];
    for (text, expected) in cases {
        let verdict = Filter::parse(text).map(|it| it.matches(&attributes));
        assert_eq!(verdict.clone().ok(), expected, "{text}: {verdict:?}");
    }
    assert!(Filter::parse(&format!("attributes:{}", "k".repeat(256))).is_err());
}

#[test]
fn settings_out_of_range_and_features_that_are_missing_are_refused() {
    let with = |change: fn(&mut Subscription)| {
        let mut it = subscription();
        change(&mut it);
        it
    };
    let cases = [
        ("ack deadline", with(|it| it.ack_deadline_seconds = 9), "between 10 and 600"),
        ("backoff", retrying(20, 10), "must not be greater"),
        ("backoff range", retrying(0, 601), "between 0 and 600 seconds"),
        ("filter", with(|it| it.filter = "nonsense".to_owned()), "Invalid filter"),
        (
            "exactly once",
            with(|it| it.enable_exactly_once_delivery = true),
            "does not support exactly-once delivery",
        ),
        (
            "topic",
            with(|it| it.topic = "projects/p/topics/missing".to_owned()),
            "Resource not found (resource=missing)",
        ),
    ];
    for (name, subscription, part) in cases {
        let mut world = World::new(self::subscription());
        let refusal = world.core.create_subscription(Subscription {
            name: "projects/p/subscriptions/other".to_owned(),
            ..subscription
        });
        let message = refusal.map_err(|error| error.to_string()).unwrap_err();
        assert!(message.contains(part), "{name}: {message}");
    }
}

#[test]
fn a_malformed_ack_id_is_an_error_and_a_foreign_one_is_not() {
    let mut world = World::new(subscription());
    let malformed = world.core.acknowledge(SUB, &["nonsense".to_owned()]);
    assert!(matches!(malformed, Err(Error::InvalidArgument(_))), "{malformed:?}");
    world.core.acknowledge(SUB, &["1-2-3".to_owned()]).unwrap();
}
