//! Synthetic images: class prototypes, a low-rank latent shared by all classes, a little noise.

use std::path::Path;

use kith_core::{Purpose, Seeds};
use rand_distr::{Distribution, StandardNormal};

use crate::image::{Dataset, ImageSet, Scaling, volume};
use crate::{DataError, SyntheticSpec, draw};

/// Weight of the class prototype: low enough that classes overlap through the latent.
const PROTOTYPE: f32 = 0.25;

/// The streams of `Purpose::Synthetic`.
const FIXED: u64 = 0;
const TRAIN: u64 = 1;
const TEST: u64 = 2;

/// Draws a dataset: `x = ¼ prototype(class) + Bᵀ z + noise`, prototype, B √latent and z standard normal.
pub(crate) fn generate(spec: &SyntheticSpec, seeds: &Seeds) -> Result<Dataset, DataError> {
    let len = check(spec)?;
    let mut rng = seeds.shared(Purpose::Synthetic, FIXED);
    let mut normals = |count: usize, scale: f32| -> Vec<f32> {
        (0..count).map(|_| scale * Distribution::<f32>::sample(&StandardNormal, &mut rng)).collect()
    };
    let prototypes = normals(spec.classes * len, PROTOTYPE);
    let basis = normals(spec.latent * len, (spec.latent.max(1) as f32).sqrt().recip());
    let set = |count, stream| draw_set(spec, seeds, &prototypes, &basis, (count, stream));
    let (train, test) = (set(spec.train, TRAIN)?, set(spec.test, TEST)?);
    let name = "synthetic".to_owned();
    let scaling = Scaling::new(&vec![0.0; spec.shape[0]], &vec![1.0; spec.shape[0]]);
    Dataset { name, train, test, classes: spec.classes, shape: spec.shape, scaling }
        .checked(Path::new("data.synthetic"))
}

fn draw_set(
    spec: &SyntheticSpec,
    seeds: &Seeds,
    prototypes: &[f32],
    basis: &[f32],
    (count, stream): (usize, u64),
) -> Result<ImageSet, DataError> {
    let len: usize = spec.shape.iter().product();
    let mut rng = seeds.shared(Purpose::Synthetic, stream);
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(count * len).map_err(|error| {
        let found = format!("{count} images of {len} values");
        DataError::setting("data.synthetic", found, format!("what fits the memory is accepted ({error})"))
    })?;
    let mut labels = Vec::with_capacity(count);
    for _ in 0..count {
        let class = draw::below(&mut rng, spec.classes);
        labels.push(class as u32);
        let start = pixels.len();
        for &prototype in &prototypes[class * len..(class + 1) * len] {
            let noise: f32 = StandardNormal.sample(&mut rng);
            pixels.push(prototype + spec.noise as f32 * noise);
        }
        for direction in basis.chunks_exact(len) {
            let amount: f32 = StandardNormal.sample(&mut rng);
            for (value, &along) in pixels[start..].iter_mut().zip(direction) {
                *value += amount * along;
            }
        }
    }
    ImageSet::from_floats(spec.shape, pixels, labels)
        .ok_or_else(|| DataError::setting("data.synthetic.shape", format!("{:?}", spec.shape), "positive sides"))
}

/// Values in one image, once every setting is known to be usable.
fn check(spec: &SyntheticSpec) -> Result<usize, DataError> {
    let shape = || format!("{:?}", spec.shape);
    let len = volume(spec.shape)
        .ok_or_else(|| DataError::setting("data.synthetic.shape", shape(), "three positive numbers are accepted"))?;
    for (key, count) in [
        ("data.synthetic.classes", spec.classes),
        ("data.synthetic.train", spec.train),
        ("data.synthetic.test", spec.test),
        ("data.synthetic.latent", spec.latent.max(1)),
    ] {
        // 2^36 values are 256 GiB: no run means that.
        if count == 0 || u32::try_from(count).is_err() || count.saturating_mul(len) > 1 << 36 {
            let accepted = format!("1 or more is accepted, and at most 2^36 values in all ({len} each)");
            return Err(DataError::setting(key, count, accepted));
        }
    }
    if !(spec.noise.is_finite() && spec.noise >= 0.0) {
        return Err(DataError::setting("data.synthetic.noise", spec.noise, "a number from 0 is accepted"));
    }
    Ok(len)
}
