//! The life of a run: facts, fold, store, queue and lease; requests from outside; dead letters.

mod archive;
mod bucket;
mod fact;
mod grounds;
mod lease;
mod letter;
mod name;
mod newest;
mod pause;
mod places;
mod queue;
mod request;
mod run;
mod state;
mod store;
mod tokens;
mod trail;
mod verify;

pub use archive::{Acted, Archive, Filed, FiledAct, LETTER_BYTES_MAX};
pub use fact::{Body, DecodeError, Entry, Fact, Intent, Reopened};
pub use grounds::{Approval, Decided, Grounds, MergeRequest, Proven, Wanted};
pub use lease::Lease;
pub use letter::{About, Act, Base64, Deed, Letter, OPERATOR, Origin, Role, Sent};
pub use name::FactName;
pub use newest::{Line, Newest, Newests};
pub use pause::{Applied, Order, Pause, Pauses};
pub use places::{Place, Places};
pub use queue::{Listed, Queue, Queued, Ticket};
pub use request::{Answer, Asked, RequestName, Requests, Verdict};
pub use run::{FoldError, Run};
pub use state::{Ending, State};
pub use store::{Appended, Author, Clock, Error, History, Store};
pub use tokens::Tokens;
pub use trail::{Stored, Trail};
pub use verify::{Fault, Problem, Witness, verify};
