//! Orders, steps, micro-batches and the capacities planned from them.

use bertsd_cuda::data::{OrderSettings, StepPlan, micro_batches};
use proptest::prelude::*;

const SETTINGS: OrderSettings = OrderSettings {
    seed: 5,
    batch_size: 4,
    grad_accum: 2,
    max_tokens: None,
    shuffle: true,
    bucket_steps: 0,
    drop_last: false,
};

fn lengths(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| 3 + i * 7919 % 61).collect()
}

fn plan(count: usize, settings: OrderSettings) -> StepPlan {
    StepPlan::new(lengths(count), settings).unwrap()
}

fn is_permutation(order: &[u32], count: usize) -> bool {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    sorted == (0..count as u32).collect::<Vec<_>>()
}

#[test]
fn a_step_does_not_depend_on_what_was_asked_before() {
    for bucket_steps in [0, 3] {
        let settings = OrderSettings { bucket_steps, ..SETTINGS };
        let mut forward = plan(61, settings);
        assert_eq!(forward.steps_per_epoch(), 8);
        let steps: Vec<Vec<u32>> = (0..40).map(|step| forward.examples(step).to_vec()).collect();
        for step in (0..40).rev() {
            assert_eq!(plan(61, settings).examples(step), steps[step as usize]);
            // Back and forth, as a look-ahead over the end of an epoch goes.
            assert_eq!(forward.examples(step), steps[step as usize]);
            assert_eq!(forward.examples((step + 20) % 40), steps[(step as usize + 20) % 40]);
        }
        assert_eq!(forward.place(17), (2, 1));
        assert_eq!(steps[7].len(), 61 - 7 * 8);
    }
}

#[test]
fn epochs_and_seeds_have_different_orders() {
    for bucket_steps in [0, 3] {
        let settings = OrderSettings { bucket_steps, ..SETTINGS };
        let plan = plan(200, settings);
        assert_ne!(plan.epoch(0), plan.epoch(1));
        assert_ne!(plan.epoch(0), plan.epoch(1 << 32));
        let other = StepPlan::new(lengths(200), OrderSettings { seed: 6, ..settings }).unwrap();
        assert_ne!(plan.epoch(0), other.epoch(0));
    }
}

#[test]
fn buckets_hold_like_lengths_and_are_shuffled() {
    let lengths = lengths(1600);
    let spread = |bucket_steps| {
        let mut plan = StepPlan::new(lengths.clone(), OrderSettings { bucket_steps, ..SETTINGS }).unwrap();
        let spreads = (0..plan.steps_per_epoch()).map(|step| {
            let of: Vec<u32> = plan.examples(step).iter().map(|example| lengths[*example as usize]).collect();
            of.iter().max().unwrap() - of.iter().min().unwrap()
        });
        spreads.sum::<u32>() / 200
    };
    assert!(spread(50) <= 3 && spread(0) > 35, "{} {}", spread(50), spread(0));
    let mut plan = StepPlan::new(lengths.clone(), OrderSettings { bucket_steps: 50, ..SETTINGS }).unwrap();
    let firsts: Vec<u32> = (0..200).map(|step| lengths[plan.examples(step)[0] as usize]).collect();
    assert!(!firsts[..50].is_sorted(), "the steps of a pool must not come by length");
}

#[test]
fn impossible_settings_are_refused_by_name() {
    let refused = |settings, count| StepPlan::new(lengths(count), settings).unwrap_err().to_string();
    assert!(refused(OrderSettings { batch_size: 0, ..SETTINGS }, 9).starts_with("batch-size"));
    assert!(refused(OrderSettings { grad_accum: 0, ..SETTINGS }, 9).starts_with("grad-accum"));
    assert!(refused(OrderSettings { max_tokens: Some(0), ..SETTINGS }, 9).starts_with("max-tokens"));
    assert!(refused(OrderSettings { drop_last: true, ..SETTINGS }, 7).starts_with("drop-last"));
    assert!(refused(SETTINGS, 0).starts_with("train"));
    assert_eq!(plan(8, OrderSettings { drop_last: true, ..SETTINGS }).steps_per_epoch(), 1);
}

