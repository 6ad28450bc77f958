//! Running a part of a launch's blocks, for counts of launches that are too large to run (`CUDASIM_SAMPLE`).
//!
//! A rule says how many coordinates of each axis of the grid run: the first and the middle one, which stand for the
//! body of the axis, and the last ones, each of which stands for itself. What the blocks count is scaled by how many each
//! stands for. That is exact where blocks of the body do the same work, which is for whoever writes the rule to know.

/// What a coordinate that runs stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stands {
    /// Itself.
    Alone,
    /// Half of the body: the first one, or the one in the middle.
    Body(u8),
}

/// The blocks of one launch that run, in groups of equal weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub groups: Vec<Group>,
    /// How many coordinates of each axis one of the body stands for.
    pub weights: [f64; 3],
}

#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// How many blocks of the grid one of these stands for.
    pub weight: f64,
    pub blocks: Vec<Chosen>,
}

/// A block that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chosen {
    pub linear: u64,
    /// Of each axis two bits: whether the block lies on its first, or on its middle coordinate of the body.
    pub marks: u8,
}

/// How many coordinates of each axis of kernels of a name run; none: all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// A name, in which one `*` stands for whatever is there.
    pattern: String,
    axes: [Option<u32>; 3],
    /// Every launch runs, also one whose like has run before.
    always: bool,
}

/// The rules, of which the first that fits a kernel's name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sampling(Vec<Rule>);

/// The body's coordinates that run.
const BODY: u32 = 2;

impl Rule {
    /// `NAME:X.Y.Z` with a number of at least two or `*` for each axis, and `!` behind for `always`.
    fn parse(text: &str) -> Option<Self> {
        let (pattern, rest) = text.split_once(':')?;
        let (rest, always) = rest.strip_suffix('!').map_or((rest, false), |rest| (rest, true));
        let mut axes = [None; 3];
        let mut parts = rest.split('.');
        for axis in &mut axes {
            *axis = match parts.next()? {
                "*" => None,
                number => Some(number.parse().ok().filter(|&n| n >= BODY)?),
            };
        }
        let complete = parts.next().is_none() && !pattern.is_empty();
        complete.then(|| Self { pattern: pattern.to_owned(), axes, always })
    }

    fn fits(&self, kernel: &str) -> bool {
        match self.pattern.split_once('*') {
            Some((beginning, end)) => kernel.strip_prefix(beginning).is_some_and(|rest| rest.ends_with(end)),
            None => kernel == self.pattern,
        }
    }
}

impl Sampling {
    /// Rules with commas between them.
    pub fn parse(text: &str) -> Option<Self> {
        let rules = text.split(',').map(str::trim).filter(|rule| !rule.is_empty());
        rules.map(Rule::parse).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Whether the program runs as a sample.
    pub fn is_on(&self) -> bool {
        !self.0.is_empty()
    }

    fn rule(&self, kernel: &str) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.fits(kernel))
    }

    /// Whether a launch like one that has run is not run again.
    pub fn repeats(&self, kernel: &str) -> bool {
        self.is_on() && self.rule(kernel).is_none_or(|rule| !rule.always)
    }

    /// The blocks of a grid that run; none: all of them.
    pub fn choose(&self, kernel: &str, grid: [u32; 3]) -> Option<Sample> {
        let rule = self.rule(kernel)?;
        let parted = |axis: usize| rule.axes[axis].is_some_and(|most| most < grid[axis]);
        (0..3).any(parted).then(|| Sample::new(grid, rule.axes))
    }
}

/// The coordinates of an axis that run, and how many one of the body stands for.
fn along(count: u32, most: Option<u32>) -> (Vec<(u32, Stands)>, f64) {
    let Some(most) = most.filter(|&most| most < count) else {
        return ((0..count).map(|at| (at, Stands::Alone)).collect(), 1.0);
    };
    let last = most - BODY;
    let body = count - last;
    let halves = [(0, Stands::Body(0)), (body / 2, Stands::Body(1))];
    let alone = (body..count).map(|at| (at, Stands::Alone));
    (halves.into_iter().chain(alone).collect(), f64::from(body) / f64::from(BODY))
}

