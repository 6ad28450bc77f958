//! From the tensors of a checkpoint to the arena.
//!
//! A checkpoint's names are brought to those of `BertForSequenceClassification`: without the prefixes of what the model
//! was wrapped in, with the `bert.` prefix that headless checkpoints lack, and `LayerNorm.weight/bias` for the
//! `gamma/beta` of the first releases. Every parameter is found, with its
//! shape and finite, or the load fails naming it, but for the pooler and the classifier, which training may start anew.
//! What is in the file and not used is either on a short list of known extras or reported. All checks come before the
//! arena is allocated: a config that lies about its sizes costs nothing.

use std::{collections::HashMap, path::Path};

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use super::{BertConfig, Layout, Segment, init, shards::WeightFile, tensor_file::Tensor};
use crate::{Error, Result};

/// How many names an error or a notice spells out.
const NAMES_SHOWN: usize = 5;

/// The two linear layers that training may start anew.
const POOLER: &str = "bert.pooler.dense";
const CLASSIFIER: &str = "classifier";

/// What wrappers put before the names of the model in them: data parallelism, compilation, a module of one's own.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];
/// What encoders are called in classifiers.
const ENCODERS: [&str; 2] = ["bert.", "roberta."];
/// Parameters for each byte of the files at most. Several may share their numbers, but not without end.
const PARAMETERS_PER_BYTE: usize = 8;

/// What the arena is read for.
pub(super) struct Request<'a> {
    pub directory: &'a Path,
    pub config: &'a BertConfig,
    pub layout: &'a Layout,
    /// The checkpoint's `classifier` is for another task than classifying sequences.
    pub foreign_classifier: bool,
    /// The seed for a pooler or classifier that has to be made; without one, both must be in the files.
    pub seed: Option<u64>,
}

/// What the files gave.
pub(super) struct Loaded {
    pub arena: Vec<f32>,
    /// For the user: what was made anew, what was ignored.
    pub notices: Vec<String>,
    pub new_classifier: bool,
}

/// Fills an arena from the files.
///
/// # Errors
/// [`Error::Model`] naming the tensor that is missing, comes twice, has another shape or type, or is not finite.
pub(super) fn read(files: &[WeightFile], request: &Request<'_>) -> Result<Loaded> {
    let mut notices = Vec::new();
    let Collected { mut sources, unused } = collect(files, request, &mut notices)?;
    drop_other_classifier(&mut sources, request, &mut notices)?;
    let new_heads = absent_heads(&sources, request.layout);
    refuse_missing(&sources, &unused, request, &new_heads)?;
    if !unused.is_empty() {
        notices.push(format!("ignored tensors that a BERT sequence classifier does not have: {}", listed(&unused)));
    }
    announce_heads(&new_heads, request, &mut notices)?;
    for (segment, source) in request.layout.segments.iter().zip(&sources) {
        source.map_or(Ok(()), |tensor| check_tensor(&tensor, segment))?;
    }
    let file_bytes: usize = files.iter().map(WeightFile::length_bytes).sum();
    let parameters = request.layout.parameters();
    if parameters / PARAMETERS_PER_BYTE > file_bytes {
        let message =
            format!("has {parameters} parameters in {file_bytes} bytes; its tensors share more than makes sense");
        return Err(Error::model(request.directory, message));
    }
    let mut arena = allocate(request)?;
    let jobs: Vec<_> = init::parts_mut(request.layout, &mut arena).into_iter().zip(&sources).enumerate().collect();
    let outcomes: Vec<Result<()>> = jobs
        .into_par_iter()
        .map(|(place, (part, source))| match source {
            Some(tensor) => decode_into(tensor, &request.layout.segments[place], part),
            None => {
                // Without a seed nothing is missing here: `announce_heads` has seen to it.
                let seed = request.seed.unwrap_or_default();
                let segment = &request.layout.segments[place];
                init::fill_segment(place, segment, request.config.initializer_range, seed, part);
                Ok(())
            }
        })
        .collect();
    outcomes.into_iter().collect::<Result<()>>()?;
    Ok(Loaded { arena, notices, new_classifier: new_heads.contains(&CLASSIFIER) })
}

/// What the files hold.
struct Collected<'a> {
    /// The tensor of each parameter, at the parameter's place in the layout.
    sources: Vec<Option<Tensor<'a>>>,
    /// Names of tensors that are of no parameter.
    unused: Vec<&'a str>,
}

