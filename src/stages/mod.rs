//! The stage kinds, one file each, on top of `ml`; and the seam to whoever runs them.

pub mod registry;
pub mod rib;
pub mod task;

/// Every kind of this build.
pub fn registry() -> registry::Registry {
    registry::Registry::default().with::<rib::Rib>()
}