impl Sample {
    fn new(grid: [u32; 3], axes: [Option<u32>; 3]) -> Self {
        let [(xs, wx), (ys, wy), (zs, wz)] = [0, 1, 2].map(|axis| along(grid[axis], axes[axis]));
        let weights = [wx, wy, wz];
        // By which axes a block is of the body in.
        let mut groups: [Vec<Chosen>; 8] = Default::default();
        let [width, height, _] = grid.map(u64::from);
        for &(z, of_z) in &zs {
            for &(y, of_y) in &ys {
                for &(x, of_x) in &xs {
                    let (mut marks, mut group) = (0, 0);
                    for (axis, stands) in [of_x, of_y, of_z].into_iter().enumerate() {
                        if let Stands::Body(half) = stands {
                            marks |= 1 << (2 * axis as u8 + half);
                            group |= 1 << axis;
                        }
                    }
                    let linear = u64::from(x) + width * (u64::from(y) + height * u64::from(z));
                    groups[group].push(Chosen { linear, marks });
                }
            }
        }
        let weight = |group: usize| (0..3).filter(|axis| group >> axis & 1 == 1).map(|axis| weights[axis]).product();
        let groups = groups.into_iter().enumerate().filter(|(_, blocks)| !blocks.is_empty());
        Self { groups: groups.map(|(n, blocks)| Group { weight: weight(n), blocks }).collect(), weights }
    }

    /// Blocks that run.
    pub fn blocks(&self) -> u64 {
        self.groups.iter().map(|group| group.blocks.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_the_first_that_fits_counts() {
        let sampling = Sampling::parse("linear_*_large:9.9.9, linear_*:2.3.*, update:4.*.*!").expect("three rules");
        assert!(sampling.is_on() && !Sampling::default().is_on());
        assert!(sampling.repeats("linear_forward") && !sampling.repeats("update") && sampling.repeats("other"));
        assert_eq!(sampling.choose("other", [100, 1, 1]), None);
        assert_eq!(sampling.choose("linear_forward", [2, 3, 9]), None, "nothing is left out");
        assert_eq!(sampling.choose("linear_forward_large", [9, 9, 9]), None);
        assert!(sampling.choose("linear_large", [9, 9, 9]).is_some(), "one underscore is not two");
        assert!(sampling.choose("update", [5, 1, 1]).is_some());
        for wrong in ["linear", "linear:2.2", "linear:1.2.2", "linear:2.2.2.2", ":2.2.2", "linear:x.2.2"] {
            assert_eq!(Sampling::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn chosen_blocks_stand_for_all_of_the_grid() {
        for grid in [[7, 1, 1], [2, 9, 4], [24, 32, 1], [3, 3, 3], [100, 50, 20]] {
            for axes in [[Some(2); 3], [Some(3), None, Some(2)], [Some(2), Some(6), None]] {
                let sample = Sample::new(grid, axes);
                let stood_for: f64 = sample.groups.iter().map(|g| g.weight * g.blocks.len() as f64).sum();
                assert_eq!(stood_for, grid.iter().map(|&n| f64::from(n)).product::<f64>(), "{grid:?} {axes:?}");
                let mut all: Vec<u64> = sample.groups.iter().flat_map(|g| &g.blocks).map(|b| b.linear).collect();
                let count = all.len();
                all.sort_unstable();
                all.dedup();
                assert_eq!((all.len(), count as u64), (count, sample.blocks()), "no block runs twice");
            }
        }
    }

    #[test]
    fn the_last_coordinates_stand_for_themselves() {
        // Of ten columns the first and the fifth of eight, four each, and the last two.
        let sample = Sample::new([10, 1, 1], [Some(4), None, None]);
        let blocks = |weight: f64| {
            let group = sample.groups.iter().find(|group| group.weight == weight).expect("a group");
            group.blocks.iter().map(|block| (block.linear, block.marks)).collect::<Vec<_>>()
        };
        assert_eq!((blocks(4.0), blocks(1.0)), (vec![(0, 1), (4, 2)], vec![(8, 0), (9, 0)]));
    }
}