fn collect<'a>(files: &'a [WeightFile], request: &Request<'_>, notices: &mut Vec<String>) -> Result<Collected<'a>> {
    let segments = &request.layout.segments;
    let places: HashMap<&str, usize> = segments.iter().enumerate().map(|(i, s)| (s.name.as_str(), i)).collect();
    let mut sources: Vec<Option<Tensor<'a>>> = vec![None; segments.len()];
    let (mut unused, mut wrappers) = (Vec::new(), "");
    for tensor in files.iter().flat_map(WeightFile::tensors) {
        let (wrapper, name) = unwrapped(tensor.name);
        if is_known_extra(name) {
            continue;
        }
        let canonical = canonical_name(name);
        let foreign = request.foreign_classifier && canonical.starts_with("classifier.");
        match places.get(canonical.as_str()).filter(|_| !foreign) {
            Some(&place) => {
                wrappers = if wrapper.is_empty() { wrappers } else { wrapper };
                if let Some(earlier) = sources[place].replace(tensor) {
                    let message = format!(
                        "both '{}' ({}) and '{}' are the parameter {canonical}; remove one",
                        earlier.name,
                        earlier.file.display(),
                        tensor.name
                    );
                    return Err(Error::model(tensor.file, message));
                }
            }
            None => {
                refuse_surplus_layer(&tensor, &canonical, request.config.layers)?;
                unused.push(tensor.name);
            }
        }
    }
    if !wrappers.is_empty() {
        notices.push(format!("the names of its tensors begin with '{wrappers}', which is left out"));
    }
    Ok(Collected { sources, unused })
}

/// A name cut into the prefixes of wrappers and what the model itself calls the tensor.
fn unwrapped(name: &str) -> (&str, &str) {
    let mut rest = name;
    while let Some(inner) = WRAPPERS.iter().find_map(|wrapper| rest.strip_prefix(wrapper)) {
        rest = inner;
    }
    name.split_at(name.len() - rest.len())
}

/// Buffers, and the heads of BERT's pre-training: nothing that a classifier could want.
fn is_known_extra(name: &str) -> bool {
    let body = name.strip_prefix("bert.").unwrap_or(name);
    matches!(body, "embeddings.position_ids" | "embeddings.token_type_ids")
        || name.starts_with("cls.predictions.")
        || name.starts_with("cls.seq_relationship.")
}

/// The name that today's `BertForSequenceClassification` gives the tensor.
fn canonical_name(name: &str) -> String {
    let body = ENCODERS.iter().find_map(|encoder| name.strip_prefix(encoder)).unwrap_or(name);
    let mut canonical = match name.starts_with("classifier.") {
        true => name.to_owned(),
        false => format!("bert.{body}"),
    };
    for (old, new) in [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")] {
        if let Some(stem) = canonical.strip_suffix(old) {
            canonical = format!("{stem}{new}");
        }
    }
    canonical
}

fn refuse_surplus_layer(tensor: &Tensor<'_>, canonical: &str, layers: usize) -> Result<()> {
    let number = canonical.strip_prefix("bert.encoder.layer.").and_then(|rest| rest.split('.').next());
    match number.and_then(|number| number.parse::<usize>().ok()) {
        Some(number) if number >= layers => {
            let message = format!(
                "holds '{}', but config.json says num_hidden_layers {layers}; the two do not belong together",
                tensor.name
            );
            Err(Error::model(tensor.file, message))
        }
        _ => Ok(()),
    }
}

/// The places of a head's weight and bias.
fn head_places(layout: &Layout, head: &str) -> Option<(usize, usize)> {
    let place = |suffix| layout.segments.iter().position(|s| s.name.strip_suffix(suffix) == Some(head));
    Some((place(".weight")?, place(".bias")?))
}

