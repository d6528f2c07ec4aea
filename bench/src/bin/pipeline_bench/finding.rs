//! What was found: a number for each round, their median and spread, and the goal beside it.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;
use thalweg_bench::statistics::median;

use crate::machine::Machine;

/// Where results go, from the repository's root.
const RESULTS_DIR: &str = "bench/results";

/// All findings of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    machine: Machine,
    findings: Vec<Finding>,
}

/// One number, measured in each round.
#[derive(Debug, Serialize)]
struct Finding {
    question: &'static str,
    goal: Goal,
    median: f64,
    min: f64,
    max: f64,
    rounds: Vec<f64>,
    absolute: String,
}

/// What the number should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// There is no goal: the number is there for the reader.
    None,
}

impl Findings {
    pub(crate) fn of(machine: Machine) -> Self {
        println!("{machine}\n");
        Self { machine, findings: Vec::new() }
    }

    /// Takes down what the rounds gave, with the absolute figures behind it, and says so at once.
    pub(crate) fn add(&mut self, question: &'static str, goal: Goal, rounds: Vec<f64>, absolute: String) {
        let [min, max] = [f64::min, f64::max].map(|of| rounds.iter().copied().reduce(of));
        let (Some(min), Some(max)) = (min, max) else { return };
        let finding = Finding { question, goal, median: median(&rounds), min, max, rounds, absolute };
        println!("{finding}");
        self.findings.push(finding);
    }

    /// Writes everything to a file named after the commit.
    pub(crate) fn save(&self) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(RESULTS_DIR)?;
        let path = PathBuf::from(format!("{RESULTS_DIR}/{}.json", self.machine.commit));
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(&path, text + "\n").with_context(|| format!("can't write {}", path.display()))?;
        Ok(path)
    }
}

impl Finding {
    fn met(&self) -> &'static str {
        let met = match self.goal {
            Goal::AtLeast(goal) => self.median >= goal,
            Goal::AtMost(goal) => self.median <= goal,
            Goal::None => return "",
        };
        if met { "met" } else { "MISSED" }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(goal) => write!(f, ">= {goal}"),
            Self::AtMost(goal) => write!(f, "<= {goal}"),
            Self::None => Ok(()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { question, goal, median, min, max, absolute, .. } = self;
        let spread = format!("{median:.3} ({min:.3} to {max:.3})");
        write!(f, "{question:<58} {spread:<28} {:<8} {:<7} {absolute}", goal.to_string(), self.met())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<58} {:<28} {:<8} {:<7} behind it", "question", "median (min to max)", "goal", "")?;
        for finding in &self.findings {
            write!(f, "\n{finding}")?;
        }
        Ok(())
    }
}
