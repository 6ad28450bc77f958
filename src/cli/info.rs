//! Options of `info`.

use bertsd_cuda::{
    device::{DeviceChoice, Precision},
    distillation::{Method, TeacherKind},
    encoder::Recompute,
    text_value::parser,
    training::RunOptions,
};
use clap::{Args, ValueHint};

use super::scoring::at_least_one;

#[derive(Args, Clone, Debug)]
pub struct InfoArgs {
    /// Model to describe: a Hugging Face directory, a run's directory, or owner/name on the hub (cached) [default:
    /// none]
    #[arg(
        long, value_name = "DIR|NAME", value_parser = parser::<String>(), value_hint = ValueHint::DirPath,
        help_heading = "Model"
    )]
    pub model: Option<String>,

    /// Sequences of a micro-batch to plan memory for
    #[arg(
        long, value_name = "N", default_value_t = RunOptions::default().batch_size, value_parser = at_least_one,
        help_heading = "Memory plan"
    )]
    pub batch_size: usize,

    /// Tokens of each sequence to plan memory for [default: 512, or what the model knows]
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one, help_heading = "Memory plan")]
    pub max_length: Option<usize>,

    /// Method to plan memory for: ft, se, sda, sdv, rdrop
    #[arg(
        long, value_parser = parser::<Method>(), value_name = "METHOD", default_value_t = RunOptions::default().method,
        help_heading = "Memory plan"
    )]
    pub method: Method,

    /// Teacher to plan memory for: window:K, window:K/S, window:P%, all, ema:D, zero
    #[arg(
        long, value_parser = parser::<TeacherKind>(), value_name = "TEACHER",
        default_value_t = RunOptions::default().teacher, help_heading = "Memory plan"
    )]
    pub teacher: TeacherKind,

    /// Plan memory for the mean of the iterates too (se always keeps it)
    #[arg(long, help_heading = "Memory plan")]
    pub average: bool,

    /// What the backward pass recomputes: none, gelu, layer
    #[arg(
        long, value_parser = parser::<Recompute>(), value_name = "PART",
        default_value_t = RunOptions::default().recompute, help_heading = "Memory plan"
    )]
    pub recompute: Recompute,

    /// Device to plan memory for: auto, cpu, cuda, cuda:N
    #[arg(
        long, value_parser = parser::<DeviceChoice>(), value_name = "DEVICE", default_value = "auto",
        help_heading = "Memory plan"
    )]
    pub device: DeviceChoice,

    /// What a GPU stores activations as: auto, bf16, tf32, f32; auto is bf16 there, and float32 on the processor; tf32
    /// is f32 but for the factors of the products of linear layers, which are rounded to 10 bits of mantissa (by 0.05 %
    /// at most)
    #[arg(
        long, value_parser = parser::<Precision>(), value_name = "TYPE", default_value = "auto",
        help_heading = "Memory plan"
    )]
    pub precision: Precision,

    /// Print one JSON object instead of tables
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// CPU threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Computing")]
    pub threads: Option<usize>,
}
