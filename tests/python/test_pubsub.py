"""Google's own Pub/Sub client against the embedded Pub/Sub."""

import threading
import uuid

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2, field_mask_pb2

PROJECT = "python-conformance"
WAIT = 20


# The client reads PUBSUB_EMULATOR_HOST itself; the fixture only says when it is missing.
@pytest.fixture(name="publisher")
def publisher_client(pubsub_emulator_host):
    options = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    with pubsub_v1.PublisherClient(publisher_options=options) as client:
        yield client


@pytest.fixture(name="subscriber")
def subscriber_client(pubsub_emulator_host):
    with pubsub_v1.SubscriberClient() as client:
        yield client


@pytest.fixture(name="topic")
def fresh_topic(publisher):
    name = publisher.topic_path(PROJECT, f"topic-{uuid.uuid4().hex}")
    publisher.create_topic(name=name)
    yield name
    publisher.delete_topic(topic=name)


def subscribe(subscriber, topic, **settings):
    name = subscriber.subscription_path(PROJECT, f"sub-{uuid.uuid4().hex}")
    subscriber.create_subscription(request={"name": name, "topic": topic, **settings})
    return name


def pull(subscriber, subscription, count=1):
    """Pulls until that many messages came; the service may give fewer at a time."""
    received = []
    while len(received) < count:
        request = {"subscription": subscription, "max_messages": count - len(received)}
        received += subscriber.pull(request=request, timeout=WAIT).received_messages
    return received


def test_a_message_arrives_with_its_attributes_and_is_gone_once_acknowledged(
    publisher, subscriber, topic
):
    subscription = subscribe(subscriber, topic)
    sent = publisher.publish(topic, b"data", kind="greeting").result(timeout=WAIT)
    (received,) = pull(subscriber, subscription)
    assert received.message.message_id == sent
    assert received.message.data == b"data"
    assert dict(received.message.attributes) == {"kind": "greeting"}
    assert received.delivery_attempt == 0  # There is no dead-letter policy.
    subscriber.acknowledge(subscription=subscription, ack_ids=[received.ack_id])
    request = {"subscription": subscription, "max_messages": 1, "return_immediately": True}
    assert not subscriber.pull(request=request, timeout=WAIT).received_messages


def test_a_stream_delivers_what_is_published_while_it_is_open(publisher, subscriber, topic):
    subscription = subscribe(subscriber, topic)
    seen, everything = [], threading.Event()

    def receive(message):
        seen.append(message.data)
        message.ack()
        if len(seen) >= 50:
            everything.set()

    stream = subscriber.subscribe(subscription, callback=receive)
    futures = [publisher.publish(topic, str(number).encode()) for number in range(50)]
    assert all(future.result(timeout=WAIT) for future in futures)
    assert everything.wait(WAIT)
    stream.cancel()
    stream.result(timeout=WAIT)
    assert sorted(seen, key=int) == [str(number).encode() for number in range(50)]


def test_messages_of_a_key_arrive_in_order(publisher, subscriber, topic):
    subscription = subscribe(subscriber, topic, enable_message_ordering=True)
    seen, everything = [], threading.Event()

    def receive(message):
        seen.append(int(message.data))
        message.ack()
        if len(seen) == 20:
            everything.set()

    for number in range(20):
        publisher.publish(topic, str(number).encode(), ordering_key="one")
    stream = subscriber.subscribe(subscription, callback=receive)
    assert everything.wait(WAIT)
    stream.cancel()
    stream.result(timeout=WAIT)
    assert seen == list(range(20))


def test_a_refused_message_comes_again_and_its_attempts_are_counted(publisher, subscriber, topic):
    dead = publisher.create_topic(name=f"{topic}-dead").name
    graveyard = subscribe(subscriber, dead)
    policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
    subscription = subscribe(subscriber, topic, dead_letter_policy=policy)
    publisher.publish(topic, b"poison", kind="poison").result(timeout=WAIT)
    for attempt in range(1, 6):
        (received,) = pull(subscriber, subscription)
        assert received.delivery_attempt == attempt
        subscriber.modify_ack_deadline(
            subscription=subscription, ack_ids=[received.ack_id], ack_deadline_seconds=0
        )
    (letter,) = pull(subscriber, graveyard)
    attributes = dict(letter.message.attributes)
    assert letter.message.data == b"poison"
    assert attributes["kind"] == "poison"
    assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert attributes["CloudPubSubDeadLetterSourceSubscription"] == subscription.split("/")[-1]
    assert attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] == PROJECT
    publisher.delete_topic(topic=dead)


def test_a_filter_keeps_the_others_out(publisher, subscriber, topic):
    subscription = subscribe(subscriber, topic, filter='attributes.kind = "wanted"')
    publisher.publish(topic, b"no", kind="other").result(timeout=WAIT)
    publisher.publish(topic, b"yes", kind="wanted").result(timeout=WAIT)
    (received,) = pull(subscriber, subscription)
    assert received.message.data == b"yes"


def test_a_lease_is_extended_and_runs_out(publisher, subscriber, topic):
    subscription = subscribe(subscriber, topic, ack_deadline_seconds=10)
    publisher.publish(topic, b"leased").result(timeout=WAIT)
    (first,) = pull(subscriber, subscription)
    subscriber.modify_ack_deadline(
        subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=1
    )
    (second,) = pull(subscriber, subscription)
    assert second.message.message_id == first.message.message_id
    subscriber.acknowledge(subscription=subscription, ack_ids=[second.ack_id])


def test_topics_and_subscriptions_are_listed_read_changed_and_deleted(publisher, subscriber, topic):
    subscription = subscribe(subscriber, topic)
    parent = f"projects/{PROJECT}"
    assert topic in [it.name for it in publisher.list_topics(project=parent)]
    assert list(publisher.list_topic_subscriptions(topic=topic)) == [subscription]
    changed = subscriber.update_subscription(
        subscription={
            "name": subscription,
            "ack_deadline_seconds": 42,
            "retry_policy": {"minimum_backoff": duration_pb2.Duration(seconds=7)},
        },
        update_mask=field_mask_pb2.FieldMask(paths=["ack_deadline_seconds", "retry_policy"]),
    )
    assert changed.ack_deadline_seconds == 42
    read = subscriber.get_subscription(subscription=subscription)
    assert read.retry_policy.minimum_backoff.seconds == 7
    subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(exceptions.NotFound):
        subscriber.get_subscription(subscription=subscription)


def test_what_is_not_there_or_there_already_is_refused_as_google_does(publisher, subscriber, topic):
    with pytest.raises(exceptions.AlreadyExists):
        publisher.create_topic(name=topic)
    with pytest.raises(exceptions.NotFound):
        publisher.publish(f"{topic}-none", b"lost").result(timeout=WAIT)
    with pytest.raises(exceptions.NotFound):
        subscribe(subscriber, f"{topic}-none")
    with pytest.raises(exceptions.InvalidArgument):
        publisher.create_topic(name="projects/p/topics/x")