/// When training, a classifier for another number of labels gives way.
fn drop_other_classifier(
    sources: &mut [Option<Tensor<'_>>],
    request: &Request<'_>,
    notices: &mut Vec<String>,
) -> Result<()> {
    let Some((weight, bias)) = head_places(request.layout, CLASSIFIER) else { return Ok(()) };
    let (Some(w), Some(b)) = (sources[weight], sources[bias]) else { return Ok(()) };
    let (c, n) = (request.config.hidden_size, request.config.labels);
    let count = match (w.shape, b.shape) {
        (&[rows, cols], &[len]) if rows == len && cols == c && rows != n => rows,
        _ => return Ok(()),
    };
    if request.seed.is_none() {
        let message = format!("the classifier is for {count} labels, but config.json has {n}");
        return Err(Error::model(w.file, message));
    }
    notices.push(format!("the checkpoint's classifier is for {count} labels and is not used, as the data has {n}"));
    (sources[weight], sources[bias]) = (None, None);
    Ok(())
}

/// The heads of which neither weight nor bias is there.
fn absent_heads(sources: &[Option<Tensor<'_>>], layout: &Layout) -> Vec<&'static str> {
    let absent = |&head: &&str| {
        head_places(layout, head).is_some_and(|(weight, bias)| sources[weight].is_none() && sources[bias].is_none())
    };
    [POOLER, CLASSIFIER].into_iter().filter(absent).collect()
}

/// A notice for each head to be made anew; without a seed they are an error.
fn announce_heads(new_heads: &[&str], request: &Request<'_>, notices: &mut Vec<String>) -> Result<()> {
    for &head in new_heads {
        let title = if head == POOLER { "pooler" } else { "classifier" };
        let Some(seed) = request.seed else {
            let message = format!("the weights have no {title} to classify sequences with; fine-tune this model first");
            return Err(Error::model(request.directory, message));
        };
        let deviation = request.config.initializer_range;
        notices.push(format!("initialised a new {title} (normal, standard deviation {deviation}, seed {seed})"));
    }
    Ok(())
}

fn refuse_missing(
    sources: &[Option<Tensor<'_>>],
    unused: &[&str],
    request: &Request<'_>,
    new_heads: &[&str],
) -> Result<()> {
    let is_new = |name: &str| new_heads.iter().any(|head| name.starts_with(head));
    let missing: Vec<&str> = (request.layout.segments.iter().zip(sources))
        .filter(|(segment, source)| source.is_none() && !is_new(&segment.name))
        .map(|(segment, _)| segment.name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Those without a place in the model say the most about why others are missing.
    let found: Vec<&str> = unused.iter().copied().chain(sources.iter().flatten().map(|tensor| tensor.name)).collect();
    let found = if found.is_empty() { "nothing".to_owned() } else { listed(&found) };
    let message = format!(
        "the weights lack {}; they have {found}: is this a BERT, and does config.json belong to it?",
        listed(&missing)
    );
    Err(Error::model(request.directory, message))
}

fn check_tensor(tensor: &Tensor<'_>, segment: &Segment) -> Result<()> {
    let Tensor { file, name, dtype, shape, .. } = *tensor;
    if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) {
        let message = format!("tensor '{name}' is of type {dtype}; F32, F16, BF16 and F64 can be read");
        return Err(Error::model(file, message));
    }
    if shape != segment.shape {
        let message = format!(
            "tensor '{name}' has the shape {shape:?}; config.json makes it {:?}: which is wrong?",
            segment.shape
        );
        return Err(Error::model(file, message));
    }
    Ok(())
}

fn allocate(request: &Request<'_>) -> Result<Vec<f32>> {
    let mut arena = Vec::new();
    arena.try_reserve_exact(request.layout.len).map_err(|_| {
        let gib = request.layout.len as f64 * 4.0 / f64::from(1 << 30);
        Error::model(request.directory, format!("its weights need {gib:.1} GiB of memory, more than there is"))
    })?;
    arena.resize(request.layout.len, 0.0);
    Ok(arena)
}

/// [`decode`] to where the parameter's elements lie.
fn decode_into(tensor: &Tensor<'_>, segment: &Segment, part: &mut [f32]) -> Result<()> {
    if !segment.is_padded() {
        return decode(tensor, part);
    }
    let mut dense = vec![0.0; segment.elements()];
    decode(tensor, &mut dense)?;
    for (run, elements) in segment.runs_mut(part).zip(dense.chunks_exact(segment.run)) {
        run.copy_from_slice(elements);
    }
    Ok(())
}

/// Converts a checked tensor and looks for the first number that is none.
fn decode(tensor: &Tensor<'_>, part: &mut [f32]) -> Result<()> {
    let filled = match tensor.dtype {
        Dtype::F32 => convert(tensor, part, f32::from_le_bytes),
        Dtype::F16 => convert(tensor, part, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => convert(tensor, part, |b| bf16::from_le_bytes(b).to_f32()),
        _ => convert(tensor, part, |b| f64::from_le_bytes(b) as f32),
    };
    if !filled {
        let message = format!("tensor '{}' has {} bytes for {} elements", tensor.name, tensor.bytes.len(), part.len());
        return Err(Error::model(tensor.file, message));
    }
    // Without a branch an element, so that it runs at the speed of memory.
    if part.iter().fold(true, |finite, x| finite & x.is_finite()) {
        return Ok(());
    }
    let index = part.iter().position(|x| !x.is_finite()).unwrap_or_default();
    let message = format!(
        "tensor '{}' is {} at element {index} of {:?}; such weights classify nothing: take an earlier checkpoint",
        tensor.name, part[index], tensor.shape
    );
    Err(Error::model(tensor.file, message))
}

/// Whether the lengths agreed; overwrites `part` if they did.
fn convert<const W: usize>(tensor: &Tensor<'_>, part: &mut [f32], element: impl Fn([u8; W]) -> f32) -> bool {
    let (chunks, []) = tensor.bytes.as_chunks::<W>() else { return false };
    if let Some(strides) = tensor.strides {
        return gather(chunks, tensor.shape, strides, part, element);
    }
    if chunks.len() != part.len() {
        return false;
    }
    for (x, chunk) in part.iter_mut().zip(chunks) {
        *x = element(*chunk);
    }
    true
}

/// [`convert`] for elements that do not lie one after another. Parameters have one dimension or two.
fn gather<const W: usize>(
    chunks: &[[u8; W]],
    shape: &[usize],
    strides: &[usize],
    part: &mut [f32],
    element: impl Fn([u8; W]) -> f32,
) -> bool {
    let (cols, row_stride, stride) = match (shape, strides) {
        (&[cols], &[stride]) => (cols, 0, stride),
        (&[_, cols], &[row_stride, stride]) => (cols, row_stride, stride),
        _ => return false,
    };
    part.chunks_mut(cols.max(1)).enumerate().all(|(row, part)| {
        part.iter_mut().enumerate().all(|(col, x)| {
            let chunk = chunks.get(row * row_stride + col * stride);
            chunk.map(|chunk| *x = element(*chunk)).is_some()
        })
    })
}

/// The first few names, and how many there are.
fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES_SHOWN)].join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more ({} in all)", names.len()),
    }
}
