//! Pooling, and planes turned into rows.

use burn::tensor::module::{max_pool2d_with_indices, max_pool2d_with_indices_backward};
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Int, Tensor};
use kith_engine::plan::{Form, Value, Window};

/// Images as pooling takes them: agents' channels are samples, images are channels, which pooling keeps apart alike.
fn images(x: Tensor<3>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [agents, channels, numbers] = x.dims();
    x.reshape([agents * channels, numbers / (height * width), height, width])
}

fn planes(x: Tensor<4>, agents: usize) -> Tensor<3> {
    let [rows, batch, height, width] = x.dims();
    x.reshape([agents, rows / agents, batch * height * width])
}

/// The largest of every window, and its pixel.
pub(crate) fn max_pool(window: Window, x: Tensor<3>) -> (Tensor<3>, Tensor<4, Int>) {
    let agents = x.dims()[0];
    let options = MaxPoolOptions::new(window.kernel).with_stride([window.stride; 2]).with_padding([window.padding; 2]);
    let (y, maxima) = max_pool2d_with_indices(images(x, window.image), options);
    (planes(y, agents), maxima)
}

/// Every gradient goes to the pixel that was the largest.
pub(crate) fn max_pool_back(window: Window, x: Tensor<3>, maxima: Tensor<4, Int>, delta: Tensor<3>) -> Tensor<3> {
    let agents = x.dims()[0];
    let before = max_pool2d_with_indices_backward(
        images(x, window.image),
        window.kernel,
        [window.stride; 2],
        [window.padding; 2],
        [1; 2],
        false,
        images(delta, window.places),
        maxima,
    );
    planes(before, agents)
}

/// Multiplies the pixels of every image by a matrix: the mean of windows, or its way back.
pub(crate) fn by_image(x: Tensor<3>, matrix: Tensor<2>) -> Tensor<3> {
    let [agents, channels, numbers] = x.dims();
    let [from, to] = matrix.dims();
    let images = numbers / from;
    x.reshape([agents * channels * images, from]).matmul(matrix).reshape([agents, channels, images * to])
}

/// Rows `[batch, channels · pixels]` become planes `[channels, batch · pixels]`, or the other way round; `from` is what `x` is.
pub(crate) fn turn(from: &Value, batch: usize, x: Tensor<3>) -> Tensor<3> {
    let agents = x.dims()[0];
    let (channels, pixels) = (from.channels(), from.pixels());
    match from.form {
        Form::Rows => {
            x.reshape([agents, batch, channels, pixels]).swap_dims(1, 2).reshape([agents, channels, batch * pixels])
        }
        Form::Planes => {
            x.reshape([agents, channels, batch, pixels]).swap_dims(1, 2).reshape([agents, batch, channels * pixels])
        }
    }
}
