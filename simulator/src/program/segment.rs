//! Segments: instructions of which all run whenever the first does, for the same lanes. They are counted together.

use super::Class;

/// What one run of a segment adds to the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub tallies: Vec<Tally>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub class: Class,
    pub instructions: u32,
    /// Floating-point operations a lane (a warp, for tensor instructions) performs.
    pub flops: u32,
}

impl Segment {
    pub fn add(&mut self, class: Class, flops: u16) {
        let flops = u32::from(flops);
        match self.tallies.iter_mut().find(|tally| tally.class == class) {
            Some(tally) => {
                tally.instructions += 1;
                tally.flops += flops;
            }
            None => self.tallies.push(Tally { class, instructions: 1, flops }),
        }
    }
}
