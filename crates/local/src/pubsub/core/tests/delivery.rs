//! Who gets which message when: leases, nacks, pauses, order, retention.

use super::*;

#[test]
fn an_acknowledged_message_never_comes_back() {
    check(
        subscription(),
        "publish a b
         pull -> a b
         ack a
         wait 10
         pull -> b
         ack b
         wait 600
         pull ->",
    );
}

#[test]
fn a_pull_takes_no_more_than_it_asks_for() {
    check(
        subscription(),
        "publish a b c
         pull 2 -> a b
         pull 2 -> c",
    );
}

#[test]
fn a_lease_lasts_until_its_deadline_and_can_be_extended() {
    check(
        subscription(),
        "publish a
         pull -> a
         wait 9
         pull ->
         extend a 30
         wait 29
         pull ->
         wait 1
         pull -> a",
    );
}

#[test]
fn an_expired_delivery_can_no_longer_be_acknowledged_or_handed_back() {
    check(
        subscription(),
        "publish a
         pull -> a
         wait 10
         ack a
         nack a
         extend a 60
         pull -> a",
    );
}

#[test]
fn an_ack_of_an_earlier_delivery_does_not_settle_the_current_one() {
    let mut world = World::new(subscription());
    world.publish("", &["a"]);
    let earlier = world.pull(1)[0].ack_id.clone();
    world.step("wait 10");
    assert_eq!(world.step("pull"), "a");
    world.core.acknowledge(SUB, &[earlier]).unwrap();
    world.step("nack a");
    assert_eq!(world.step("pull"), "a");
}

#[test]
fn without_a_retry_policy_a_nack_redelivers_at_once() {
    check(
        subscription(),
        "publish a b
         pull -> a b
         nack a
         pull -> a",
    );
}

#[test]
fn a_retry_policy_doubles_the_pause_up_to_its_maximum_after_nacks_and_expiries() {
    check(
        retrying(10, 25),
        "publish a
         pull -> a
         nack a
         wait 9
         pull ->
         wait 1
         pull -> a
         wait 10
         pull ->
         wait 19
         pull ->
         wait 1
         pull -> a
         nack a
         wait 24
         pull ->
         wait 1
         pull -> a",
    );
}

#[test]
fn a_key_waits_for_its_acknowledgement_and_other_keys_do_not() {
    check(
        ordered(),
        "keyed k a1 a2 a3
         keyed l b1 b2
         publish c
         pull -> a1 b1 c
         pull ->
         ack a1
         pull -> a2
         ack b1
         ack a2
         pull -> a3 b2",
    );
}

#[test]
fn a_nack_or_expiry_redelivers_a_key_from_there_in_order() {
    check(
        ordered(),
        "keyed k a1 a2 a3
         pull -> a1
         ack a1
         pull -> a2
         nack a2
         keyed k a4
         pull -> a2
         wait 10
         pull -> a2
         ack a2
         pull -> a3",
    );
}

#[test]
fn a_key_pauses_as_a_whole_while_its_first_message_backs_off() {
    check(
        Subscription { enable_message_ordering: true, ..retrying(10, 10) },
        "keyed k a1 a2
         pull -> a1
         nack a1
         pull ->
         wait 10
         pull -> a1
         ack a1
         pull -> a2",
    );
}

#[test]
fn without_ordering_a_key_means_nothing() {
    check(
        subscription(),
        "keyed k a1 a2
         pull -> a1 a2",
    );
}

#[test]
fn old_messages_are_dropped_after_the_retention() {
    let retention = Some(prost_types::Duration { seconds: 600, nanos: 0 });
    check(
        Subscription { message_retention_duration: retention, ..subscription() },
        "publish a
         wait 500
         publish b
         wait 101
         pull -> b",
    );
}
