"""Values of src/experiment/statistics.rs by scipy. `python make_statistics.py` writes values.json beside itself."""

import json
import pathlib

import numpy as np
import scipy
from scipy import stats

rng = np.random.default_rng(20)
cases = []
for count in (2, 3, 5, 10, 40):
    one = rng.normal(0.70, 0.02, count)
    two = one + rng.normal(0.01, 0.01, count)
    differences = two - one
    low, high = stats.t.interval(0.95, count - 1, loc=differences.mean(), scale=stats.sem(differences))
    effect = abs(differences.mean()) / differences.std(ddof=1)
    needed = next(
        n
        for n in range(2, 10_001)
        if effect * np.sqrt(n) >= stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)
    )
    cases.append(
        {
            "one": one.tolist(),
            "two": two.tolist(),
            "mean": differences.mean(),
            "deviation": differences.std(ddof=1),
            "standard_error": stats.sem(differences),
            "interval": [low, high],
            "needed": needed,
        }
    )


bootstraps = []
for count, resamples in ((1, 5), (12, 99), (25, 100)):
    values = rng.choice([-1.0, 0.0, 1.0], count) + rng.normal(0, 0.1, count)
    if count == 1:
        # scipy wants two values at least; the mean of one is itself.
        bootstraps.append({"values": values.tolist(), "drawn": [[0]] * resamples, "interval": [values[0]] * 2})
        continue
    drawn = np.random.default_rng(7).integers(0, count, (resamples, count))
    means = values[drawn].mean(axis=1)
    # scipy.stats.bootstrap takes percentiles of the means of its own resamples: here of these.
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=0,
        method="percentile",
        bootstrap_result=type("Given", (), {"bootstrap_distribution": means})(),
    )
    interval = [result.confidence_interval.low, result.confidence_interval.high]
    bootstraps.append({"values": values.tolist(), "drawn": drawn.tolist(), "interval": interval})

out = {"scipy": scipy.__version__, "numpy": np.__version__, "paired": cases, "bootstrap": bootstraps}
path = pathlib.Path(__file__).with_name("values.json")
path.write_text(json.dumps(out) + "\n")
