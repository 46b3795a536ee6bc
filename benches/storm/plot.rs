//! Plots of what was simulated, as SVG: for each site a row for each balancer, from the median to the 99th percentile, on a scale
//! of tenfold steps, since what is compared lies a hundredfold apart.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::NAMES;
use crate::figures::{CATALOGS, Figures, RUNS};
use crate::site::Site;

/// One site's figures, by seed and balancer.
pub(crate) type Simulated = (&'static Site, Vec<[Figures; 6]>);

const WIDTH: f64 = 920.0;
/// Where rows begin, after the balancers' names.
const LEFT: f64 = 190.0;
/// Where the scale ends, before the count of failed runs.
const RIGHT: f64 = 820.0;
const ROW: f64 = 18.0;
/// Of a site beside its rows: its name above, air below.
const AROUND: f64 = 44.0;
const HEAD: f64 = 64.0;
/// One colour for each balancer: told apart by whoever sees no red or no green, too.
const COLOURS: [&str; 6] = ["#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#999999"];

/// Writes `runs.svg` and `catalogs.svg` there.
pub(crate) fn write(folder: &Path, all: &[Simulated]) -> Result<()> {
    for (name, title, places) in [
        ("runs.svg", "A whole agent run, the agent's own 14 s included", RUNS),
        ("catalogs.svg", "A catalog, from its request to its answer", CATALOGS),
    ] {
        let path = folder.join(name);
        fs::write(&path, plot(title, places, all))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn plot(title: &str, places: [usize; 4], all: &[Simulated]) -> String {
    let panel = AROUND + ROW * NAMES.len() as f64;
    let height = HEAD + panel * all.len() as f64;
    let values =
        || all.iter().flat_map(|(_, by)| (0..NAMES.len()).flat_map(move |at| median(by, at, places)));
    let least = values().fold(f64::INFINITY, f64::min).max(0.1);
    let most = values().fold(least * 10.0, f64::max);
    let scale = Scale { least: least * 0.9, most: most * 1.1 };
    let mut svg = String::new();
    // Writing to a string cannot fail.
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="16" y="26" font-size="16">{title}</text>
<text x="16" y="46" fill="#555555">seconds, median over seeds: line from p50 to p99, bar at p95, dot at the mean</text>
<text x="{RIGHT}" y="46" dx="14" fill="#555555">failed runs</text>"##
    )
    .ok();
    for (at, (site, by)) in all.iter().enumerate() {
        site_of(&mut svg, HEAD + panel * at as f64, site.name, by, places, &scale);
    }
    svg.push_str("</svg>\n");
    svg
}

fn site_of(svg: &mut String, top: f64, name: &str, by: &[[Figures; 6]], places: [usize; 4], scale: &Scale) {
    let bottom = top + 22.0 + ROW * NAMES.len() as f64;
    writeln!(svg, r#"<text x="16" y="{}" font-weight="bold">{name}</text>"#, top + 12.0).ok();
    for (x, label) in scale.ticks() {
        writeln!(svg, r##"<path d="M{x:.1} {}V{bottom}" stroke="#dddddd"/>"##, top + 20.0).ok();
        writeln!(
            svg,
            r##"<text x="{x:.1}" y="{}" fill="#777777" font-size="10" text-anchor="middle">{label}</text>"##,
            bottom + 11.0
        )
        .ok();
    }
    for (at, balancer) in NAMES.iter().enumerate() {
        let y = top + 22.0 + ROW * (at as f64 + 0.5);
        let [mean, p50, p95, p99] = median(by, at, places).map(|value| scale.x(value));
        let failed = by.iter().map(|one| one[at].failed).sum::<usize>();
        let colour = COLOURS[at];
        writeln!(svg, r#"<text x="{}" y="{}" text-anchor="end">{balancer}</text>"#, LEFT - 10.0, y + 4.0)
            .ok();
        writeln!(svg, r#"<path d="M{p50:.1} {y}H{p99:.1}" stroke="{colour}" stroke-width="3"/>"#).ok();
        writeln!(svg, r#"<path d="M{p95:.1} {}v10" stroke="{colour}" stroke-width="2"/>"#, y - 5.0).ok();
        writeln!(svg, r#"<circle cx="{mean:.1}" cy="{y}" r="4.5" fill="{colour}"/>"#).ok();
        if failed > 0 {
            writeln!(svg, r#"<text x="{RIGHT}" y="{}" dx="14">{failed}</text>"#, y + 4.0).ok();
        }
    }
}

/// Over seeds, of the figures at these places.
fn median(by: &[[Figures; 6]], balancer: usize, places: [usize; 4]) -> [f64; 4] {
    places.map(|place| {
        let mut of: Vec<f64> = by.iter().map(|one| one[balancer].times[place]).collect();
        of.sort_unstable_by(f64::total_cmp);
        of[of.len() / 2]
    })
}

/// Seconds to places, by tenfold steps.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn x(&self, value: f64) -> f64 {
        let part = (value / self.least).ln() / (self.most / self.least).ln();
        LEFT + (RIGHT - LEFT) * part.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        let steps = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0];
        let within = steps.into_iter().filter(|value| (self.least..self.most).contains(value));
        within.map(|value| (self.x(value), format!("{value}")))
    }
}
