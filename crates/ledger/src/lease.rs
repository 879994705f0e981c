//! The lease: which worker pod reconciles. An object whose generation is
//! swapped; it avoids waste, and safety does not rest on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use branchline_gcp::storage::Objects;
use branchline_gcp::{Class, Error as GcpError};
use bytes::Bytes;
use tokio::time::Instant;

const OBJECT: &str = "lease";
const BYTES_MAX: u64 = 4 << 10;
/// Content of a lease that its holder gave back.
const FREE: &[u8] = b"free";

/// One pod's view of the lease.
pub struct Lease {
    storage: Arc<dyn Objects>,
    bucket: String,
    holder: String,
    length: Duration,
    state: Tenure,
}

/// What a pod knows. Time is its own monotonic clock, and nobody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenure {
    /// Nothing yet.
    Unknown,
    /// Another pod's, first seen in this generation at that instant.
    Watched { generation: i64, since: Instant },
    /// Ours, renewed at that instant.
    Held { generation: i64, renewed: Instant },
}

impl Lease {
    /// The lease in that bucket, taken over when it does not change for `length`.
    pub const fn new(
        storage: Arc<dyn Objects>,
        bucket: String,
        holder: String,
        length: Duration,
    ) -> Self {
        Self { storage, bucket, holder, length, state: Tenure::Unknown }
    }

    /// Renews the lease or tries to take it. Call it after each completed step
    /// and at no other time, so that a pod that is stuck loses it. It writes at
    /// most three times in its length: one object takes about one write a second.
    pub async fn hold(&mut self, now: Instant) -> Result<bool, GcpError> {
        self.state = match self.state {
            Tenure::Held { renewed, .. } if now < renewed + self.length / 3 => self.state,
            Tenure::Held { generation, .. } => self.swap(generation, now).await?,
            Tenure::Unknown | Tenure::Watched { .. } => self.watch(now).await?,
        };
        if self.state == Tenure::Unknown {
            // Clients retry by themselves: what is in our way may be our own.
            self.state = self.watch(now).await?;
        }
        Ok(matches!(self.state, Tenure::Held { .. }))
    }

    /// Gives the lease back, so that the next pod need not wait.
    pub async fn release(&mut self) -> Result<(), GcpError> {
        if let Tenure::Held { generation, .. } = std::mem::replace(&mut self.state, Tenure::Unknown)
        {
            let free = Bytes::from_static(FREE);
            match self.storage.replace(&self.bucket, OBJECT, generation, free).await {
                Ok(_) => {}
                Err(error) if error.class() == Class::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn watch(&mut self, now: Instant) -> Result<Tenure, GcpError> {
        let (object, content) = match self.storage.read(&self.bucket, OBJECT, None, BYTES_MAX).await
        {
            Ok(found) => found,
            Err(error) if error.class() == Class::NotFound => return self.create(now).await,
            Err(error) => return Err(error),
        };
        let generation = object.generation;
        if content == self.content() {
            return Ok(Tenure::Held { generation, renewed: now });
        }
        let stale = match self.state {
            Tenure::Watched { generation: seen, since } if seen == generation => {
                now.duration_since(since) >= self.length
            }
            Tenure::Unknown | Tenure::Watched { .. } | Tenure::Held { .. } => {
                self.state = Tenure::Watched { generation, since: now };
                false
            }
        };
        if !stale && content != FREE {
            return Ok(self.state);
        }
        self.swap(generation, now).await
    }

    async fn create(&self, now: Instant) -> Result<Tenure, GcpError> {
        let created =
            self.storage.create(&self.bucket, OBJECT, self.content(), BTreeMap::new()).await;
        match created {
            Ok(object) => Ok(Tenure::Held { generation: object.generation, renewed: now }),
            Err(error) if error.class() == Class::Conflict => Ok(Tenure::Unknown),
            Err(error) => Err(error),
        }
    }

    async fn swap(&self, generation: i64, now: Instant) -> Result<Tenure, GcpError> {
        match self.storage.replace(&self.bucket, OBJECT, generation, self.content()).await {
            Ok(object) => Ok(Tenure::Held { generation: object.generation, renewed: now }),
            Err(error) if matches!(error.class(), Class::Conflict | Class::NotFound) => {
                Ok(Tenure::Unknown)
            }
            Err(error) => Err(error),
        }
    }

    fn content(&self) -> Bytes {
        Bytes::from(self.holder.clone())
    }
}
