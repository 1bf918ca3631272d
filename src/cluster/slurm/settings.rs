//! How this site's Slurm is asked. No part of it enters a key.

use crate::cluster::place::PlaceClass;

/// The settings of a site.
#[derive(Clone, Debug, PartialEq)]
pub struct SlurmSettings {
    pub request: Request,
    /// Replaces fields of `request` for classes with GPUs.
    pub gpus: Request,
    /// Seconds: no job asks for more.
    pub max_time: Option<u64>,
    /// Seconds between two questions to Slurm about a queue that does not change.
    pub poll: u64,
}

/// What a job asks for besides the resources of its class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub partition: Option<String>,
    pub account: Option<String>,
    pub qos: Option<String>,
    pub constraint: Option<String>,
    /// The `--gres` of a class with GPUs; `{gpus}` is their number.
    pub gres: Option<String>,
    /// Seconds that a worker lives if no node needs more; 0: not set.
    pub time: u64,
    /// Bytes, for classes that name none.
    pub mem: Option<u64>,
    /// Further options of `sbatch`.
    pub options: Vec<String>,
    /// Shell lines that run before the worker: `module load cuda`.
    pub setup: Vec<String>,
}

impl Default for SlurmSettings {
    fn default() -> Self {
        Self {
            request: Request {
                time: 4 * 3600,
                ..Request::default()
            },
            gpus: Request::default(),
            max_time: None,
            poll: 60,
        }
    }
}

impl SlurmSettings {
    /// The request of a class. The lists of `gpus` are added to the others.
    pub fn request(&self, class: &PlaceClass) -> Request {
        let base = self.request.clone();
        if class.gpus == 0 {
            return base;
        }
        let own = self.gpus.clone();
        Request {
            partition: own.partition.or(base.partition),
            account: own.account.or(base.account),
            qos: own.qos.or(base.qos),
            constraint: own.constraint.or(base.constraint),
            gres: own.gres.or(base.gres),
            time: if own.time > 0 { own.time } else { base.time },
            mem: own.mem.or(base.mem),
            options: [base.options, own.options].concat(),
            setup: [base.setup, own.setup].concat(),
        }
    }
}
