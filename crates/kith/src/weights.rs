//! Weights of one agent as a safetensors file: the tensors of the network's layout under their names, with the shapes that
//! PyTorch gives them.

use std::collections::HashMap;
use std::path::Path;

use kith_core::{Layout, Network};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use thiserror::Error;

/// Why a file of weights cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The system refused.
    #[error("cannot {operation} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a safetensors file.
    #[error("no safetensors file: {0}")]
    Format(#[from] SafeTensorError),
    /// The network does not fit together.
    #[error(transparent)]
    Network(#[from] kith_core::NetworkError),
    /// The network has a tensor that the file has not.
    #[error("tensor `{name}` is missing; the file has {}", list(.found))]
    Missing {
        /// The tensor.
        name: String,
        /// What is there.
        found: Vec<String>,
    },
    /// The file has a tensor that the network has not.
    #[error("tensor `{name}` has no place in the network, which has {}", list(.accepted))]
    Unknown {
        /// The tensor.
        name: String,
        /// What the network has.
        accepted: Vec<String>,
    },
    /// A tensor has another shape.
    #[error("tensor `{name}` has shape {found:?}; the network's is {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The network's.
        expected: Vec<usize>,
        /// The file's.
        found: Vec<usize>,
    },
    /// A tensor holds other numbers than `f32`.
    #[error("tensor `{name}` holds {found:?}; F32 is accepted")]
    Kind {
        /// The tensor.
        name: String,
        /// What it holds.
        found: Dtype,
    },
    /// A tensor holds a number that is none.
    #[error("tensor `{name}` holds a number that is not finite")]
    NotFinite {
        /// The tensor.
        name: String,
    },
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Reads a whole row of the network from a file's bytes: every tensor, and no other.
///
/// # Errors
/// The first tensor that does not fit, by name.
pub fn read(network: &Network, bytes: &[u8]) -> Result<Vec<f32>, WeightsError> {
    let layout = network.layout()?;
    let file = SafeTensors::deserialize(bytes)?;
    let mut found: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
    found.sort_unstable();
    let mut row = vec![0.0; layout.len()];
    for (tensor, expected) in layout.tensors.iter().zip(network.tensor_shapes(&layout)) {
        let name = || tensor.name.clone();
        let Ok(view) = file.tensor(&tensor.name) else {
            return Err(WeightsError::Missing { name: name(), found });
        };
        if view.dtype() != Dtype::F32 {
            return Err(WeightsError::Kind { name: name(), found: view.dtype() });
        }
        if view.shape() != expected {
            return Err(WeightsError::Shape { name: name(), expected, found: view.shape().to_vec() });
        }
        let (words, _) = view.data().as_chunks::<4>();
        for (value, word) in row[tensor.range()].iter_mut().zip(words) {
            *value = f32::from_le_bytes(*word);
            if !value.is_finite() {
                return Err(WeightsError::NotFinite { name: name() });
            }
        }
    }
    let known = |name: &String| layout.tensors.iter().any(|tensor| tensor.name == *name);
    match found.iter().find(|name| !known(name)) {
        Some(name) => Err(WeightsError::Unknown { name: name.clone(), accepted: names(&layout) }),
        None => Ok(row),
    }
}

fn names(layout: &Layout) -> Vec<String> {
    layout.tensors.iter().map(|tensor| tensor.name.clone()).collect()
}

/// Writes a whole row of the network; `about` becomes the metadata `kith`.
///
/// # Errors
/// What the system says.
pub fn write(network: &Network, row: &[f32], about: &str, path: &Path) -> Result<(), WeightsError> {
    let layout = network.layout()?;
    let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut views = Vec::with_capacity(layout.tensors.len());
    for (tensor, shape) in layout.tensors.iter().zip(network.tensor_shapes(&layout)) {
        let range = tensor.range();
        views.push((tensor.name.clone(), TensorView::new(Dtype::F32, shape, &bytes[4 * range.start..4 * range.end])?));
    }
    // One entry: the order of several would change from run to run.
    let about = HashMap::from([("kith".to_owned(), about.to_owned())]);
    let file = safetensors::serialize(views, Some(about))?;
    let io = |source| WeightsError::Io { operation: "write", path: path.to_owned(), source };
    let partial = path.with_extension("partial");
    std::fs::write(&partial, file).and_then(|()| std::fs::rename(&partial, path)).map_err(io)
}

/// Reads a whole row of the network from a file.
///
/// # Errors
/// What the system says, and the first tensor that does not fit.
pub fn read_file(network: &Network, path: &Path) -> Result<Vec<f32>, WeightsError> {
    let io = |source| WeightsError::Io { operation: "read", path: path.to_owned(), source };
    read(network, &std::fs::read(path).map_err(io)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_core::{Head, Layer};

    fn network(hidden: usize) -> Network {
        let mut network = Network::mlp(36, &[hidden], 3, true, Head::Shared, 1);
        network.input = [1, 6, 6];
        network
            .layers
            .insert(0, Layer::Conv { in_channels: 1, out_channels: 4, kernel: 3, stride: 2, padding: 0, bias: true });
        network.layers.insert(1, Layer::Flatten);
        network.layers[2] = Layer::Linear { inputs: 16, outputs: hidden, bias: true };
        network
    }

    fn written(network: &Network) -> (tempfile::TempDir, std::path::PathBuf, Vec<f32>) {
        let row: Vec<f32> = (0..network.layout().expect("it fits").len()).map(|at| at as f32 - 7.5).collect();
        let folder = tempfile::TempDir::new().expect("there is room");
        let path = folder.path().join("weights.safetensors");
        write(network, &row, "about", &path).expect("it can be written");
        (folder, path, row)
    }

    #[test]
    fn weights_come_back_by_name_and_shape() {
        let network = network(5);
        let (_folder, path, row) = written(&network);
        assert_eq!(read_file(&network, &path).expect("it fits"), row);
        let bytes = std::fs::read(&path).expect("it is there");
        let file = SafeTensors::deserialize(&bytes).expect("it is safetensors");
        assert_eq!(file.tensor("conv1.weight").expect("it is there").shape(), [4, 1, 3, 3]);
        assert_eq!(file.tensor("fc2.bias").expect("it is there").shape(), [3]);
    }

    #[test]
    fn a_tensor_that_does_not_fit_is_named() {
        let (_folder, path, _) = written(&network(5));
        let error = read_file(&network(6), &path).expect_err("the layer is wider").to_string();
        assert_eq!(error, "tensor `fc1.weight` has shape [5, 16]; the network's is [6, 16]");
        let mut other = network(5);
        other.head_bias = false;
        let error = read_file(&other, &path).expect_err("a bias too many").to_string();
        assert!(error.starts_with("tensor `fc2.bias` has no place in the network"), "{error}");
        let (_folder, path, _) = written(&other);
        let error = read_file(&network(5), &path).expect_err("a bias is missing").to_string();
        assert!(error.starts_with("tensor `fc2.bias` is missing"), "{error}");
        assert!(matches!(read(&other, b"not safetensors"), Err(WeightsError::Format(_))));
    }
}
