//! Intervals against scipy's on the same numbers and the same resamples (`tests/statistics/make_statistics.py`).

use std::fs;

use bertsd_cuda::experiment::statistics::{Estimate, RESAMPLES, bootstrap, bootstrap_interval};
use rayon::prelude::*;
use serde_json::Value;

use crate::place;

fn values() -> Value {
    serde_json::from_slice(&fs::read(place::root().join("tests/statistics/values.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Equal but for the rounding of the sums and of the quantile.
#[track_caller]
fn near(ours: f64, theirs: &Value, tolerance: f64) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() <= tolerance * theirs.abs().max(1e-3), "{ours} and {theirs}");
}

#[test]
fn paired_differences_have_the_intervals_of_scipy() {
    let values = values();
    let cases = values["paired"].as_array().unwrap();
    assert!(cases.len() >= 5);
    for case in cases {
        let (one, two) = (numbers(&case["one"]), numbers(&case["two"]));
        let differences: Vec<f64> = two.iter().zip(&one).map(|(two, one)| two - one).collect();
        let estimate = Estimate::of(&differences);
        near(estimate.mean, &case["mean"], 1e-12);
        near(estimate.deviation, &case["deviation"], 1e-12);
        near(estimate.standard_error(), &case["standard_error"], 1e-12);
        let half = estimate.half_width().unwrap();
        near(estimate.mean - half, &case["interval"][0], 1e-9);
        near(estimate.mean + half, &case["interval"][1], 1e-9);
        assert_eq!(estimate.count_needed(), case["needed"].as_u64(), "{case}");
    }
}

#[test]
fn too_few_values_have_no_interval() {
    assert!(Estimate::of(&[]).mean.is_nan());
    for values in [&[][..], &[0.5]] {
        let estimate = Estimate::of(values);
        assert_eq!((estimate.half_width(), estimate.count_needed()), (None, None));
    }
    // No spread at all: two show it.
    assert_eq!(Estimate::of(&[0.5, 0.5]).count_needed(), Some(2));
    assert_eq!(Estimate::of(&[0.0, 0.0]).count_needed(), None);
    assert_eq!(Estimate::of(&[-1.0, 1.000_000_1]).count_needed(), None);
}

#[test]
fn resamples_have_the_intervals_of_scipy() {
    let values = values();
    let cases = values["bootstrap"].as_array().unwrap();
    assert!(cases.len() >= 3);
    for case in cases {
        let drawn: Vec<Vec<usize>> = serde_json::from_value(case["drawn"].clone()).unwrap();
        let (low, high) = bootstrap_interval(&numbers(&case["values"]), drawn.into_par_iter()).unwrap();
        near(low, &case["interval"][0], 1e-12);
        near(high, &case["interval"][1], 1e-12);
    }
}

/// The interval of a mean of many values is that of the normal distribution, as far as the resamples tell: the standard
/// error of a 2.5 % percentile of [`RESAMPLES`] normal numbers is 2.7 % of their deviation, and 4 of them are allowed.
#[test]
fn own_resamples_are_drawn_evenly() {
    let values: Vec<f64> = (0..2000).map(|i| f64::from(u8::from(i % 4 == 0))).collect();
    let (low, high) = bootstrap(&values).unwrap();
    let error = (0.25f64 * 0.75 / 2000.0).sqrt();
    let slack = 4.0 * 0.027 * error;
    assert_eq!(RESAMPLES, 10_000);
    assert!(
        (low - (0.25 - 1.96 * error)).abs() < slack && (high - (0.25 + 1.96 * error)).abs() < slack,
        "{low} {high}"
    );
    assert_eq!(bootstrap(&values), Some((low, high)), "the same every time");
    assert_eq!(bootstrap(&[]), None);
    assert_eq!(bootstrap(&[3.0]), Some((3.0, 3.0)));
}
