//! Figures in rows: what each program used per unit, and what the door used against each, round by round.

use crate::proxy::Program;

/// The samples of one unit: for each round, one figure for each program.
pub(crate) struct Rounds {
    title: String,
    programs: Vec<Program>,
    rounds: Vec<Vec<f64>>,
}

/// A median, and how far the rounds lie apart.
#[derive(Debug, Clone, Copy)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Rounds {
    /// No rounds yet.
    pub(crate) fn new(title: &str, programs: &[Program]) -> Self {
        Self { title: title.to_owned(), programs: programs.to_vec(), rounds: Vec::new() }
    }

    /// One more round: a figure for each program, in their order.
    pub(crate) fn push(&mut self, round: Vec<f64>) {
        self.rounds.push(round);
    }

    /// The row of a table: each program's median, then the first program's against each other one's.
    pub(crate) fn row(&self, unit: &str, per_unit: f64) -> String {
        let own = (0..self.programs.len()).map(|at| {
            let spread = spread(self.rounds.iter().filter_map(|round| round.get(at).copied()));
            format!("{:.1} {unit}", spread.median / per_unit)
        });
        let against = (1..self.programs.len()).map(|at| {
            let ratios = self.rounds.iter().filter_map(|round| Some(round.first()? / round.get(at)?));
            let Spread { least, median, most } = spread(ratios);
            format!("**{median:.2}** ({least:.2}–{most:.2})")
        });
        let cells: Vec<String> = own.chain(against).collect();
        format!("| {} | {} |", self.title, cells.join(" | "))
    }
}

/// The table's head.
pub(crate) fn head(programs: &[Program]) -> String {
    let own = programs.iter().map(|program| program.title().to_owned());
    let first = programs.first().map_or("", |program| program.title());
    let against = programs.iter().skip(1).map(|program| format!("{first} / {}", program.title()));
    let cells: Vec<String> = own.chain(against).collect();
    format!("| per unit | {} |\n|---{}|", cells.join(" | "), "|---".repeat(cells.len()))
}

fn spread(figures: impl Iterator<Item = f64>) -> Spread {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    };
    Spread { least: at(0), median, most: at(sorted.len().wrapping_sub(1)) }
}
