//! Networks written out plainly in f64, sample by sample and place by place.

use kith_core::{Layer, Layout, Shape};

/// The values of a minibatch, `[sample][channel · height · width]`, and their shape.
#[derive(Clone)]
pub struct Values {
    pub shape: Shape,
    pub samples: Vec<Vec<f64>>,
}

/// Reads parameters in the order of a layout.
pub struct Reader<'a> {
    pub layout: &'a Layout,
    pub row: &'a [f64],
    pub tensor: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> &'a [f64] {
        self.tensor += 1;
        &self.row[self.layout.tensors[self.tensor - 1].range()]
    }
}

pub fn linear(reader: &mut Reader<'_>, bias: bool, outputs: usize, values: &Values) -> Values {
    let weight = reader.next();
    let bias = if bias { reader.next().to_vec() } else { vec![0.0; outputs] };
    let each = |x: &Vec<f64>| {
        let dot = |(row, bias): (&[f64], &f64)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias;
        weight.chunks(x.len()).zip(&bias).map(dot).collect()
    };
    Values { shape: [outputs, 1, 1], samples: values.samples.iter().map(each).collect() }
}

/// For every channel and place of `out`, what `f(sample, pixels of the window: (channel, pixel, place in the window))` says.
fn windows(
    values: &Values,
    out: Shape,
    (kernel, stride, padding): ([usize; 2], usize, usize),
    f: impl Fn(&[f64], usize, &[(usize, usize)]) -> f64,
) -> Values {
    let [_, height, width] = values.shape;
    let samples = values.samples.iter().map(|sample| {
        let mut result = Vec::new();
        for channel in 0..out[0] {
            for y in 0..out[1] {
                for x in 0..out[2] {
                    let mut pixels = Vec::new();
                    for at in 0..kernel[0] * kernel[1] {
                        let (row, col) = (y * stride + at / kernel[1], x * stride + at % kernel[1]);
                        if (padding..height + padding).contains(&row) && (padding..width + padding).contains(&col) {
                            pixels.push(((row - padding) * width + col - padding, at));
                        }
                    }
                    result.push(f(sample, channel, &pixels));
                }
            }
        }
        result
    });
    Values { shape: out, samples: samples.collect() }
}

/// The layers, one after the other. Nothing is dropped.
pub fn run(layers: &[Layer], reader: &mut Reader<'_>, mut values: Values) -> Values {
    for layer in layers {
        values = one(layer, reader, values);
    }
    values
}

fn one(layer: &Layer, reader: &mut Reader<'_>, mut values: Values) -> Values {
    let out = layer.output(values.shape, 0).expect("it fits");
    let [channels, height, width] = values.shape;
    let area = height * width;
    match *layer {
        Layer::Linear { bias, outputs, .. } => linear(reader, bias, outputs, &values),
        Layer::Relu => {
            values.samples.iter_mut().flatten().for_each(|v| *v = v.max(0.0));
            values
        }
        Layer::Conv { kernel, stride, padding, bias, .. } => {
            let weight = reader.next();
            let bias = if bias { reader.next().to_vec() } else { vec![0.0; out[0]] };
            let d = channels * kernel * kernel;
            windows(&values, out, ([kernel; 2], stride, padding), |sample, channel, pixels| {
                let mut sum = bias[channel];
                for from in 0..channels {
                    for &(pixel, at) in pixels {
                        sum += weight[channel * d + from * kernel * kernel + at] * sample[from * area + pixel];
                    }
                }
                sum
            })
        }
        Layer::MaxPool { kernel, stride, padding } => {
            windows(&values, out, ([kernel; 2], stride, padding), |sample, channel, pixels| {
                pixels.iter().map(|&(pixel, _)| sample[channel * area + pixel]).fold(f64::NEG_INFINITY, f64::max)
            })
        }
        Layer::AvgPool { kernel, stride } => mean(&values, out, [kernel; 2], stride),
        Layer::GlobalAvgPool => mean(&values, out, [height, width], 1),
        Layer::Flatten => Values { shape: out, ..values },
        Layer::Dropout { .. } => values,
        Layer::BatchNorm { .. } => {
            let (gain, shift) = (reader.next(), reader.next());
            let count = (values.samples.len() * area) as f64;
            for channel in 0..channels {
                let own = channel * area..(channel + 1) * area;
                let all = || values.samples.iter().flat_map(|sample| &sample[own.clone()]);
                let mean = all().sum::<f64>() / count;
                let variance = all().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                for value in values.samples.iter_mut().flat_map(|sample| &mut sample[own.clone()]) {
                    *value = (*value - mean) / (variance + 1e-5).sqrt() * gain[channel] + shift[channel];
                }
            }
            values
        }
        Layer::EvoNorm { groups, .. } => {
            let (inner, gain, shift) = (reader.next(), reader.next(), reader.next());
            let size = channels / groups * area;
            for sample in &mut values.samples {
                for (group, own) in sample.chunks_mut(size).enumerate() {
                    let mean = own.iter().sum::<f64>() / size as f64;
                    let variance = own.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / size as f64;
                    for (at, x) in own.iter_mut().enumerate() {
                        let channel = group * channels / groups + at / area;
                        let sigmoid = 1.0 / (1.0 + (-inner[channel] * *x).exp());
                        *x = *x * sigmoid / (variance + 1e-5).sqrt() * gain[channel] + shift[channel];
                    }
                }
            }
            values
        }
        Layer::LocalResponseNorm { size, alpha, beta, k } => {
            let each = |sample: &Vec<f64>| {
                let scale = |at: usize| {
                    let channel = at / area;
                    let others = channel.saturating_sub(size / 2)..channels.min(channel + size.div_ceil(2));
                    let squares: f64 = others.map(|other| sample[other * area + at % area].powi(2)).sum();
                    (k + alpha * squares / size as f64).powf(-beta)
                };
                sample.iter().enumerate().map(|(at, x)| x * scale(at)).collect()
            };
            Values { shape: out, samples: values.samples.iter().map(each).collect() }
        }
        Layer::Residual { ref main, ref shortcut } => {
            let ours = run(main, reader, values.clone());
            let theirs = run(shortcut, reader, values);
            let add = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
            Values { shape: out, samples: ours.samples.iter().zip(&theirs.samples).map(add).collect() }
        }
    }
}

fn mean(values: &Values, out: Shape, kernel: [usize; 2], stride: usize) -> Values {
    let area = values.shape[1] * values.shape[2];
    windows(values, out, (kernel, stride, 0), |sample, channel, pixels| {
        pixels.iter().map(|&(pixel, _)| sample[channel * area + pixel]).sum::<f64>() / pixels.len() as f64
    })
}
