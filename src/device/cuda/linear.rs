//! Linear layers (kernels/linear.cu, linear_input.cu, linear_weight.cu): one launch per operation.

use std::{marker::PhantomData, sync::Arc};

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DevicePtrMut, PushKernelArg};

use super::{
    CudaDevice, CudaGradients, Setup,
    arguments::{DropoutArgs, RowsArgs},
    element::Element,
    kernels::geometry::GEMM_THREADS,
    launch::ByDropout,
    linear_tiles::{Choice, Parts, Tiled, names},
};
use crate::{
    Result,
    device::{
        Dropout, LinearOps, Matrix, On, Rows, Sink, Write,
        linear::{check, check_first, query_and_key_value},
    },
    model::{Activation, View, layout::Linear},
};

/// Kernels, and where split sums wait.
pub(crate) struct Linears<E: Element> {
    linear: Tiled,
    gelu: Tiled,
    residual: ByDropout<Tiled>,
    pooler: Tiled,
    project_first: Tiled,
    backward_input: Tiled,
    backward_input_gelu: Tiled,
    project_first_backward_input: Tiled,
    backward_weight: Tiled,
    parts: Parts,
    element: PhantomData<E>,
}

impl<E: Element> Linears<E> {
    pub(crate) fn new(setup: &Setup, parts: CudaSlice<f32>, arrivals: CudaSlice<u32>) -> Result<Self> {
        let tiled = |names| Tiled::new::<E>(setup, names);
        let for_sequences = |names| Tiled::for_sequences::<E>(setup, names);
        let residual = ByDropout {
            drops: names!("linear_dropout_residual_forward", "large", "medium", "small"),
            keeps: names!("linear_residual_forward", "large", "medium", "small"),
        };
        let (gelu, backward_input_gelu) = match setup.shape.activation {
            Activation::GeluErf => (
                names!("linear_gelu_forward", "large", "medium", "small"),
                names!("linear_backward_input_gelu", "large", "medium", "small"),
            ),
            Activation::GeluTanh => (
                names!("linear_gelu_tanh_forward", "large", "medium", "small"),
                names!("linear_backward_input_gelu_tanh", "large", "medium", "small"),
            ),
        };
        Ok(Self {
            linear: tiled(names!("linear_forward", "large", "medium", "small"))?,
            gelu: tiled(gelu)?,
            residual: residual.try_map(tiled)?,
            pooler: for_sequences(names!("pooler_forward"))?,
            project_first: tiled(names!("project_first_forward", "large", "medium", "small"))?,
            backward_input: tiled(names!("linear_backward_input", "large", "medium", "small"))?,
            backward_input_gelu: tiled(backward_input_gelu)?,
            project_first_backward_input: for_sequences(names!("project_first_backward_input"))?,
            backward_weight: Tiled::for_weights::<E>(setup, names!("linear_backward_weight", "large", "medium"))?,
            parts: Parts::new(setup, parts, arrivals),
            element: PhantomData,
        })
    }
}

/// Inputs I and outputs O of a layer.
fn sizes(layer: Linear) -> (u32, u32) {
    ((layer.weight.len / layer.bias.len) as u32, layer.bias.len as u32)
}

/// Address of a buffer that may not be there: 0 then.
fn address<E: Element>(stream: &Arc<CudaStream>, matrix: Option<&Matrix<CudaDevice<E>>>) -> u64 {
    matrix.map_or(0, |matrix| matrix.elements.device_ptr(stream).0)
}

fn gradient_address(stream: &Arc<CudaStream>, gradients: &mut CudaGradients, view: View) -> u64 {
    gradients.view(view).device_ptr_mut(stream).0
}

