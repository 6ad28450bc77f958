//! Scores against scikit-learn 1.9 and against values worked out by hand.

use bertsd_cuda::{
    Error,
    metrics::{Accumulator, Better, Metric, Scores},
};
use clap::ValueEnum;

fn near(value: f64, expected: f64) -> bool {
    (value - expected).abs() <= 1e-9 * expected.abs().max(1.0)
}

#[track_caller]
fn check(scores: &Scores, [accuracy, macro_f1, weighted_f1, mcc, loss, ece]: [f64; 6]) {
    let expected = Scores { accuracy, macro_f1, weighted_f1, mcc, loss, ece, examples: scores.examples };
    for &metric in Metric::value_variants() {
        assert!(near(metric.get(scores), metric.get(&expected)), "{metric}: {scores:?} is not {expected:?}");
    }
}

const LOGITS: [f32; 32] = [
    2.0, 1.0, 0.0, -1.0, 0.5, 0.25, 0.0, 3.0, -1.0, 2.0, 2.5, 0.0, 1.0, 1.5, -2.0, 0.0, //
    0.0, 0.0, 1.0, -3.0, 3.0, -1.0, 0.5, 2.0, -0.5, 0.5, 1.5, -2.0, 1.0, 0.0, 0.25, -1.0,
];
const LABELS: [u32; 8] = [0, 3, 1, 1, 2, 3, 2, 1];

// y = [0,3,1,1,2,3,2,1]; z = LOGITS.reshape(8, 4); p = softmax(z); h = p.argmax(1); c = p.max(1); b = ceil(c*15)
// accuracy_score(y, h), f1_score(y, h, average='macro'), f1_score(y, h, average='weighted'), matthews_corrcoef(y, h),
// log_loss(y, p, labels=range(4)), sum(abs((h == y)[b == k].sum() - c[b == k].sum()) for k in range(1, 16)) / 8
// precision_recall_fscore_support(y, h, labels=range(4), zero_division=0)
#[test]
fn agree_with_scikit_learn() {
    let mut accumulator = Accumulator::new(4).unwrap();
    accumulator.add_logits(&LOGITS, &LABELS).unwrap();
    check(
        &accumulator.scores(),
        [0.625, 0.6166666666666667, 0.6166666666666667, 0.5779204918167031, 0.7919413010208006, 0.2956700869291098],
    );
    let per_class = accumulator.confusion().per_class();
    let expected =
        [(1.0 / 3.0, 1.0, 0.5, 1), (1.0, 1.0 / 3.0, 0.5, 3), (2.0 / 3.0, 1.0, 0.8, 2), (1.0, 0.5, 2.0 / 3.0, 2)];
    for (class, (precision, recall, f1, support)) in per_class.iter().zip(expected) {
        assert!(near(class.precision, precision) && near(class.recall, recall) && near(class.f1, f1), "{class:?}");
        assert_eq!(class.support, support);
    }
}

// i = arange(300)[:, None]; k = arange(5)[None]; y = minimum(arange(300) % 7, 3)
// z = ((i*37 + k*k*11 + i*k*3) % 17) / 8 + (k == y[:, None]) * 0.75; z[:, 4] = -3, and then as above
#[test]
fn agree_with_scikit_learn_on_unbalanced_classes_one_of_which_never_occurs() {
    let mut whole = Accumulator::new(5).unwrap();
    let mut halves = [Accumulator::new(5).unwrap(), Accumulator::new(5).unwrap()];
    for i in 0..300u32 {
        let label = (i % 7).min(3);
        let mut row: Vec<f32> = (0..5u32)
            .map(|k| ((i * 37 + k * k * 11 + i * k * 3) % 17) as f32 / 8.0 + if k == label { 0.75 } else { 0.0 })
            .collect();
        row[4] = -3.0;
        whole.add_logits(&row, &[label]).unwrap();
        halves[usize::from(i >= 150)].add_logits(&row, &[label]).unwrap();
    }
    let expected = [
        0.49333333333333335,
        0.4747663579124254,
        0.5055077430807767,
        0.3162551582056621,
        1.0084914238962086,
        0.21826759147522798,
    ];
    check(&whole.scores(), expected);
    assert_eq!(whole.scores().examples, 300);

    let [mut merged, second] = halves;
    merged.merge(&second).unwrap();
    check(&merged.scores(), expected);
    assert_eq!(merged.confusion(), whole.confusion());
}

