//! Places at Slurm: one small job array for each class of workers, topped up as work becomes ready.
//!
//! There are no dependencies between jobs, and no trust in their numbers. The queue is asked once for
//! the whole run, seldom; the accounting only about jobs that disappeared. Everything works without it.
//!
//! ```text
//! launching launcher submission settings  the launcher; what sbatch is given; settings of the site
//! deciding  workers budget                what Slurm and the store say of workers; how often Slurm is asked (pure)
//! asking    ask queue facts               calls; what squeue, sacct and scontrol print
//! checking  check probe                   what a cluster would refuse; a job that looks around
//! ```

mod ask;
mod budget;
pub mod check;
pub mod facts;
mod launcher;
pub mod probe;
pub mod queue;
mod settings;
mod submission;
mod workers;

pub use budget::Calls;
pub use launcher::{Pace, SlurmLauncher};
pub use settings::{Request, SlurmSettings};
pub use workers::Patience;
