//! Distances between sets of points, labelled or not, by optimal transport and its relatives.
//!
//! Takes plain data (row-major points, labels, weights) and returns plain results; knows nothing
//! about workflows, models or stages. Every sum is f64; large costs may be stored in f32. Work is
//! divided into a fixed number of chunks, so results are bit-identical for any number of threads;
//! it runs in the rayon pool of the caller. A lack of convergence is an error, and each result
//! states how far it converged.
//!
//! ```
//! use ribflow_ml::Unobserved;
//! use ribflow_ml::ot::{Labelled, Otdd, Points};
//!
//! let a = Points::new(vec![0.0, 0.0, 1.0, 0.0, 0.0, 3.0, 1.0, 3.0], 2)?;
//! let b = Points::new(vec![2.0, 0.0, 3.0, 0.0, 2.0, 3.0, 3.0, 3.0], 2)?;
//! let a = Labelled::new(a, vec![0, 0, 1, 1])?;
//! let b = Labelled::new(b, vec![0, 0, 1, 1])?;
//! let found = Otdd::default().between(&a, &b, &Unobserved)?;
//! // Both features and classes are moved by (2, 0): 4 for the points and 4 for their classes.
//! assert!((found.distance() - 8f64.sqrt()).abs() < 1e-5);
//! # Ok::<(), ribflow_ml::Error>(())
//! ```

mod cost;
mod digits;
pub mod distance;
mod divergence;
mod exact;
mod exponents;
mod gaussian;
mod kernel;
mod line;
mod mass;
mod near;
mod otdd;
mod pairs;
mod pairwise;
mod points;
mod prefetch;
mod real;
mod reference;
mod sinkhorn;
mod sweep;

pub use cost::{AUTO_DOUBLE, Cost, LabelCost, Precision};
pub use divergence::{Divergence, Mode, SinkhornDistance, Term};
pub use exact::{Exact, ExactTransport, Move, Power, wasserstein};
pub use gaussian::{Gaussian, frechet};
pub use line::{
    LabelProjections, Sliced, directions, s_otdd, sliced, sliced_weighted, wasserstein_1d,
};
pub use otdd::{ClassDistances, LabelDistance, Otdd, OtddResult};
pub use pairwise::{Mmd, energy, mmd};
pub use points::{Labelled, Points, normalised};
pub use reference::{Schedule, box_diameter};
pub use sinkhorn::{Sinkhorn, Transport};