#[test]
fn logits_and_their_probabilities_score_the_same() {
    let probabilities: Vec<f32> = LOGITS
        .chunks(4)
        .flat_map(|row| {
            let sum: f32 = row.iter().map(|z| z.exp()).sum();
            row.iter().map(move |z| z.exp() / sum)
        })
        .collect();
    let (mut from_logits, mut from_probabilities) = (Accumulator::new(4).unwrap(), Accumulator::new(4).unwrap());
    from_logits.add_logits(&LOGITS, &LABELS).unwrap();
    from_probabilities.add_probabilities(&probabilities, &LABELS).unwrap();
    let (a, b) = (from_logits.scores(), from_probabilities.scores());
    assert!((a.loss - b.loss).abs() < 1e-6 && (a.ece - b.ece).abs() < 1e-6);
    assert_eq!((a.accuracy, a.macro_f1, a.mcc), (b.accuracy, b.macro_f1, b.mcc));
}

#[test]
fn binary_by_hand() {
    // Predictions 1 1 0 1 for labels 1 0 0 1: tp 2, fp 1, fn 0, tn 1; mcc = (2·1 − 1·0)/√(3·2·2·1).
    let mut accumulator = Accumulator::new(2).unwrap();
    accumulator.add_probabilities(&[0.25, 0.75, 0.5, 0.75, 0.75, 0.25, 0.25, 0.75], &[1, 0, 0, 1]).unwrap();
    let loss = (3.0 * -(0.75f64.ln()) - 0.5f64.ln()) / 4.0;
    check(
        &accumulator.scores(),
        [0.75, (0.8 + 2.0 / 3.0) / 2.0, (0.8 + 2.0 / 3.0) / 2.0, 2.0 / 12f64.sqrt(), loss, 0.0],
    );
    let cells: Vec<_> = accumulator.confusion().cells().collect();
    assert_eq!(cells, [(0, 0, 1), (0, 1, 1), (1, 1, 2)]);
    assert_eq!((accumulator.confusion().count(0, 1), accumulator.confusion().count(1, 0)), (1, 0));
}

#[test]
fn a_quotient_of_nothing_is_0() {
    // All examples and predictions one class: F1 of that class counts, the class that never occurs does not, and MCC is
    // 0.
    let mut accumulator = Accumulator::new(2).unwrap();
    accumulator.add_logits(&[1.0, 0.0, 1.0, 0.0], &[0, 0]).unwrap();
    let scores = accumulator.scores();
    assert_eq!((scores.accuracy, scores.macro_f1, scores.weighted_f1, scores.mcc), (1.0, 1.0, 1.0, 0.0));
    assert_eq!(accumulator.confusion().per_class()[1].precision, 0.0);
    // Never right: 0, not NaN.
    let mut wrong = Accumulator::new(3).unwrap();
    wrong.add_logits(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0], &[1, 0]).unwrap();
    assert_eq!((wrong.scores().macro_f1, wrong.scores().mcc), (0.0, -1.0));
    // No examples.
    let none = Accumulator::new(3).unwrap().scores();
    assert!(none.loss.is_nan() && none.examples == 0);
    assert_eq!((none.accuracy, none.macro_f1, none.weighted_f1, none.mcc, none.ece), (0.0, 0.0, 0.0, 0.0, 0.0));
}

#[test]
fn calibration_bins_close_on_the_right() {
    // Equal logits over 3 classes are a confidence of exactly 5/15, which belongs to (4/15, 5/15]; a hair more is the
    // next bin, and so the wrong answer of the one does not make up for the right answer of the other.
    let mut accumulator = Accumulator::new(3).unwrap();
    accumulator.add_logits(&[0.0, 0.0, 0.0, 0.01, 0.0, 0.0], &[1, 0]).unwrap();
    let confidence = 1.0 / (1.0 + 2.0 * (-f64::from(0.01f32)).exp());
    let ece = accumulator.scores().ece;
    assert!(near(ece, (1.0 / 3.0 + 1.0 - confidence) / 2.0), "{ece}");
    let bins: Vec<_> = accumulator.calibration().bins().collect();
    assert_eq!(bins.len(), 2);
    assert_eq!((bins[0].0, bins[0].1, bins[1].1), (1, 0.0, 1.0));
}

