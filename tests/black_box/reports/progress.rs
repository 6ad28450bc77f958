//! The progress line: what it says, and that its numbers are what they say.

use std::time::Duration;

use bertsd_cuda::reports::{Progress, StepEvent};

fn event(step: u64, ce: f64, distill: f64) -> StepEvent {
    StepEvent { step, loss: ce + distill, ce, distill, lr: 1.8e-5, ..StepEvent::default() }
}

#[test]
fn a_steady_run_shows_its_numbers() {
    let mut progress = Progress::new(5_000, 0);
    for step in 1..=1_000 {
        progress.update(&StepEvent { epoch: Some(1.2), ..event(step, 0.4, 0.03) }, 1_230, Duration::from_millis(100));
    }
    assert_eq!(
        progress.line().to_string(),
        "step 1000/5000 · epoch 1.20 · loss 0.4300 · CE 0.4000 · distill 0.0300 · lr 1.80e-5 · 12.3k tokens/s · \
         6m 40s left"
    );
}

#[test]
fn nothing_is_shown_that_is_not_known() {
    assert_eq!(Progress::new(10, 4).line().to_string(), "step 4/10 · lr 0.00e0");
    let mut progress = Progress::new(10, 4);
    progress.update(&event(5, 0.5, 0.0), 500, Duration::from_secs(2));
    assert_eq!(
        progress.line().to_string(),
        "step 5/10 · loss 0.5000 · CE 0.5000 · lr 1.80e-5 · 250 tokens/s · 10s left"
    );
}

#[test]
fn speed_is_tokens_over_time_not_a_mean_of_speeds() {
    // Alternating batches of 1,000 tokens in 0.1 s and 1,000 tokens in 0.4 s: 4,000 tokens/s, though the mean of speeds
    // is 6,250.
    let mut progress = Progress::new(10_000, 0);
    for step in 1..=2_000 {
        progress.update(&event(step, 0.5, 0.0), 1_000, Duration::from_millis(if step % 2 == 0 { 100 } else { 400 }));
    }
    let speed = progress.tokens_per_s().unwrap();
    assert!((3_900.0..4_100.0).contains(&speed), "{speed}");
    let eta = progress.line().eta.unwrap().as_secs_f64();
    assert!((1_950.0..2_050.0).contains(&eta), "{eta}");
}

#[test]
fn losses_follow_recent_updates_and_survive_nan() {
    let mut progress = Progress::new(1_000, 0);
    (1..=500).for_each(|step| progress.update(&event(step, 1.0, 0.0), 1, Duration::from_secs(1)));
    (501..=800).for_each(|step| progress.update(&event(step, 0.5, 0.0), 1, Duration::from_secs(1)));
    progress.update(&event(801, f64::NAN, 0.0), 1, Duration::from_secs(1));
    let ce = progress.line().ce.unwrap();
    assert!((0.5..0.51).contains(&ce), "{ce}");
}

#[test]
fn long_times_and_large_counts_are_short() {
    let line = |total, tokens, seconds| {
        let mut progress = Progress::new(total, 0);
        progress.update(&event(1, 0.5, 0.0), tokens, Duration::from_secs(seconds));
        let line = progress.line().to_string();
        line.split(" · ").skip(4).map(str::to_owned).collect::<Vec<_>>().join(" · ")
    };
    assert_eq!(line(101, 9_999, 1), "9999 tokens/s · 1m 40s left");
    assert_eq!(line(3_721, 10_000, 1), "10.0k tokens/s · 1h 02m left");
    assert_eq!(line(100_001, 2_500_000, 1), "2.5M tokens/s · 1d 03h left");
    assert_eq!(line(1, 1, 1), "1 tokens/s · 0s left");
    assert_eq!(line(u64::MAX, 1, u32::MAX.into()), "0 tokens/s", "longer than a Duration");
}
