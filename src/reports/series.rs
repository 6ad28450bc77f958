//! From events to the points of a line: smoothing, thinning, and the range worth showing.

use super::smoothing::Smoothed;

/// A line over optimizer updates.
pub(super) type Points = Vec<(f64, f64)>;

/// The share of extreme raw values that the range of a panel may leave out on either side.
const OUTLIERS: f64 = 0.01;

/// The bias-corrected moving average of a curve over `span` points; points that are not finite are left out. So is the
/// average of the first quarter of a span, which is not smooth yet, unless the curve is hardly longer than that.
pub(super) fn smooth(points: &[(f64, f64)], span: f64) -> Points {
    let mut average = Smoothed::over(span);
    let finite = points.iter().filter(|(_, y)| y.is_finite());
    let smoothed = finite.filter_map(|&(x, y)| {
        average.add(y);
        Some((x, average.value()?))
    });
    let unsettled = if points.len() as f64 > span { (span / 4.0) as usize } else { 0 };
    smoothed.skip(unsettled).collect()
}

/// At most `2 · buckets` points that look the same at `buckets` pixels: the lowest and the highest of each stretch, in
/// order. Points that are not finite are left out.
pub(super) fn thin(points: &[(f64, f64)], buckets: usize) -> Points {
    let finite: Points = points.iter().copied().filter(|(_, y)| y.is_finite()).collect();
    let stretch = finite.len().div_ceil(buckets.max(1));
    if stretch <= 2 {
        return finite;
    }
    let mut thinned = Vec::with_capacity(2 * buckets);
    for points in finite.chunks(stretch) {
        let by_y = |a: &(usize, &(f64, f64)), b: &(usize, &(f64, f64))| a.1.1.total_cmp(&b.1.1);
        let low = points.iter().enumerate().min_by(by_y).map_or(0, |(index, _)| index);
        let high = points.iter().enumerate().max_by(by_y).map_or(0, |(index, _)| index);
        thinned.push(points[low.min(high)]);
        if low != high {
            thinned.push(points[low.max(high)]);
        }
    }
    thinned
}

/// Lowest and highest value without the outliers; `None` if nothing is finite.
pub(super) fn range(points: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = points.into_iter().filter(|y| y.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    let cut = (values.len() as f64 * OUTLIERS) as usize;
    Some((*values.get(cut)?, *values.get(values.len() - 1 - cut)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_is_a_mean_from_the_start_and_skips_gaps() {
        let smoothed = smooth(&[(1.0, 4.0), (2.0, f64::NAN), (3.0, 4.0), (4.0, 1.0)], 2.0);
        // Weights ½, ¼, ⅛ from the newest back, over ⅞.
        assert_eq!(smoothed, [(1.0, 4.0), (3.0, 4.0), (4.0, (0.5 + 1.0 + 0.5) / 0.875)]);
        let long: Points = (0..100).map(|x| (f64::from(x), 1.0)).collect();
        assert_eq!((smooth(&long, 40.0)[0].0, smooth(&long, 40.0).len(), smooth(&long, 100.0).len()), (10.0, 90, 100));
    }

    #[test]
    fn thinning_keeps_the_extremes_in_order() {
        let points: Points = (0..1009).map(|i| (f64::from(i), if i == 501 { 9.0 } else { f64::from(i % 7) })).collect();
        let thinned = thin(&points, 50);
        assert!(thinned.len() <= 100 && thinned.contains(&(501.0, 9.0)));
        assert!(thinned.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(thin(&points, 1009), points);
    }

    #[test]
    fn the_range_leaves_out_a_spike() {
        let values = (0..200).map(|i| if i == 3 { 1e6 } else { f64::from(i) });
        assert_eq!(range(values), Some((2.0, 198.0)));
        assert_eq!(range([f64::NAN]), None);
    }
}