#[test]
fn large_logits_do_not_overflow_and_ties_go_to_the_first_class() {
    let mut accumulator = Accumulator::new(3).unwrap();
    accumulator.add_logits(&[1e30, 1e30, -1e30, 500.0, 100.0, 0.0], &[1, 0]).unwrap();
    assert!(near(accumulator.scores().loss, 2f64.ln() / 2.0), "{}", accumulator.scores().loss);
    assert_eq!(accumulator.confusion().count(1, 0), 1);
}

#[test]
fn nan_shows_in_loss_and_calibration_and_is_never_predicted() {
    let mut accumulator = Accumulator::new(2).unwrap();
    accumulator.add_logits(&[f32::NAN, 1.0], &[1]).unwrap();
    let scores = accumulator.scores();
    assert!(scores.loss.is_nan() && scores.ece.is_nan());
    assert_eq!(scores.accuracy, 1.0);
    let text = serde_json::to_string(&scores).unwrap();
    assert!(text.contains("\"loss\":null"), "{text}");
    let back: Scores = serde_json::from_str(&text).unwrap();
    assert!(back.loss.is_nan() && back.accuracy == 1.0);
}

#[test]
fn five_thousand_classes() {
    let classes = 5_000u32;
    let mut accumulator = Accumulator::new(classes as usize).unwrap();
    let mut row = vec![0.0f32; classes as usize];
    for example in 0..200 {
        let (label, prediction) = (example * 25, if example % 4 == 0 { 7 } else { example * 25 });
        row[prediction as usize] = 20.0;
        accumulator.add_logits(&row, &[label]).unwrap();
        row[prediction as usize] = 0.0;
    }
    assert_eq!(accumulator.scores().accuracy, 0.75);
    // 201 classes occur; 150 have F1 1 and the rest 0.
    assert!(near(accumulator.scores().macro_f1, 150.0 / 201.0));
    assert_eq!(accumulator.confusion().per_class().len(), 5_000);
}

#[test]
fn bad_shapes_and_labels_are_refused_and_leave_no_trace() {
    let misuse = |result: Result<(), Error>| matches!(result, Err(Error::Misuse { .. }));
    assert!(Accumulator::new(1).is_err() && Accumulator::new(0).is_err());
    let mut accumulator = Accumulator::new(2).unwrap();
    assert!(misuse(accumulator.add_logits(&[1.0, 2.0, 3.0], &[0, 1])));
    assert!(misuse(accumulator.add_logits(&[1.0, 2.0, 3.0, 4.0], &[0, 2])));
    assert!(misuse(accumulator.add_probabilities(&[1.0, 0.0], &[u32::MAX])));
    assert!(misuse(accumulator.merge(&Accumulator::new(3).unwrap())));
    assert_eq!(accumulator, Accumulator::new(2).unwrap());
}

#[test]
fn metrics_are_chosen_by_name() {
    for &metric in Metric::value_variants() {
        assert_eq!(metric.to_string().parse::<Metric>().unwrap(), metric);
        assert_eq!(serde_json::to_string(&metric).unwrap(), format!("\"{metric}\""));
    }
    let error = "f1".parse::<Metric>().unwrap_err().to_string();
    assert!(error.contains("'f1'") && error.contains("macro-f1, weighted-f1"), "{error}");
}

#[test]
fn a_metric_knows_what_is_better() {
    assert!(Metric::Accuracy.improves(0.9, 0.8) && !Metric::Accuracy.improves(0.8, 0.8));
    assert!(Metric::Loss.improves(0.1, 0.2) && !Metric::Loss.improves(0.2, 0.1));
    assert_eq!(Metric::Ece.better(), Better::Lower);
    for &metric in Metric::value_variants() {
        assert!(
            !metric.improves(f64::NAN, 0.5) && metric.improves(0.5, f64::NAN) && !metric.improves(f64::NAN, f64::NAN)
        );
    }
}
