//! Which workers can run a node: classes of places, by what nodes require.

use crate::cluster::PlaceClass;
use crate::digest::Digest;
use crate::workflow::graph::Node;

/// Memory of a class is rounded up to a multiple of this many bytes.
const MEMORY_STEP: u64 = 1 << 30;

/// The class of workers that can run a node. GPUs count only where the device of the run is one.
pub fn place_class(node: &Node, on_gpu: bool) -> PlaceClass {
    let resources = &node.resources;
    let cpus = resources.cpus.unwrap_or(1).max(1);
    let mem = resources.mem.map(|mem| mem.next_multiple_of(MEMORY_STEP));
    let gpus = resources.gpus.filter(|_| on_gpu).unwrap_or(0);
    let mut name = format!("c{cpus}");
    if let Some(mem) = mem {
        name += &format!("-m{}", mem / MEMORY_STEP);
    }
    if gpus > 0 {
        name += &format!("-g{gpus}");
    }
    if resources.dedicated {
        name += &format!("-d{}", &Digest::of(node.id.as_bytes()).to_hex()[..8]);
    }
    PlaceClass {
        name,
        cpus,
        mem,
        gpus,
        time: resources.time,
        only: resources.dedicated.then(|| node.id.clone()),
    }
}
