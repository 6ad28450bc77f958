//! From a CSV to a mapped set of token ids, without a cache: reading, tokenizing on all cores, writing.
//!
//! Needs the demo model's vocabulary in target/demo-model (scripts/fetch-demo-model.sh). Throughput is tokens.

use std::{path::Path, time::Duration};

use bertsd_cuda::Stop;
use bertsd_cuda::data::{
    BertTokenizer, Columns, Conventions, EncodeSettings, Format, Labels, Source, Table, TokenizeRequest, TokenizedSet,
    Truncation,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const VOCABULARY: usize = 30_522;

fn tokenize(c: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = root.join("target/demo-model");
    if !model.is_dir() {
        eprintln!("tokenize: left out, {} is not there; run scripts/fetch-demo-model.sh first", model.display());
        return;
    }
    let tokenizer = BertTokenizer::from_dir(&model, VOCABULARY).expect("the demo model's tokenizer");
    let source = Source::from(Table {
        path: root.join("data/movie-reviews/train.csv"),
        format: Format::Csv,
        header: true,
        columns: Columns::new("text", None, Some("label".into())),
        conventions: Conventions::default(),
    });
    let open = || {
        let settings = EncodeSettings { max_length: 512, truncation: Truncation::Head };
        let request = TokenizeRequest {
            tokenizer: &tokenizer,
            settings,
            labels: Labels::Learn,
            cache: None,
            progress: &mut |_| Ok(()),
            stop: Stop::NEVER,
        };
        TokenizedSet::open(&source, request).expect("the demo's sentences")
    };
    let mut group = c.benchmark_group("tokenize");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(open().tokens()));
    group.bench_function("movie-reviews", |b| b.iter(open));
    group.finish();
}

criterion_group!(benches, tokenize);
criterion_main!(benches);
