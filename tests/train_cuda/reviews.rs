//! A small BERT from nothing on a few hundred sentences of movie reviews: the loss falls on a CUDA device as it does on
//! the processor.

use std::{collections::BTreeSet, fs};

use bertsd_cuda::model::BertConfig;

use crate::{
    cuda_runs::{bert, losses, mean, on_cuda, write_model},
    place,
    runs::{Toy, stderr, succeed},
};

const SENTENCES: usize = 300;
const WORDS: usize = 2400;

/// The first sentences of data/movie-reviews, a heading before them.
fn reviews() -> String {
    let path = place::root().join("data/movie-reviews/train.csv");
    let text = fs::read_to_string(path).unwrap();
    text.split_inclusive('\n').take(SENTENCES + 1).collect()
}

/// Words and signs as BERT's tokenizer cuts them.
fn words(text: &str) -> BTreeSet<String> {
    let lower = text.to_lowercase();
    let signs = lower.chars().filter(|c| c.is_ascii_punctuation()).map(String::from);
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).chain(signs).collect()
}

#[test]
fn the_loss_falls_as_on_the_processor() {
    let (toy, reviews) = (Toy::new(), reviews());
    toy.write("reviews.csv", &reviews);
    // At BERT's own weights and rates so small a model would learn nothing for a long time.
    let small = BertConfig { initializer_range: 0.05, ..bert(2, 2, 16, WORDS) };
    write_model(&toy.path("bert"), small, ["negative", "positive"], words(&reviews));
    let options = "--model bert --train reviews.csv --batch-size 20 --epochs 4 --max-length 32 --lr 1e-2 --head-lr \
                   1e-2 --warmup 0 --method sda --teacher window:3";
    let cpu = losses(&toy.run("cpu", options));
    let mut command = on_cuda(toy.start(&format!("{options} --precision f32 --out gpu")));
    let output = stderr(&succeed(&mut command));
    assert!(!output.contains("cudasim: "), "the simulator's checks have nothing to say: {output}");
    let gpu = losses(&toy.result("gpu"));
    assert_eq!((cpu.len(), gpu.len()), (60, 60));
    for (t, (a, b)) in cpu.iter().zip(&gpu).enumerate() {
        eprintln!("step {t}: {a} on the processor, {b}: {:.1e}", (a - b).abs() / a);
    }
    for (t, (a, b)) in cpu.iter().zip(&gpu).take(20).enumerate() {
        assert!((a - b).abs() <= 1e-3 * a, "step {t}: {a} on the processor, {b}");
    }
    for (device, losses) in [("processor", &cpu), ("CUDA device", &gpu)] {
        let (first, last) = (mean(&losses[..15]), mean(&losses[45..]));
        eprintln!("{device}: {first} in the first quarter, {last} in the last");
        assert!(last < 0.6 * first, "{device}: {first} in the first quarter, {last} in the last");
    }
}
