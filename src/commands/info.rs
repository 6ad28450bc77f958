//! `info`: a model's sizes, the memory that training it takes, and the devices here.

use bertsd_cuda::{
    Error, Result,
    device::{
        Backend, Capacity, Shape, Storage,
        cpu::CpuDevice,
        cuda::{self, CudaDevice, Element, cuda_devices},
    },
    distillation::{Method, Plan, SdvMode, TeacherKind},
    encoder::{Encoder, LastLayer},
    model::{ConfigFile, Layout},
    training::MemoryPlan,
};
use serde_json::{Map, Value, json};

use super::{console, score_table::aligned, scoring, threads::set_threads};
use crate::cli::InfoArgs;

/// Longest sequence of training where the user says none.
const MAX_LENGTH: usize = 512;

pub fn run(args: InfoArgs) -> anyhow::Result<()> {
    set_threads(args.threads)?;
    let mut text = String::new();
    let mut object = Map::new();
    if let Some(name) = &args.model {
        let directory = scoring::find(name)?;
        let file = ConfigFile::read(&directory)?;
        describe_model(&file, &directory.display().to_string(), &mut text, &mut object);
        plan_memory(&args, &file, &mut text, &mut object)?;
    }
    describe_devices(&mut text, &mut object);
    Ok(console::print(&if args.json { format!("{}\n", Value::Object(object)) } else { text })?)
}

fn describe_model(file: &ConfigFile, directory: &str, text: &mut String, object: &mut Map<String, Value>) {
    let config = &file.config;
    let layout = Layout::new(config);
    let parameters = layout.parameters();
    let embeddings = layout.embeddings.word.len + layout.embeddings.position.len + layout.embeddings.kind.len;
    let rows = [
        ("parameters", parameters),
        ("of them in embeddings", embeddings),
        ("layers", config.layers),
        ("hidden size", config.hidden_size),
        ("attention heads", config.heads),
        ("feed-forward size", config.intermediate_size),
        ("vocabulary", config.vocab_size),
        ("positions", config.max_positions),
        ("labels", config.labels),
    ];
    let table: Vec<Vec<String>> = rows.iter().map(|(name, value)| vec![(*name).to_owned(), grouped(*value)]).collect();
    text.push_str(&format!("model {directory}\n\n{}\n", aligned(&table)));
    object.insert(
        "model".to_owned(),
        json!({
            "directory": directory, "parameters": parameters, "embedding_parameters": embeddings,
            "layers": config.layers, "hidden_size": config.hidden_size, "heads": config.heads,
            "intermediate_size": config.intermediate_size, "vocab_size": config.vocab_size,
            "max_positions": config.max_positions, "labels": file.labels,
        }),
    );
}

fn plan_memory(args: &InfoArgs, file: &ConfigFile, text: &mut String, object: &mut Map<String, Value>) -> Result<()> {
    let config = &file.config;
    let length = args.max_length.unwrap_or(MAX_LENGTH.min(config.max_positions));
    if length > config.max_positions {
        let message = format!("{length} is more than the {} positions the model knows", config.max_positions);
        return Err(Error::setting("max-length", message));
    }
    let (method, teacher) = (args.method, args.teacher);
    if method == Method::Sdv && !matches!(teacher, TeacherKind::Window(_)) {
        return Err(Error::setting("teacher", format!("sdv takes window:K, not {teacher}")));
    }
    let tokens = args.batch_size.checked_mul(length).filter(|tokens| *tokens <= u32::MAX as usize);
    let too_many =
        || Error::setting("batch-size", format!("{} sequences of {length} tokens are too many", args.batch_size));
    let capacity = Capacity { tokens: tokens.ok_or_else(too_many)?, sequences: args.batch_size, length };

    let average = (args.average || method == Method::Se).then_some(1);
    let plan = Plan::new(method, teacher, SdvMode::LookAhead, average, false);
    let encoder = Encoder::new(config, LastLayer::FirstRows);
    let shape = Shape::new(config);
    let (precision, storage, scratch) = match args.device.resolve(args.precision)? {
        Backend::Cpu => ("float32 on the processor", Storage::FLOAT32, CpuDevice::scratch_bytes(shape, capacity)),
        Backend::CudaF32 { .. } => {
            ("float32 on the GPU", f32::STORAGE, CudaDevice::<f32>::scratch_bytes(shape, capacity))
        }
        Backend::CudaTf32 { .. } => {
            let scratch = CudaDevice::<cuda::Tf32>::scratch_bytes(shape, capacity);
            ("float32 with tf32 products on the GPU", cuda::Tf32::STORAGE, scratch)
        }
        Backend::CudaBf16 { .. } => {
            ("bf16 on the GPU", cuda::Bf16::STORAGE, CudaDevice::<cuda::Bf16>::scratch_bytes(shape, capacity))
        }
    };
    let MemoryPlan { rows } = MemoryPlan::new(&encoder, &plan, capacity, capacity, storage, scratch);
    let total: usize = rows.iter().map(|(_, bytes)| bytes).sum();
    let row = |name: &str, bytes: usize| vec![name.to_owned(), format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))];
    let mut table: Vec<Vec<String>> = rows.iter().map(|(name, bytes)| row(name, *bytes)).collect();
    table.push(row("total", total));
    text.push_str(&format!(
        "memory to train it in {precision}, {} sequences of {length} tokens a micro-batch\n\n{}\n",
        args.batch_size,
        aligned(&table)
    ));
    let mut memory: Map<String, Value> =
        rows.iter().map(|(name, bytes)| (format!("{}_bytes", name.replace(' ', "_")), Value::from(*bytes))).collect();
    memory.insert("total_bytes".to_owned(), total.into());
    memory.insert("batch_size".to_owned(), args.batch_size.into());
    memory.insert("max_length".to_owned(), length.into());
    object.insert("memory".to_owned(), Value::Object(memory));
    Ok(())
}

fn describe_devices(text: &mut String, object: &mut Map<String, Value>) {
    let cpu = CpuDevice::description();
    text.push_str(&format!("devices\n\ncpu     {cpu}\n"));
    let cuda = cuda_devices();
    match &cuda {
        Err(reason) => text.push_str(&format!("cuda    none: {reason}\n")),
        Ok(devices) if devices.is_empty() => text.push_str("cuda    none: the driver lists no device\n"),
        Ok(devices) => devices.iter().for_each(|device| {
            let unusable = device.unusable().map_or_else(String::new, |reason| format!("; not usable: {reason}"));
            text.push_str(&format!(
                "cuda:{}  {}, {:.1} GiB, compute capability {}.{}{unusable}\n",
                device.ordinal,
                device.name,
                device.memory_bytes as f64 / f64::from(1 << 30),
                device.capability.0,
                device.capability.1
            ));
        }),
    }
    let listed = cuda.unwrap_or_default().into_iter().map(|device| {
        json!({"device": format!("cuda:{}", device.ordinal), "name": device.name, "memory_bytes": device.memory_bytes,
               "capability": [device.capability.0, device.capability.1], "usable": device.unusable().is_none()})
    });
    let cpu = json!({"device": "cpu", "name": cpu, "usable": true});
    object.insert("devices".to_owned(), std::iter::once(cpu).chain(listed).collect());
}

/// 109,483,778.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
