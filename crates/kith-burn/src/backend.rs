//! Backends: what may be in a build, and what is found on the machine.

use crate::error::BurnError;

/// A way to reach a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// burn's own CPU backend: the reference in tests, not a way to be fast.
    Flex,
    /// GPUs through wgpu, or a software rasteriser that plays one.
    Wgpu,
    /// NVIDIA GPUs through CUDA.
    Cuda,
}

/// A device to run on. Only a build with a backend has any.
#[derive(Clone, Debug)]
pub struct Opened {
    #[cfg(feature = "engine")]
    pub(crate) device: burn::tensor::Device,
    backend: Backend,
    name: String,
}

impl Opened {
    /// The adapter as it names itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is reached.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.backend
    }
}

impl Backend {
    /// The name, which is the cargo feature's too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    /// Opens the backend's best device.
    ///
    /// # Errors
    /// A backend that is not in this build, or that finds nothing to run on.
    pub fn open(self) -> Result<Opened, BurnError> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Opened {
                device: burn::tensor::Device::flex(),
                backend: self,
                name: "burn-flex on the CPU".to_owned(),
            }),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => {
                use burn::tensor::{Device, DeviceKind, DeviceType};
                let needs = "a GPU with a Vulkan, Metal, DirectX or OpenGL driver, or a software one (Mesa's lavapipe)";
                gpu(self, DeviceType::Wgpu, || Device::wgpu(DeviceKind::DefaultDevice), needs)
            }
            #[cfg(feature = "cuda")]
            Self::Cuda => {
                use burn::tensor::{Device, DeviceType};
                gpu(self, DeviceType::Cuda, || Device::cuda(0), "an NVIDIA GPU and its CUDA driver")
            }
            #[cfg(not(all(feature = "flex", feature = "wgpu", feature = "cuda")))]
            missing => Err(BurnError::NotBuilt { name: missing.name() }),
        }
    }
}

/// The device, if its backend lists any: opening one that is not there would panic.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn gpu(
    backend: Backend,
    kind: burn::tensor::DeviceType,
    open: impl Fn() -> burn::tensor::Device,
    needs: &'static str,
) -> Result<Opened, BurnError> {
    if burn::tensor::Device::enumerate(kind).into_vec().is_empty() {
        return Err(BurnError::NoAdapter { name: backend.name(), needs });
    }
    let device = open();
    let name = device.identity().map_or_else(|| format!("{device:?}"), |identity| identity.name);
    Ok(Opened { device, backend, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_is_not_built_says_how_to_build_it() {
        let absent = [
            (Backend::Flex, cfg!(feature = "flex")),
            (Backend::Wgpu, cfg!(feature = "wgpu")),
            (Backend::Cuda, cfg!(feature = "cuda")),
        ];
        for (backend, built) in absent {
            if !built {
                assert_eq!(backend.open().err(), Some(BurnError::NotBuilt { name: backend.name() }));
            }
        }
    }
}
