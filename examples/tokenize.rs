//! Tokenizes a CSV and says how fast: `tokenize MODEL_DIR FILE.csv TEXT_COLUMN [ROUNDS]`.
//!
//! Prints one JSON object a round. The time runs from the closed file to mapped ids: reading, tokenizing on all cores,
//! writing.

use std::{env, path::Path, time::Instant};

use bertsd_cuda::{
    Result, Stop,
    data::{
        BertTokenizer, Columns, Conventions, EncodeSettings, Format, Labels, Source, Table, TokenizeRequest,
        TokenizedSet, Truncation,
    },
    model::ConfigFile,
};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (model, file, column) = match arguments.as_slice() {
        [model, file, column, ..] => (Path::new(model), Path::new(file), column.as_str()),
        _ => {
            eprintln!("usage: tokenize MODEL_DIR FILE.csv TEXT_COLUMN [ROUNDS]");
            std::process::exit(2);
        }
    };
    let rounds = arguments.get(3).and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let config = ConfigFile::read(model)?.config;
    let tokenizer = BertTokenizer::from_dir(model, config.vocab_size)?;
    let settings = EncodeSettings { max_length: config.max_positions, truncation: Truncation::Head };
    let source = Source::from(Table {
        path: file.to_owned(),
        format: Format::from_path(file)?,
        header: true,
        columns: Columns::new(column, None, None),
        conventions: Conventions::default(),
    });
    for _ in 0..rounds {
        let start = Instant::now();
        let request = TokenizeRequest {
            tokenizer: &tokenizer,
            settings,
            labels: Labels::Ignore,
            cache: None,
            progress: &mut |_| Ok(()),
            stop: Stop::NEVER,
        };
        let set = TokenizedSet::open(&source, request)?;
        let seconds = start.elapsed().as_secs_f64();
        println!("{{\"texts\":{},\"tokens\":{},\"seconds\":{seconds}}}", set.len(), set.tokens());
    }
    Ok(())
}
