//! LayerNorm of rows at the ends of float32, of constant rows, and of rows far from 0.

use bertsd_cuda::device::{
    Copies, Inspect, NormOps, Normed, Rows, Write,
    cuda::{Bf16, Element},
};

use super::{
    super::{
        buffers::{
            assert_as_good, assert_as_the_cpu, assert_close, matrix, poisoned_matrix, poisoned_stats, random, stats,
            stored, written, written_vector,
        },
        support::double,
    },
    Bench, Exact, capacity, dropout, norm, on_cpu,
};

/// Rows of numbers `scale` · normal + `shift`.
fn extreme_rows<E: Element>(scale: f32, shift: f32) {
    let (width, lengths) = (136, [4, 3]);
    let mut bench = Bench::<E>::new(width, &lengths, Rows::Tokens, 1, capacity);
    let (norm, len, what) = (norm(width, 0), bench.count * width, format!("{} {scale:e} · x + {shift:e}", E::NAME));
    let (r_values, d_values) = (random::<E>(5, len, scale, shift), random::<E>(6, len, 1.0, 0.0));
    let [y, mean, rstd, d_r, d_branch, d_gamma, d_beta] = on_cpu(&bench, &r_values, &d_values, norm, dropout(false));
    let exact = Exact::new(&r_values, &d_values, &bench.values[norm.gamma.range()], &bench.values[norm.beta.range()]);

    let (r, d) = (matrix(&bench.device, &r_values, width), matrix(&bench.device, &d_values, width));
    let [mut found, mut found_r, mut found_branch] = [0; 3].map(|_| poisoned_matrix(&bench.device, bench.count, width));
    let mut found_stats = poisoned_stats(&bench.device, bench.count);
    bench.forward(&mut found, &mut found_stats, &r, norm);
    // The statistics of the CPU: what is compared is one pass, not two.
    let given = stats(&bench.device, &mean, &rstd);
    let mut gradients = bench.gradients();
    let kept = Normed { r: &r, stats: &given, norm };
    bench.backward([&mut found_r, &mut found_branch], (&mut gradients, Write::Overwrite), &d, kept, dropout(false));
    bench.device.end_backward(&mut gradients).unwrap();
    for (name, found, cpu) in [("d_r", &found_r, &d_r), ("d_branch", &found_branch, &d_branch)] {
        let (found, cpu) = (written(&bench.device, found, len, &what), double(cpu));
        assert_as_good::<E>(&found, &cpu, &stored::<E>(&cpu), &format!("{what}, {name}"));
    }
    let gradients = bench.device.read_gradients(&gradients).unwrap();
    assert_close(&gradients[norm.gamma.range()], &double(&d_gamma), &format!("{what}, d_gamma"));
    assert_close(&gradients[norm.beta.range()], &double(&d_beta), &format!("{what}, d_beta"));
    let [found_mean, found_rstd] =
        [&found_stats.mean, &found_stats.rstd].map(|found| written_vector(&bench.device, found, bench.count, &what));
    assert_as_the_cpu::<f32>(&found_mean, &mean, &exact.mean, &exact.mean, &format!("{what}, mean"));
    let found = written(&bench.device, &found, len, &what);
    if shift == 0.0 || scale == 0.0 {
        assert_as_the_cpu::<f32>(&found_rstd, &rstd, &exact.rstd, &exact.rstd, &format!("{what}, 1/σ"));
        return assert_as_the_cpu::<E>(&found, &y, &exact.y, &stored::<E>(&exact.y), &what);
    }
    // Far from 0 what counts is how exactly the mean itself is held: to half a unit, and its sum rounds now and then
    // before that. With a mean that is off by δ the rows are off by δ / σ, and the variance grows by δ².
    let gamma = &bench.values[norm.gamma.range()];
    let off = |row: usize| 2.0 * f64::from(f32::EPSILON * shift.abs()) * exact.rstd[row];
    for rstd in [&found_rstd, &rstd] {
        let is_near = |row: usize| (f64::from(rstd[row]) / exact.rstd[row] - 1.0).abs() <= 1e-5 + off(row).powi(2);
        assert!((0..bench.count).all(is_near), "{what}, 1/σ: {rstd:?}, not {:?}", exact.rstd);
    }
    for (i, (&found, &exact_y)) in found.iter().zip(&exact.y).enumerate() {
        let (factor, off) = (f64::from(gamma[i % width].abs()), off(i / width));
        let allowed = 1e-5 + factor * (off + 5.0 * off * off) + E::choose(exact_y.abs() / 256.0, 0.0);
        for y in [found, E::from_f32(y[i]).value()] {
            assert!((f64::from(y) - exact_y).abs() <= allowed, "{what}: {y}, not {exact_y}, within {allowed:e}");
        }
    }
}

/// Deviations where ε matters, squares near the largest float, denormals, rows that are constant or all but so.
#[test]
fn extreme_rows_are_those_of_the_cpu() {
    for (scale, shift) in [
        (1e-3, 0.0),
        (1e-6, 0.0),
        (1e-39, 0.0),
        (1e17, 0.0),
        (0.0, 0.0),
        (0.0, 5.0),
        (0.0, -4096.0),
        (1.0, 300.0),
        (1.0, -1e4),
        (1.0, 1e6),
    ] {
        extreme_rows::<f32>(scale, shift);
        extreme_rows::<Bf16>(scale, shift);
    }
    // Squares overflow on either device; the mean does not.
    let mut bench = Bench::<f32>::new(136, &[4, 3], Rows::Tokens, 1, capacity);
    let (norm, len) = (norm(136, 0), bench.count * 136);
    let (r, d) = (random::<f32>(5, len, 1e37, 0.0), vec![1.0; len]);
    let [y, mean, rstd, ..] = on_cpu(&bench, &r, &d, norm, dropout(false));
    let r = matrix(&bench.device, &r, 136);
    let mut found = poisoned_matrix(&bench.device, bench.count, 136);
    let mut found_stats = poisoned_stats(&bench.device, bench.count);
    bench.forward(&mut found, &mut found_stats, &r, norm);
    let device = &bench.device;
    assert_close(&device.read_matrix(&found).unwrap(), &double(&y), "y of squares that overflow");
    assert_close(&device.read_vector(&found_stats.mean).unwrap(), &double(&mean), "their mean");
    assert_close(&device.read_vector(&found_stats.rstd).unwrap(), &double(&rstd), "their 1/σ");
}
