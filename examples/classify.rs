//! Classifies the lines of a file: `classify MODEL FILE`.

use std::{env, path::Path, process};

use bertsd_cuda::{
    Result,
    data::{BertTokenizer, EncodeSettings, Truncation},
    device::{Capacity, Shape, cpu::CpuDevice},
    inference::{Classifier, StreamEvent, StreamSettings, TextInput, classify_stream, largest, locate, softmax},
    model::{Model, Purpose},
};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, file] = &arguments[..] else {
        eprintln!("usage: classify MODEL FILE");
        process::exit(2);
    };
    classify(model, file.as_ref(), &mut |text, label| println!("{label}\t{text}"))
}

/// Every line with its label, in their order.
pub fn classify(model: &str, file: &Path, tell: &mut dyn FnMut(&str, &str)) -> Result<()> {
    let directory = locate(model, &mut |_| ())?;
    let (model, _) = Model::load(&directory, Purpose::Inference)?;
    let tokenizer = BertTokenizer::from_dir(&directory, model.config.vocab_size)?;
    let capacity = Capacity { tokens: 4096, sequences: 64, length: model.config.max_positions };
    let mut classifier = Classifier::new(CpuDevice::new(Shape::new(&model.config), capacity), &model, capacity)?;
    let encode = EncodeSettings { max_length: capacity.length, truncation: Truncation::Head };
    let settings = StreamSettings { encode, chunk_rows: 1024, max_sequences: 64, max_tokens: 4096 };
    let input = TextInput::Lines { path: file.to_owned(), paired: false, stdin: false };
    classify_stream(&mut classifier, &tokenizer, input, settings, &mut |event| {
        if let StreamEvent::Row(row) = event {
            tell(row.text, &model.labels[largest(&softmax(row.logits))]);
        }
        Ok(())
    })?;
    Ok(())
}
