//! One scenario from its seed to its end, and what is left of it when a promise is broken.

use std::fmt;
use std::str::FromStr;

use super::Sabotage;
use super::clock::HOUR;
use super::op::{Step, generate};
use super::panics::caught;
use super::plan::Size;
use super::report::Report;
use super::rng::Rng;
use super::world::World;

/// Tokens of the big one.
const BIG: usize = 2000;

/// What a world is made of: its seed, and the steps that are taken (all that the seed gives, or some of them).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Of everything.
    pub seed: u64,
    /// How many tokens, with five replicas; none: a few of each, by the seed.
    pub tokens: Option<usize>,
    /// In order.
    pub steps: Vec<Step>,
}

/// How a scenario is to be run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Replay {
    /// Keep a line for everything that happens.
    pub traced: bool,
    /// Break a rule.
    pub sabotage: Option<Sabotage>,
}

/// A promise was broken.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Which, in a sentence.
    pub fault: String,
    /// After so many steps; all of them: at the settlement.
    pub step: usize,
    /// What led there.
    pub scenario: Scenario,
    /// What happened, if it was traced.
    pub trace: Vec<String>,
}

impl Scenario {
    /// A few tokens, and 40 to 240 steps.
    pub fn small(seed: u64) -> Self {
        let length = 40 + Rng::of(seed, &[0x1e]).index(200);
        Self { seed, tokens: None, steps: generate(seed, length) }
    }

    /// Thousands of machines and five replicas, for a day or two.
    pub fn big(seed: u64) -> Self {
        let mut steps = generate(seed, 150);
        steps.iter_mut().for_each(|step| step.after = step.after.min(HOUR));
        Self { seed, tokens: Some(BIG), steps }
    }

    /// All that this name's seed gives: `SEED` or `small:SEED`, `big:SEED`. None: it is no such name.
    pub fn named(name: &str) -> Option<Self> {
        let (kind, seed) = name.split_once(':').unwrap_or(("small", name));
        match (kind, seed.parse()) {
            ("small", Ok(seed)) => Some(Self::small(seed)),
            ("big", Ok(seed)) => Some(Self::big(seed)),
            _ => None,
        }
    }

    /// `small` or `big`.
    pub fn kind(&self) -> &'static str {
        if self.tokens.is_none() { "small" } else { "big" }
    }

    /// What [`Scenario::named`] makes the same one of; none, if its seed gives other steps or tokens.
    pub fn name(&self) -> Option<String> {
        let name = match self.tokens {
            None => self.seed.to_string(),
            Some(_) => format!("big:{}", self.seed),
        };
        (Self::named(&name).as_ref() == Some(self)).then_some(name)
    }

    /// Runs it.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn run(&self, how: Replay) -> Result<(Report, Vec<String>), Box<Failure>> {
        let mut taken = 0;
        let mut world = None;
        let outcome = caught(|| {
            let size = match self.tokens {
                Some(tokens) => Size { tokens, servers: 5 },
                None => Size::small(self.seed),
            };
            let world = world.insert(World::new(self.seed, size, how.traced));
            world.hub.lock().sabotage = how.sabotage;
            for step in &self.steps {
                world.step(step);
                if world.fault.is_some() {
                    break;
                }
                taken += 1;
            }
            if world.fault.is_none() {
                world.settle();
            }
            (world.report.clone(), world.fault.take())
        });
        // What led to a panic, too.
        let trace = world.and_then(|mut world| world.trace.take()).unwrap_or_default();
        let fault = match outcome {
            Ok((report, None)) => return Ok((report, trace)),
            Ok((_, Some(fault))) | Err(fault) => fault,
        };
        Err(Box::new(Failure { fault, step: taken, scenario: self.clone(), trace }))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tokens {
            None => writeln!(f, "small {}", self.seed)?,
            Some(BIG) => writeln!(f, "big {}", self.seed)?,
            Some(tokens) => writeln!(f, "big {} {tokens}", self.seed)?,
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl FromStr for Scenario {
    type Err = String;

    /// Lines that begin with `#` say nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let head = lines.next().ok_or("it is empty")?;
        let words: Vec<&str> = head.split_whitespace().collect();
        let number = |text: &str| text.parse().map_err(|e| format!("`{text}`: {e}"));
        let (seed, tokens) = match words.as_slice() {
            ["small", seed] => (seed, None),
            ["big", seed] => (seed, Some(BIG)),
            ["big", seed, tokens] => (seed, Some(tokens.parse().map_err(|e| format!("`{tokens}`: {e}"))?)),
            _ => return Err(format!("`{head}` is not `small SEED`, `big SEED` or `big SEED TOKENS`")),
        };
        if tokens == Some(0) {
            return Err(format!("`{head}`: a world has a token at least"));
        }
        let seed = number(seed)?;
        let steps = lines.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { seed, tokens, steps })
    }
}

/// The scenario of a seed.
///
/// # Errors
/// The promise that was broken.
pub fn simulate_one(seed: u64) -> Result<Report, Box<Failure>> {
    Scenario::small(seed).run(Replay::default()).map(|(report, _)| report)
}

/// The big one of a seed.
///
/// # Errors
/// The promise that was broken.
pub fn simulate_big(seed: u64) -> Result<Report, Box<Failure>> {
    Scenario::big(seed).run(Replay::default()).map(|(report, _)| report)
}
