//! Kinds, blobs and progress that do nothing.

use super::*;

pub(super) struct Fake(pub(super) &'static str);

pub(super) struct FakeParameters(pub(super) &'static str);

impl Kind for Fake {
    fn name(&self) -> &'static str {
        self.0
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "A kind in name only."
    }

    fn schema(&self) -> Value {
        json!({})
    }

    fn parse(&self, _with: &Value) -> Result<Box<dyn Parameters>, Vec<ParameterProblem>> {
        Ok(Box::new(FakeParameters(self.0)))
    }

    fn comparison(&self) -> Comparison {
        Comparison::BitEqual
    }

    fn meaning(&self) -> Meaning {
        // That of the kind that it stands for.
        let real = ribflow::stages::registry();
        let real = real.kinds().get(self.0);
        real.map_or(Meaning::Plain, |kind| kind.meaning())
    }

    fn usual(&self) -> Box<dyn Parameters> {
        Box::new(FakeParameters(self.0))
    }
}

impl Parameters for FakeParameters {
    fn canonical(&self) -> Value {
        json!({})
    }

    fn inputs(&self) -> Vec<InputSpec> {
        Vec::new()
    }

    fn open_inputs(&self) -> Option<&'static [PortType]> {
        Some(&[])
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        let mut outputs = vec![OutputSpec::new("metrics", PortType::Metrics)];
        if self.0 == "report" {
            outputs.push(OutputSpec::new("relation", PortType::Table));
            outputs.push(OutputSpec::new("correlation", PortType::Table));
        }
        outputs
    }

    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }

    fn withholds(&self) -> ribflow::workflow::kind::Withholds {
        ribflow::workflow::kind::Withholds::Nothing
    }

    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        Vec::new()
    }
}

pub(super) struct NoBlobs;

impl Blobs for NoBlobs {
    fn read(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        Err(BlobError::Missing(*digest))
    }

    fn path(&self, digest: &Digest) -> Result<PathBuf, BlobError> {
        Err(BlobError::Missing(*digest))
    }

    fn write(&self, bytes: &[u8]) -> Result<Blob, BlobError> {
        Err(BlobError::Missing(Digest::of(bytes)))
    }

    fn write_file(&self, path: &Path) -> Result<Blob, BlobError> {
        Err(BlobError::Io {
            path: path.to_path_buf(),
            source: std::io::ErrorKind::Unsupported.into(),
        })
    }
}

pub(super) struct Silent;

impl Progress for Silent {
    fn advance(&self, _done: u64, _total: u64, _unit: &'static str) {}

    fn log(&self, _line: &str) {}
}
