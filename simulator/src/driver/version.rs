//! Which PTX a driver takes: that of its own CUDA release and of older ones.
//!
//! A driver of a given release is a number like `12040`. Its newest PTX is that of the PTX ISA's release history.

/// A PTX version, as `(8, 4)`.
pub type Version = (u32, u32);

/// The newest API version whose functions are here: what `cuDriverGetVersion` answers unless told otherwise.
pub const NEWEST: u32 = 13050;

/// The first driver of each PTX version before 9.0. From CUDA 13 on the minor numbers are the same.
const RELEASES: [(u32, Version); 24] = [
    (9000, (6, 0)),
    (9010, (6, 1)),
    (9020, (6, 2)),
    (10000, (6, 3)),
    (10010, (6, 4)),
    (10020, (6, 5)),
    (11000, (7, 0)),
    (11010, (7, 1)),
    (11020, (7, 2)),
    (11030, (7, 3)),
    (11040, (7, 4)),
    (11050, (7, 5)),
    (11060, (7, 6)),
    (11070, (7, 7)),
    (11080, (7, 8)),
    (12000, (8, 0)),
    (12010, (8, 1)),
    (12020, (8, 2)),
    (12030, (8, 3)),
    (12040, (8, 4)),
    (12050, (8, 5)),
    (12070, (8, 6)),
    (12080, (8, 7)),
    (12090, (8, 8)),
];

/// CUDA 13 came with PTX 9, and so on.
const FIRST_ALIKE: u32 = 13;
const MAJORS_APART: u32 = 4;

/// The newest PTX version that a driver takes; none before CUDA 9.
pub fn newest_ptx(driver: u32) -> Option<Version> {
    let (major, minor) = (driver / 1000, driver % 1000 / 10);
    if major >= FIRST_ALIKE {
        return Some((major - MAJORS_APART, minor));
    }
    RELEASES.iter().rev().find(|&&(first, _)| first <= driver).map(|&(_, ptx)| ptx)
}

/// `12040`, if it is a release whose driver takes PTX that is known here.
pub fn parse(text: &str) -> Option<u32> {
    let driver = text.parse().ok()?;
    let is_release = driver % 10 == 0 && driver < 100_000;
    newest_ptx(driver).filter(|_| is_release).map(|_| driver)
}

/// The version that PTX states, before anything else is made of it.
fn stated(text: &str) -> Option<Version> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(".version"))?;
    let (major, minor) = line.split_whitespace().next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Why a driver whose newest PTX is this one does not take a text, if it does not.
pub fn too_new(text: &str, newest: Option<Version>) -> Option<String> {
    let (stated, newest) = (stated(text)?, newest?);
    let message =
        || format!("PTX version {}.{} is newer than the driver's {}.{}", stated.0, stated.1, newest.0, newest.1);
    (stated > newest).then(message)
}

#[cfg(test)]
mod tests {
    use super::{newest_ptx, parse};

    #[test]
    fn the_release_history() {
        for (driver, ptx) in [
            (9000, (6, 0)),
            (10020, (6, 5)),
            (11040, (7, 4)),
            (11080, (7, 8)),
            (12000, (8, 0)),
            (12040, (8, 4)),
            (12050, (8, 5)),
            // 12.6 brought no new PTX.
            (12060, (8, 5)),
            (12070, (8, 6)),
            (12090, (8, 8)),
            (13000, (9, 0)),
            (13020, (9, 2)),
        ] {
            assert_eq!(newest_ptx(driver), Some(ptx), "{driver}");
        }
        assert_eq!(newest_ptx(8000), None);
        assert_eq!(parse("12040"), Some(12040));
        for wrong in ["12.4", "", "12041", "8000", "124", "-1", "1000000"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