impl<E: Element> LinearOps for CudaDevice<E> {
    fn linear(&mut self, y: &mut Matrix<Self>, x: &Matrix<Self>, layer: Linear, on: On<'_, Self>) -> Result<()> {
        check("linear", layer, on, &[("x", Some(x))], &[("y", Some(y))]);
        let (inputs, outputs) = sizes(layer);
        let (weight, bias) = (on.weights.matrix(layer.weight), on.weights.vector(layer.bias));
        let Choice { kernel, grid, shared_bytes, .. } =
            self.linear.linear.choose(on.batch.bucket_rows(on.rows), outputs as usize);
        let rows = RowsArgs::new(on.rows, on.batch);
        // SAFETY: checked above: x [rows, inputs] and y [rows, outputs]; the kernel stops at the true number of rows.
        unsafe {
            self.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
                args.arg(&mut y.elements).arg(&x.elements).arg(&weight).arg(&bias);
                args.arg(&inputs).arg(&outputs).arg(&rows);
            })
        }
    }

    fn linear_gelu(
        &mut self,
        h: &mut Matrix<Self>,
        u: Option<&mut Matrix<Self>>,
        x: &Matrix<Self>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        check("linear with GELU", layer, on, &[("x", Some(x))], &[("h", Some(h)), ("u", u.as_deref())]);
        let (inputs, outputs) = sizes(layer);
        let (weight, bias) = (on.weights.matrix(layer.weight), on.weights.vector(layer.bias));
        let u = address(&self.launcher.stream, u.as_deref());
        let Choice { kernel, grid, shared_bytes, .. } =
            self.linear.gelu.choose(on.batch.bucket_rows(on.rows), outputs as usize);
        let rows = RowsArgs::new(on.rows, on.batch);
        // SAFETY: as in `linear`; u is nothing or [rows, outputs] too, and the caller's borrow of it lasts until the
        // launch is queued.
        unsafe {
            self.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
                args.arg(&mut h.elements).arg(&u).arg(&x.elements).arg(&weight).arg(&bias);
                args.arg(&inputs).arg(&outputs).arg(&rows);
            })
        }
    }

    fn linear_dropout_residual(
        &mut self,
        r: &mut Matrix<Self>,
        x: &Matrix<Self>,
        residual: &Matrix<Self>,
        layer: Linear,
        dropout: Dropout,
        on: On<'_, Self>,
    ) -> Result<()> {
        let of_outputs = [("r", Some(&*r)), ("the residual", Some(residual))];
        check("linear with residual", layer, on, &[("x", Some(x))], &of_outputs);
        let (inputs, outputs) = sizes(layer);
        let (weight, bias) = (on.weights.matrix(layer.weight), on.weights.vector(layer.bias));
        let Choice { kernel, grid, shared_bytes, .. } =
            self.linear.residual.choose(dropout).choose(on.batch.bucket_rows(on.rows), outputs as usize);
        let (rows, header) = (RowsArgs::new(on.rows, on.batch), on.batch.header());
        let dropout = DropoutArgs::new(dropout, on.batch);
        // SAFETY: as in `linear`; residual is [rows, outputs] too.
        unsafe {
            self.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
                args.arg(&mut r.elements).arg(&x.elements).arg(&residual.elements).arg(&weight).arg(&bias);
                args.arg(&inputs).arg(&outputs).arg(&rows).arg(&header).arg(&dropout);
            })
        }
    }

    fn linear_backward_input(
        &mut self,
        d_x: &mut Matrix<Self>,
        d_y: &Matrix<Self>,
        residual: Option<&Matrix<Self>>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        let of_inputs = [("d_x", Some(&*d_x)), ("the residual", residual)];
        check("linear backward, input", layer, on, &of_inputs, &[("d_y", Some(d_y))]);
        let (inputs, outputs) = sizes(layer);
        let weight = on.weights.matrix(layer.weight);
        let residual = address(&self.launcher.stream, residual);
        let Choice { kernel, grid, shared_bytes, .. } =
            self.linear.backward_input.choose(on.batch.bucket_rows(on.rows), inputs as usize);
        let rows = RowsArgs::new(on.rows, on.batch);
        // SAFETY: checked above: d_y [rows, outputs], d_x [rows, inputs] and a residual like d_x.
        unsafe {
            self.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
                args.arg(&mut d_x.elements).arg(&d_y.elements).arg(&residual).arg(&weight);
                args.arg(&inputs).arg(&outputs).arg(&rows);
            })
        }
    }

    fn linear_backward_input_gelu(
        &mut self,
        d_u: &mut Matrix<Self>,
        h: Option<&mut Matrix<Self>>,
        d_y: &Matrix<Self>,
        u: &Matrix<Self>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        let of_inputs = [("d_u", Some(&*d_u)), ("h", h.as_deref()), ("u", Some(u))];
        check("linear backward, input with GELU", layer, on, &of_inputs, &[("d_y", Some(d_y))]);
        let (inputs, outputs) = sizes(layer);
        let weight = on.weights.matrix(layer.weight);
        let h = address(&self.launcher.stream, h.as_deref());
        let Choice { kernel, grid, shared_bytes, .. } =
            self.linear.backward_input_gelu.choose(on.batch.bucket_rows(on.rows), inputs as usize);
        let rows = RowsArgs::new(on.rows, on.batch);
        // SAFETY: as in `linear_backward_input`; u is like d_u, h too or nothing, and its borrow lasts until the launch
        // is queued.
        unsafe {
            self.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
                args.arg(&mut d_u.elements).arg(&h).arg(&d_y.elements).arg(&u.elements).arg(&weight);
                args.arg(&inputs).arg(&outputs).arg(&rows);
            })
        }
    }

    fn linear_backward_weight(
        &mut self,
        sink: &mut Sink<'_, Self>,
        d_y: &Matrix<Self>,
        x: &Matrix<Self>,
        layer: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        check("linear backward, weight", layer, on, &[("x", Some(x))], &[("d_y", Some(d_y))]);
        let (inputs, outputs) = sizes(layer);
        let stream = &self.launcher.stream;
        let d_weight = gradient_address(stream, sink.gradients, layer.weight);
        let d_bias = gradient_address(stream, sink.gradients, layer.bias);
        let Linears { backward_weight, parts, .. } = &mut self.linear;
        let choice = backward_weight.choose(outputs as usize, inputs as usize);
        let [x_tiles, y_tiles, _] = choice.grid;
        let grid = [x_tiles, y_tiles, parts.count(&choice, outputs as usize, inputs as usize)];
        let Choice { kernel, shared_bytes, .. } = choice;
        let (rows, adds) = (RowsArgs::new(on.rows, on.batch), i32::from(sink.write == Write::Add));
        let Parts { partials, arrivals, .. } = parts;
        // SAFETY: the views lie in the arena, which `sink` lends for this launch; `Parts::count` gives no more parts
        // than have a place; checked above: d_y [rows, outputs] and x [rows, inputs].
        unsafe {
            self.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
                args.arg(&d_weight).arg(&d_bias).arg(partials).arg(arrivals).arg(&d_y.elements).arg(&x.elements);
                args.arg(&inputs).arg(&outputs).arg(&rows).arg(&adds);
            })
        }
    }

    fn project_first(
        &mut self,
        kv: &mut Matrix<Self>,
        q: &mut Matrix<Self>,
        first: &mut Matrix<Self>,
        x: &Matrix<Self>,
        qkv: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        check_first("project first tokens", qkv, on, [x, kv, q], ("the first rows", first));
        let (query, key_value) = query_and_key_value(qkv);
        let (inputs, outputs) = sizes(query);
        let (weight, bias) = (on.weights.matrix(qkv.weight), on.weights.vector(qkv.bias));
        let [tokens, sequences] = [Rows::Tokens, Rows::Sequences].map(|rows| on.batch.bucket_rows(rows));
        let choice = self.linear.project_first.choose(tokens, key_value.bias.len);
        let [columns, token_tiles, _] = choice.grid;
        let grid = [columns, token_tiles + choice.tiles_of_rows(sequences), 1];
        let Choice { kernel, shared_bytes, .. } = choice;
        let (offsets, header) = (on.batch.offsets(), on.batch.header());
        // SAFETY: checked above: x [T, C], kv [T, 2A], q [B, A] and first [B, C]; offsets are of rows of x.
        unsafe {
            self.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
                args.arg(&mut kv.elements).arg(&mut q.elements).arg(&mut first.elements).arg(&x.elements);
                args.arg(&weight).arg(&bias).arg(&offsets).arg(&header);
                args.arg(&inputs).arg(&outputs).arg(&token_tiles);
            })
        }
    }

    /// Two launches: the second adds to the first rows where they lie.
    fn project_first_backward_input(
        &mut self,
        d_x: &mut Matrix<Self>,
        d_kv: &Matrix<Self>,
        d_q: &Matrix<Self>,
        residual: &Matrix<Self>,
        qkv: Linear,
        on: On<'_, Self>,
    ) -> Result<()> {
        check_first("project first tokens backward", qkv, on, [&*d_x, d_kv, d_q], ("the residual", residual));
        let (query, key_value) = query_and_key_value(qkv);
        self.linear_backward_input(d_x, d_kv, None, key_value, On { rows: Rows::Tokens, ..on })?;
        let (weight, (inputs, outputs)) = (on.weights.matrix(query.weight), sizes(query));
        let sequences = on.batch.bucket_rows(Rows::Sequences);
        let Choice { kernel, grid, shared_bytes, .. } =
            self.linear.project_first_backward_input.choose(sequences, inputs as usize);
        let (offsets, rows) = (on.batch.offsets(), RowsArgs::new(Rows::Sequences, on.batch));
        // SAFETY: checked above: d_q is [B, A], residual [B, C], d_x is [T, C] and offsets are of its rows.
        unsafe {
            self.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
                args.arg(&mut d_x.elements).arg(&d_q.elements).arg(&residual.elements).arg(&weight);
                args.arg(&offsets).arg(&inputs).arg(&outputs).arg(&rows);
            })
        }
    }
}

