//! Everything outside this machine's store: other stores, trust, bundles, and the lock file with the
//! expected identity of outside data.
//!
//! It does not know how nodes run. It transfers names, records and blobs to and from other stores
//! and verifies what arrives. docs/sharing.md describes it for users, docs/protocol.md for servers.
//!
//! ```text
//! the seam    transport names probe options                trait Remote; names at a remote; what a remote can do
//! remotes     address folder http bucket aws_profile       from a URL to a remote: folders, web servers, buckets; AWS credentials
//! robustness  patience limited                             retries, size limits
//! exchange    exchange user_profile record_check           finds, fetches and pushes records and blobs; opens the configured remotes
//! trust       keys signing statement trust revocations     own keys, signatures, trusted labs, revocations
//! this user   config home own_stores projects              configuration file, folders, own stores; paths of workflows
//! imports     bundle imported mark                         one-file archives; digests of imported content; the mark on its folder
//! lock file   lock                                         digests and commits beside a workflow
//! server      serve                                        `ribflow serve`: a store over HTTP
//! ```

pub mod address;
mod aws_profile;
pub mod bucket;
pub mod bundle;
pub mod config;
pub mod exchange;
pub mod folder;
pub mod home;
pub mod http;
pub mod imported;
pub mod keys;
mod limited;
pub mod lock;
pub mod mark;
pub mod names;
pub mod options;
pub mod own_stores;
pub mod patience;
pub mod probe;
pub mod projects;
pub mod record_check;
pub mod revocations;
pub mod serve;
pub mod signing;
pub mod statement;
pub mod transport;
pub mod trust;
pub mod user_profile;

pub use exchange::{Exchange, Peer};
pub use transport::{Remote, RemoteError};
