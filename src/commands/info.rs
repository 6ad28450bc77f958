//! `info`: a model's sizes, the memory that training it takes, and the devices here.

use bertsd_cuda::{
    Error, Result,
    device::{
        Backend, Capacity, Shape, Storage,
        cpu::CpuDevice,
        cuda::{self, CudaDevice, CudaInfo, Element, cuda_devices},
    },
    distillation::{Method, MethodSettings},
    encoder::{Encoder, LastLayer},
    model::{ConfigFile, Layout},
    threads::set_threads,
    training::{MAX_LENGTH, MemoryPlan, OwnMemory, largest_that_fits},
};
use serde_json::{Map, Value, json};

use super::{console, score_table::aligned, scoring};
use crate::cli::InfoArgs;

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

/// Steps of a run in which a share of it takes as much memory as it ever does.
const LONG_RUN: u64 = 1_000_000;

fn plan_memory(args: &InfoArgs, file: &ConfigFile, text: &mut String, object: &mut Map<String, Value>) -> Result<()> {
    let config = &file.config;
    let length = args.max_length.unwrap_or(MAX_LENGTH.min(config.max_positions));
    if length > config.max_positions {
        let message = format!("{length} is more than the {} positions the model knows", config.max_positions);
        return Err(Error::setting("max-length", message));
    }
    let average_from = (args.average || args.method == Method::Se).then_some(1);
    let method = MethodSettings { average_from, ..MethodSettings::new(args.method, args.teacher.over(LONG_RUN)) };
    method.check()?;
    if args.batch_size.checked_mul(length).is_none_or(|tokens| tokens > u32::MAX as usize) {
        let message = format!("{} sequences of {length} tokens are too many", args.batch_size);
        return Err(Error::setting("batch-size", message));
    }

    let encoder = Encoder::new(config, LastLayer::FirstRows).with_recompute(args.recompute);
    let shape = Shape::new(config);
    let backend = args.device.resolve(args.precision)?;
    let (precision, storage) = match backend {
        Backend::Cpu => ("float32 on the processor", Storage::FLOAT32),
        Backend::CudaF32 { .. } => ("float32 on the GPU", f32::STORAGE),
        Backend::CudaTf32 { .. } => ("float32 with tf32 products on the GPU", cuda::Tf32::STORAGE),
        Backend::CudaBf16 { .. } => ("bf16 on the GPU", cuda::Bf16::STORAGE),
    };
    let device = gpu(backend);
    let multiprocessors = device.as_ref().map_or(0, |device| device.multiprocessors.unsigned_abs() as usize);
    let plan_of = |sequences: usize| {
        let capacity = Capacity { tokens: sequences * length, sequences, length };
        let scratch = match backend {
            Backend::Cpu => CpuDevice::scratch_bytes(shape, capacity),
            Backend::CudaF32 { .. } => CudaDevice::<f32>::scratch_bytes(multiprocessors, shape, capacity),
            Backend::CudaTf32 { .. } => CudaDevice::<cuda::Tf32>::scratch_bytes(multiprocessors, shape, capacity),
            Backend::CudaBf16 { .. } => CudaDevice::<cuda::Bf16>::scratch_bytes(multiprocessors, shape, capacity),
        };
        let head_room_bytes = match backend {
            Backend::Cpu => 0,
            _ => CudaDevice::<f32>::graph_bytes(config.layers, capacity, None),
        };
        let own = OwnMemory { scratch_bytes: scratch, head_room_bytes };
        MemoryPlan::new(&encoder, &method, capacity, capacity, sequences, storage, own)
    };
    let whole = plan_of(args.batch_size);
    let total = whole.total_bytes();
    let MemoryPlan { rows } = whole;
    let row = |name: &str, bytes: usize| vec![name.to_owned(), format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))];
    let mut table: Vec<Vec<String>> = rows.iter().map(|(name, bytes)| row(name, *bytes)).collect();
    table.push(row("total", total));
    text.push_str(&format!(
        "memory to train it in {precision}, {} sequences of {length} tokens a micro-batch\n\n{}\n",
        args.batch_size,
        aligned(&table)
    ));
    let fits = device.map(|CudaInfo { memory_bytes, .. }| {
        let needs = |sequences| plan_of(sequences).total_bytes();
        (memory_bytes, largest_that_fits(args.batch_size, memory_bytes, needs))
    });
    if let Some((memory_bytes, largest)) = fits {
        let gib = gib(memory_bytes);
        text.push_str(&match largest {
            Some(largest) if largest == args.batch_size => format!("it fits into the {gib} of the device\n\n"),
            Some(largest) => {
                format!("it does NOT fit into the {gib} of the device; a --batch-size of {largest} would\n\n")
            }
            None => format!("it does NOT fit into the {gib} of the device, whatever the --batch-size\n\n"),
        });
    }
    let mut memory: Map<String, Value> =
        rows.iter().map(|(name, bytes)| (format!("{}_bytes", name.replace(' ', "_")), Value::from(*bytes))).collect();
    memory.insert("total_bytes".to_owned(), total.into());
    memory.insert("batch_size".to_owned(), args.batch_size.into());
    memory.insert("max_length".to_owned(), length.into());
    if let Some((memory_bytes, largest)) = fits {
        memory.insert("device_bytes".to_owned(), memory_bytes.into());
        memory.insert("largest_batch_size_that_fits".to_owned(), largest.into());
    }
    object.insert("memory".to_owned(), Value::Object(memory));
    Ok(())
}

/// The GPU that this runs on.
fn gpu(backend: Backend) -> Option<CudaInfo> {
    let (Backend::CudaF32 { ordinal } | Backend::CudaTf32 { ordinal } | Backend::CudaBf16 { ordinal }) = backend else {
        return None;
    };
    cuda_devices().ok()?.into_iter().nth(ordinal)
}

fn gib(bytes: usize) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
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
            let ((major, minor), driver) = (device.capability, device.driver_version);
            text.push_str(&format!(
                "cuda:{}  {}, {}, compute capability {major}.{minor}, {} multiprocessors, {} KiB of shared memory a \
                 block, {} MiB of L2 cache; the driver knows CUDA {}.{}{unusable}\n",
                device.ordinal,
                device.name,
                gib(device.memory_bytes),
                device.multiprocessors,
                device.shared_bytes / 1024,
                device.l2_bytes >> 20,
                driver / 1000,
                driver % 1000 / 10,
            ));
        }),
    }
    let listed = cuda.unwrap_or_default().into_iter().map(|device| {
        json!({"device": format!("cuda:{}", device.ordinal), "name": device.name, "memory_bytes": device.memory_bytes,
               "capability": [device.capability.0, device.capability.1], "multiprocessors": device.multiprocessors,
               "shared_bytes": device.shared_bytes, "l2_bytes": device.l2_bytes,
               "driver_version": device.driver_version, "usable": device.unusable().is_none()})
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
