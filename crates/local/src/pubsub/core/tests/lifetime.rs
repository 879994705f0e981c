//! Where messages go in the end: dead letters, flow control, seeking, deletion, restarts.

use super::*;

#[test]
fn delivery_attempts_are_counted_only_with_a_dead_letter_policy() {
    let mut world = World::new(subscription());
    world.publish("", &["a"]);
    assert_eq!(world.pull(1)[0].delivery_attempt, 0);
    world.step("nack a");
    let update = UpdateSubscriptionRequest {
        subscription: Some(dead_lettering()),
        update_mask: Some(prost_types::FieldMask { paths: vec!["dead_letter_policy".to_owned()] }),
    };
    world.core.update_subscription(update).unwrap();
    assert_eq!(world.pull(1)[0].delivery_attempt, 1);
}

#[test]
fn after_the_last_attempt_a_message_moves_to_the_dead_letter_topic_with_its_history() {
    let mut world = World::with_graveyard();
    world.publish("", &["a"]);
    for attempt in 1..=5 {
        assert_eq!(world.pull(1)[0].delivery_attempt, attempt);
        // Handed back and timed out count alike.
        world.step(if attempt % 2 == 0 { "wait 10" } else { "nack a" });
    }
    assert_eq!(world.step("pull"), "");
    let letters = world.core.pull(world.now, MOURNER, 10).unwrap();
    let mut attributes: Vec<_> =
        letters[0].message.as_ref().unwrap().attributes.clone().into_iter().collect();
    attributes.sort();
    let history = [
        ("CloudPubSubDeadLetterSourceDeliveryCount", "5"),
        ("CloudPubSubDeadLetterSourceSubscription", "worker"),
        ("CloudPubSubDeadLetterSourceSubscriptionProject", "p"),
        ("CloudPubSubDeadLetterSourceTopicPublishTime", "1970-01-12T13:46:40.000+00:00"),
    ];
    assert_eq!(attributes, history.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!((letters.len(), text(&letters[0])), (1, "a".to_owned()));
}

#[test]
fn while_the_dead_letter_topic_is_missing_delivery_goes_on() {
    let mut world = World::new(dead_lettering());
    world.publish("", &["a"]);
    for attempt in 1..=7 {
        assert_eq!(world.pull(1)[0].delivery_attempt, attempt);
        world.step("nack a");
    }
}

#[test]
fn a_stream_never_holds_more_than_its_flow_control_allows() {
    let cases = [("messages", 2, 0), ("bytes", 0, 1)];
    for (name, max_outstanding_messages, max_outstanding_bytes) in cases {
        let mut world = World::new(subscription());
        let open = StreamingPullRequest {
            subscription: SUB.to_owned(),
            stream_ack_deadline_seconds: 20,
            max_outstanding_messages,
            max_outstanding_bytes,
            ..StreamingPullRequest::default()
        };
        let (stream, deadline) = world.core.open_stream(&open).unwrap();
        world.publish("", &["a", "b", "c"]);
        let pull = |world: &mut World| {
            let received = world.core.stream_pull(world.now, SUB, stream, deadline).unwrap();
            world.ack_ids.extend(received.iter().map(|it| (text(it), it.ack_id.clone())));
            texts(&received)
        };
        let first = pull(&mut world);
        assert_eq!(first, if max_outstanding_messages == 2 { "a b" } else { "a" }, "{name}");
        assert_eq!(pull(&mut world), "", "{name}");
        world.step("extend a 60");
        assert_eq!(pull(&mut world), "", "{name}: an extension frees nothing");
        world.step("ack a");
        assert_ne!(pull(&mut world), "", "{name}: an ack frees a place");
        world.wait(20);
        assert_ne!(pull(&mut world), "", "{name}: an expiry frees a place");
        world.core.close_stream(SUB, stream);
        assert!(world.core.stream_pull(world.now, SUB, stream, deadline).is_err(), "{name}");
    }
}

#[test]
fn seeking_drops_what_was_published_before() {
    let mut world = World::new(subscription());
    world.publish("", &["a"]);
    world.wait(5);
    world.publish("", &["b"]);
    let time = prost_types::Timestamp { seconds: world.now.as_second(), nanos: 0 };
    let target = Some(seek_request::Target::Time(time));
    world.core.seek(&SeekRequest { subscription: SUB.to_owned(), target }).unwrap();
    assert_eq!(world.step("pull"), "b");
}

#[test]
fn a_subscription_outlives_its_topic_and_keeps_its_messages() {
    let mut world = World::new(subscription());
    world.publish("", &["a"]);
    world.core.delete_topic(TOPIC).unwrap();
    assert_eq!(world.core.get_subscription(SUB).unwrap().topic, "_deleted-topic_");
    world.core.create_topic(Topic { name: TOPIC.to_owned(), ..Topic::default() }).unwrap();
    world.publish("", &["b"]);
    assert_eq!(world.step("pull"), "a");
}

/// A core as a process after this one finds it.
fn restarted(now: Timestamp, records: &[Record]) -> Core {
    let mut core = Core::new(now);
    for record in records {
        core.apply(record).unwrap();
    }
    core
}

#[test]
fn replayed_records_give_the_state_back_and_leased_messages_again() {
    let mut world = World::with_graveyard();
    world.step("publish a b c");
    world.step("pull 2");
    world.step("ack a");
    let now = world.now + Duration::from_secs(1);
    for records in [world.core.take_records(), world.core.snapshot()] {
        let mut core = restarted(now, &records);
        assert_eq!(texts(&core.pull(now, SUB, 10).unwrap()), "b c");
        assert_eq!(core.snapshot(), world.core.snapshot());
    }
}

#[test]
fn an_ack_id_of_an_earlier_process_has_expired() {
    let mut world = World::new(subscription());
    world.step("publish a");
    world.step("pull");
    let now = world.now + Duration::from_secs(1);
    let mut core = restarted(now, &world.core.take_records());
    core.pull(now, SUB, 1).unwrap();
    core.acknowledge(SUB, &[world.ack_ids["a"].clone()]).unwrap();
    assert_eq!(core.snapshot(), world.core.snapshot());
}

#[test]
fn no_message_id_is_given_twice_even_if_the_clock_was_set_back() {
    let mut world = World::new(subscription());
    world.step("publish a b");
    world.now -= Duration::from_hours(1);
    world.core = restarted(world.now, &world.core.take_records());
    world.step("publish c");
    assert_eq!(world.step("pull"), "a b c");
}
