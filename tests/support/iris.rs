//! Judges a model of the example by other means than `train.sh`: what it reports is computed again.

use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect()
}

/// The share of the held-out rows whose likeliest class is the true one.
pub(crate) fn accuracy(model: &Value) -> f64 {
    let (means, scales) = (numbers(&model["means"]), numbers(&model["scales"]));
    let weights: Vec<_> = model["weights"].as_array().unwrap().iter().map(numbers).collect();
    let biases = numbers(&model["biases"]);
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/iris/data/iris.csv");
    let text = std::fs::read_to_string(table).unwrap();
    let held_out: Vec<Vec<&str>> =
        text.lines().skip(1).skip(4).step_by(5).map(|row| row.split(',').collect()).collect();
    let right = held_out.iter().filter(|row| {
        let measured = row[..4].iter().map(|it| it.parse::<f64>().unwrap());
        let standardised: Vec<f64> = measured
            .zip(means.iter().zip(&scales))
            .map(|(it, (mean, scale))| (it - mean) / scale)
            .collect();
        let score = |class: usize| {
            let products = weights[class].iter().zip(&standardised).map(|(weight, it)| weight * it);
            biases[class] + products.sum::<f64>()
        };
        let best = (0..3).max_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap();
        model["classes"][best] == row[4]
    });
    let right = u32::try_from(right.count()).unwrap();
    f64::from(right) / f64::from(u32::try_from(held_out.len()).unwrap())
}
