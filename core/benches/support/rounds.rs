//! Interleaved rounds: every case runs a slice in every round, in an order that turns round, and only the ratios
//! of one round are compared. What disturbs the machine for longer than a slice disturbs both sides.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Runs a case that many times and says how long all of them took together.
type Work<'a> = Box<dyn FnMut(u64) -> Duration + 'a>;

/// The cases that are measured against each other.
#[derive(Default)]
pub struct Contest<'a> {
    cases: Vec<(String, Work<'a>)>,
}

impl<'a> Contest<'a> {
    /// Adds a case.
    pub fn case(&mut self, name: impl Into<String>, work: impl FnMut(u64) -> Duration + 'a) {
        self.cases.push((name.into(), Box::new(work)));
    }

    /// Warms every case up, then measures `rounds` rounds with a slice of about `slice` for each case.
    pub fn run(mut self, rounds: usize, slice: Duration) -> Samples {
        let counts: Vec<u64> = self.cases.iter_mut().map(|(_, work)| calibrate(work, slice)).collect();
        let mut samples =
            Samples(self.cases.iter().map(|(name, _)| (name.clone(), Vec::with_capacity(rounds))).collect());
        let order: Vec<usize> = (0..self.cases.len()).collect();
        // The first round only warms up.
        for round in 0..=rounds {
            let mut order = order.clone();
            if round % 2 == 1 {
                order.reverse();
            }
            for i in order {
                let took = self.cases[i].1(counts[i]);
                if round > 0 {
                    samples.0[i].1.push(took.as_nanos() as f64 / counts[i] as f64);
                }
            }
        }
        samples
    }
}

/// How often a case runs in a slice.
fn calibrate(work: &mut Work<'_>, slice: Duration) -> u64 {
    let mut count = 16;
    loop {
        let took = work(count);
        if took * 2 >= slice {
            let exact = count as f64 * slice.as_secs_f64() / took.as_secs_f64();
            return (exact as u64).max(1);
        }
        count *= 2;
    }
}

/// What was measured: for each case one number a round (nanoseconds an operation, unless said otherwise).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Samples(pub Vec<(String, Vec<f64>)>);

impl Samples {
    /// The numbers of one case.
    pub fn of(&self, name: &str) -> &[f64] {
        let found = self.0.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("nothing was measured as {name:?}")).1
    }

    /// Adds the rounds of another start of the program.
    pub fn merge(&mut self, other: Samples) {
        for (name, values) in other.0 {
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.extend(values),
                None => self.0.push((name, values)),
            }
        }
    }

    /// The median of one case.
    pub fn median(&self, name: &str) -> f64 {
        Spread::of(self.of(name)).median
    }

    /// `name` divided by `base`, round by round.
    pub fn ratio(&self, name: &str, base: &str) -> Spread {
        let pairs = self.of(name).iter().zip(self.of(base));
        Spread::of(&pairs.map(|(a, b)| a / b).collect::<Vec<f64>>())
    }
}

/// The middle of some numbers and how far they lie apart.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Spread {
    /// Half are below it.
    pub median: f64,
    /// A quarter are below it.
    pub q1: f64,
    /// A quarter are above it.
    pub q3: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    /// The spread of these.
    pub fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| quantile(&sorted, share);
        Spread {
            median: at(0.5),
            q1: at(0.25),
            q3: at(0.75),
            min: at(0.0),
            max: at(1.0),
            count: values.len(),
        }
    }
}

/// The value below which that share of the sorted values lies, with interpolation. NaN of nothing.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}
