//! What is the same for all agents and stays on the device between visits: bases, and where patches come from.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Int, Tensor};
use kith_core::Matrix;
use kith_engine::plan::Window;

use crate::engine::block::indices;
use crate::engine::rows::tensor;

/// Numbers kept before all are forgotten: geometries change with every task.
const KEPT: usize = 1 << 26;

/// Where the numbers of patches come from, and the way back. Index `pixels` is a zero that stands behind the pixels.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    /// For each of `[kernel, batch · places]`: the pixel among `[batch · pixels]`.
    pub(crate) patches: Tensor<1, Int>,
    /// For each of `[reach, batch · pixels]`: the number among `[kernel, batch · places]`.
    pub(crate) pixels: Tensor<1, Int>,
    /// Most patches that one pixel is in.
    pub(crate) reach: usize,
}

/// A matrix, and the same on the device.
type Uploaded = (Matrix, Tensor<2>);

/// The cache of an engine.
#[derive(Debug)]
pub(crate) struct Constants {
    device: Device,
    matrices: Mutex<Vec<Uploaded>>,
    tables: Mutex<Vec<((Window, usize), Tables)>>,
    means: Mutex<Vec<(Window, Tensor<2>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries are pushed whole, so a thread that panicked leaves a sound list.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Constants {
    pub(crate) fn new(device: Device) -> Self {
        Self { device, matrices: Mutex::default(), tables: Mutex::default(), means: Mutex::default() }
    }

    pub(crate) const fn device(&self) -> &Device {
        &self.device
    }

    /// The matrix on the device. The cache holds the host's numbers too, so that one address is one matrix.
    pub(crate) fn matrix(&self, matrix: &Matrix) -> Tensor<2> {
        let mut known = lock(&self.matrices);
        let same =
            |(other, _): &&Uploaded| std::ptr::eq(other.as_slice(), matrix.as_slice()) && other.cols() == matrix.cols();
        if let Some((_, uploaded)) = known.iter().find(same) {
            return uploaded.clone();
        }
        if known.iter().map(|(matrix, _)| matrix.as_slice().len()).sum::<usize>() > KEPT {
            known.clear();
        }
        let uploaded = tensor(matrix.as_slice().to_vec(), [matrix.rows(), matrix.cols()], &self.device);
        known.push((matrix.clone(), uploaded.clone()));
        uploaded
    }

    /// The tables of a window that moves over `batch` images.
    pub(crate) fn tables(&self, window: Window, batch: usize) -> Tables {
        let mut known = lock(&self.tables);
        if let Some((_, tables)) = known.iter().find(|(key, _)| *key == (window, batch)) {
            return tables.clone();
        }
        let numbers = |tables: &Tables| tables.patches.dims()[0] + tables.pixels.dims()[0];
        if known.iter().map(|(_, tables)| numbers(tables)).sum::<usize>() > KEPT {
            known.clear();
        }
        let tables = self.make_tables(window, batch);
        known.push(((window, batch), tables.clone()));
        tables
    }

    fn make_tables(&self, window: Window, batch: usize) -> Tables {
        let (pixels, area) = (window.pixels(), window.area());
        let kernel = window.kernel[0] * window.kernel[1];
        let mut patches = Vec::with_capacity(kernel * batch * area);
        let mut meets: Vec<Vec<usize>> = vec![Vec::new(); pixels * batch];
        for at in 0..kernel {
            for image in 0..batch {
                for place in 0..area {
                    let pixel = window.pixel(place, at).map(|pixel| image * pixels + pixel);
                    if let Some(pixel) = pixel {
                        meets[pixel].push(patches.len());
                    }
                    patches.push(pixel.unwrap_or(pixels * batch));
                }
            }
        }
        let reach = meets.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let nothing = patches.len();
        let back = |nth: usize| meets.iter().map(move |meets| meets.get(nth).copied().unwrap_or(nothing));
        let pixels: Vec<usize> = (0..reach).flat_map(back).collect();
        Tables { patches: indices(&patches, &self.device), pixels: indices(&pixels, &self.device), reach }
    }

    /// The matrix `[pixels, places]` that takes the mean of every window.
    pub(crate) fn mean_of_windows(&self, window: Window) -> Tensor<2> {
        let mut known = lock(&self.means);
        if let Some((_, mean)) = known.iter().find(|(key, _)| *key == window) {
            return mean.clone();
        }
        let (pixels, area) = (window.pixels(), window.area());
        let kernel = window.kernel[0] * window.kernel[1];
        let mut mean = vec![0.0; pixels * area];
        for place in 0..area {
            for pixel in (0..kernel).filter_map(|at| window.pixel(place, at)) {
                mean[pixel * area + place] = 1.0 / kernel as f32;
            }
        }
        let mean = tensor(mean, [pixels, area], &self.device);
        known.push((window, mean.clone()));
        mean
    }
}
