//! The font of the pictures, carried in the program: a training machine may have none.
//!
//! Ubuntu Light (Ubuntu Font Licence 1.0, whose text stands in the font's own name table), from the crate
//! `epaint_default_fonts`. It is registered under the generic name `sans-serif`, which is also what the SVG asks its
//! viewer for.

use std::sync::OnceLock;

use plotters::style::{FontStyle, register_font};

use crate::{Error, Result};

pub(super) const FAMILY: &str = "sans-serif";

/// Makes the font known to plotters, once a process.
pub(super) fn register() -> Result<()> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let font = epaint_default_fonts::UBUNTU_LIGHT;
    if *REGISTERED.get_or_init(|| register_font(FAMILY, FontStyle::Normal, font).is_ok()) {
        Ok(())
    } else {
        Err(Error::Picture { message: "the font carried in this program cannot be read".to_owned() })
    }
}