impl<E: Element> CudaDevice<E> {
    /// pooled = tanh(first · Wpᵀ + b), dropped = dropout(pooled), all \[B, C\], whose lengths the caller has checked.
    pub(super) fn pooler(
        &mut self,
        [pooled, dropped]: [&mut Matrix<Self>; 2],
        first: &Matrix<Self>,
        layer: Linear,
        dropout: Dropout,
        on: On<'_, Self>,
    ) -> Result<()> {
        let (inputs, outputs) = sizes(layer);
        let (weight, bias) = (on.weights.matrix(layer.weight), on.weights.vector(layer.bias));
        let Choice { kernel, grid, shared_bytes, .. } =
            self.linear.pooler.choose(on.batch.bucket_rows(Rows::Sequences), outputs as usize);
        let (rows, header) = (RowsArgs::new(Rows::Sequences, on.batch), on.batch.header());
        let dropout = DropoutArgs::new(dropout, on.batch);
        // SAFETY: as in `linear`, with one row per sequence; both outputs are [B, C].
        unsafe {
            self.launcher.launch(kernel, grid, GEMM_THREADS, shared_bytes, |args| {
                args.arg(&mut pooled.elements).arg(&mut dropped.elements).arg(&first.elements);
                args.arg(&weight).arg(&bias).arg(&inputs).arg(&outputs).arg(&rows).arg(&header).arg(&dropout);
            })
        }
    }
}
