//! The stage kinds, one file each, on top of `ml`, and the registry of all kinds.
//!
//! Each kind owns its `with:` block, its inputs and outputs, its cost, and what it computes. A kind
//! knows artifacts and blobs; it does not know keys, records, other nodes or the scheduler.
//!
//! ```text
//! interface     task registry price derived                               what a kind implements and runs with; all kinds; costs; shared work
//! shared parts  choice image_folder images known_classes library model options subset training  images and models between artifacts and ml; options of methods
//! kinds         every other file                                          the kind of that name
//! ```

pub mod arrays;
pub mod average;
pub mod checkpoint;
mod choice;
pub mod command;
pub mod compare;
pub mod concat;
pub mod corrupt;
pub mod dataset;
pub mod derived;
pub mod draw;
pub mod evaluate;
pub mod features;
pub mod finetune;
mod image_folder;
pub mod images;
mod known_classes;
mod library;
pub mod model;
pub mod options;
pub mod ot;
pub mod pretrain;
pub mod price;
pub mod registry;
pub mod report;
pub mod rib;
pub mod select;
mod subset;
pub mod task;
mod training;

/// Every kind of this build.
pub fn registry() -> registry::Registry {
    registry::Registry::default()
        .with::<arrays::Arrays>()
        .with::<average::Average>()
        .with::<checkpoint::Checkpoint>()
        .with::<command::Command>()
        .with::<compare::Compare>()
        .with::<concat::Concat>()
        .with::<corrupt::Corrupt>()
        .with::<dataset::DatasetStage>()
        .with::<draw::Draw>()
        .with::<evaluate::Evaluate>()
        .with::<features::Features>()
        .with::<finetune::Finetune>()
        .with::<ot::Ot>()
        .with::<pretrain::Pretrain>()
        .with::<report::Report>()
        .with::<rib::Rib>()
        .with::<select::Select>()
}
