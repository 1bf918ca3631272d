//! Places for workers on other machines: starts processes elsewhere that run a worker's command line.
//!
//! A scheduler supplies places and nothing else: results are in the store, and a worker reports there
//! that it has joined. So no call here returns a result of a node, and everything that a scheduler
//! says about a job only explains why a worker is missing. Knows no store, workflow or engine.
//!
//! ```text
//! seam       place error logs           what the engine asks for and learns; failures that end a run
//! deciding   supply                     how many workers to ask for now (pure)
//! schedulers slurm command launch_line  Slurm; a launch line of the user
//! settings   site                       the file of a site
//! calls      call nonce                 programs of a scheduler; names that nothing else has
//! ```

mod call;
mod command;
mod error;
mod launch_line;
mod logs;
mod nonce;
mod place;
mod site;
pub mod slurm;
pub mod supply;

pub use call::Programs;
pub use command::{CommandLauncher, LaunchSettings};
pub use error::ClusterError;
pub use launch_line::{LaunchLine, PLACEHOLDERS};
pub use logs::tail;
pub use place::{Demand, Joined, Launcher, Notice, NoticeKind, PlaceClass, Presence, WorkerLine};
pub use site::{CommandSettings, Site, SiteError};
