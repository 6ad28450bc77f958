//! Turns a picture into the bytes of a file.
//!
//! PNG: drawn [`SCALE`] times larger and averaged down, block by block, which smooths every edge. SVG: the same drawing
//! with its size divided and its view box left, so that integer coordinates are fractions of a pixel.

use plotters::prelude::*;

use super::{
    font,
    picture::{Picture, SCALE},
};
use crate::{Error, Result};

const CHANNELS: usize = 3;

pub(super) fn png(picture: &Picture) -> Result<Vec<u8>> {
    font::register()?;
    let (width, height) = (picture.width, picture.height());
    let large = (width * SCALE, height * SCALE);
    let mut pixels = vec![0; large.0 as usize * large.1 as usize * CHANNELS];
    let root = BitMapBackend::with_buffer(&mut pixels, large).into_drawing_area();
    picture.draw(&root).and_then(|()| root.present()).map_err(undrawable)?;
    drop(root);

    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(undrawable)?;
    writer.write_image_data(&shrink(&pixels, width as usize, height as usize)).map_err(undrawable)?;
    writer.finish().map_err(undrawable)?;
    Ok(bytes)
}

pub(super) fn svg(picture: &Picture) -> Result<String> {
    font::register()?;
    let (width, height) = (picture.width, picture.height());
    let large = (width * SCALE, height * SCALE);
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, large).into_drawing_area();
    picture.draw(&root).and_then(|()| root.present()).map_err(undrawable)?;
    drop(root);
    let drawn = format!("width=\"{}\" height=\"{}\"", large.0, large.1);
    Ok(text.replacen(&drawn, &format!("width=\"{width}\" height=\"{height}\""), 1))
}

/// Means of `SCALE × SCALE` blocks, to `[height, width, 3]`.
fn shrink(pixels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let scale = SCALE as usize;
    let large_row = width * scale * CHANNELS;
    let mut small = Vec::with_capacity(width * height * CHANNELS);
    for y in 0..height {
        for x in 0..width {
            for channel in 0..CHANNELS {
                let block = (0..scale).flat_map(|dy| (0..scale).map(move |dx| (dy, dx)));
                let at = |(dy, dx)| (y * scale + dy) * large_row + (x * scale + dx) * CHANNELS + channel;
                let sum: u32 = block.map(|offset| u32::from(pixels[at(offset)])).sum();
                small.push(((sum + SCALE * SCALE / 2) / (SCALE * SCALE)) as u8);
            }
        }
    }
    small
}

fn undrawable(e: impl std::fmt::Display) -> Error {
    Error::Picture { message: e.to_string() }
}
