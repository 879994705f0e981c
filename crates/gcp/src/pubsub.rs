//! Pub/Sub: publish messages, receive them, create what they go through.

mod admin;
mod outstanding;
mod publish;
mod receive;

pub use admin::{Admin, SubscriptionSpec};
pub use publish::{Message, Publish, Publisher};
pub use receive::{Deliveries, Delivery, Receive, Settle, SubscribeOptions, Subscriber};
