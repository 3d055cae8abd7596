//! Devices: where a run's arithmetic may take place.

use clap::ValueEnum;
use kith_burn::{Backend, BurnError, Opened};

/// Where the arithmetic runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The native engine, on all cores
    Cpu,
    /// Any GPU, through WebGPU (a build with `--features wgpu`)
    Wgpu,
    /// An NVIDIA GPU (a build with `--features cuda`)
    Cuda,
}

/// A device that is there.
#[derive(Clone, Debug)]
pub enum OpenDevice {
    /// The processor.
    Cpu,
    /// What burn reaches.
    Gpu(Opened),
}

impl Device {
    /// Opens the device.
    ///
    /// # Errors
    /// A device that is not in this build, or of which the machine has none.
    pub fn open(self) -> Result<OpenDevice, BurnError> {
        match self {
            Self::Cpu => Ok(OpenDevice::Cpu),
            Self::Wgpu => Backend::Wgpu.open().map(OpenDevice::Gpu),
            Self::Cuda => Backend::Cuda.open().map(OpenDevice::Gpu),
        }
    }
}

impl OpenDevice {
    /// The device as a manifest says it: `cpu`, or how it is reached and the adapter's own name.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            Self::Gpu(opened) => format!("{}: {}", opened.backend().name(), opened.name()),
        }
    }

    /// The device as the command line takes it.
    #[must_use]
    pub const fn flag(&self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu(opened) => opened.backend().name(),
        }
    }

    /// Determinism grade of a run: D0, bit-identical on this binary for any thread count; D3, alike up to rounding.
    #[must_use]
    pub const fn grade(&self) -> &'static str {
        match self {
            Self::Cpu => "D0",
            Self::Gpu(_) => "D3",
        }
    }
}