#[test]
fn capacities_are_reached_where_the_longest_meet() {
    let lengths = vec![10, 2, 9, 3, 8];
    let plan = |max_tokens| {
        let settings = OrderSettings { batch_size: 2, grad_accum: 1, max_tokens, ..SETTINGS };
        StepPlan::new(lengths.clone(), settings).unwrap()
    };
    assert_eq!((plan(None).token_capacity(), plan(None).sequence_capacity()), (19, 2));
    assert_eq!((plan(Some(12)).token_capacity(), plan(Some(12)).sequence_capacity()), (12, 2));
    assert_eq!((plan(Some(4)).token_capacity(), plan(Some(4)).sequence_capacity()), (10, 1));
    let largest = (0..200).map(|step| {
        let mut plan = plan(None);
        plan.examples(step).iter().map(|example| lengths[*example as usize] as usize).sum()
    });
    assert_eq!(largest.max(), Some(19));
}

#[test]
fn parts_differ_by_one_sequence_at_most() {
    let sizes = |count: u32, parts| -> Vec<usize> {
        let examples: Vec<u32> = (0..count).collect();
        micro_batches(&examples, &vec![1; count as usize], parts, None).map(|range| range.len()).collect()
    };
    assert_eq!(sizes(10, 4), [3, 3, 2, 2]);
    assert_eq!(sizes(3, 4), [1, 1, 1]);
    assert_eq!(sizes(8, 1), [8]);
    assert_eq!(sizes(0, 3), [0; 0]);
}

proptest! {
    #[test]
    fn every_epoch_is_a_permutation(
        count in 1usize..400,
        batch_size in 1usize..20,
        grad_accum in 1usize..5,
        bucket_steps in 0usize..6,
        epoch in 0u64..5,
    ) {
        let settings = OrderSettings { batch_size, grad_accum, bucket_steps, ..SETTINGS };
        let mut plan = plan(count, settings);
        prop_assert!(is_permutation(&plan.epoch(epoch), count));
        let per_epoch = plan.steps_per_epoch();
        let mut joined = Vec::new();
        for step in epoch * per_epoch..(epoch + 1) * per_epoch {
            prop_assert!(!plan.examples(step).is_empty());
            joined.extend_from_slice(plan.examples(step));
        }
        prop_assert_eq!(joined, plan.epoch(epoch));
        if count >= settings.step_size() {
            let dropping = StepPlan::new(lengths(count), OrderSettings { drop_last: true, ..settings }).unwrap();
            let mut order = dropping.epoch(epoch);
            prop_assert_eq!(order.len(), count / settings.step_size() * settings.step_size());
            order.sort_unstable();
            order.dedup();
            prop_assert_eq!(order.len() as u64, dropping.steps_per_epoch() * settings.step_size() as u64);
        }
    }

    #[test]
    fn micro_batches_cover_a_step_within_the_capacities(
        count in 1usize..300,
        batch_size in 1usize..20,
        grad_accum in 1usize..5,
        bucket_steps in 0usize..4,
        max_tokens in prop::option::of(1usize..300),
    ) {
        let settings = OrderSettings { batch_size, grad_accum, bucket_steps, max_tokens, ..SETTINGS };
        let lengths = lengths(count);
        let mut plan = plan(count, settings);
        for step in 0..plan.steps_per_epoch() {
            let examples = plan.examples(step).to_vec();
            let mut end = 0;
            for range in plan.micro_batches(&examples) {
                prop_assert_eq!(range.start, end);
                prop_assert!(!range.is_empty() && range.len() <= batch_size);
                end = range.end;
                let tokens: usize = examples[range.clone()].iter().map(|&example| lengths[example as usize] as usize).sum();
                prop_assert!(range.len() == 1 || max_tokens.is_none_or(|most| tokens <= most));
                prop_assert!(tokens <= plan.token_capacity() && range.len() <= plan.sequence_capacity());
            }
            prop_assert!(end == examples.len() && end <= plan.example_capacity() && end <= settings.step_size());
        }
    }
}
