//! Real runs, seen by a real Prometheus: every expression that is shipped has data, and latency is what the masters
//! themselves logged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Watch, saw};
use crate::access_log::Entry;
use crate::door::ADMIN_PORT;
use crate::enroller::{Enroller, SERVE_PORT};
use crate::fleet::{Fleet, none_failed};
use crate::lab::Lab;
use crate::machine::{DOOR, ENROLLER, PORT, make_folder, write};
use crate::patience::{until, when};
use crate::process::Process;
use crate::program::{run, succeed};
use crate::recording::Recording;

const DASHBOARDS: [(&str, &str); 2] = [
    ("fleet", include_str!("../../../dashboards/fleet.json")),
    ("enrollment", include_str!("../../../dashboards/enrollment.json")),
];
const RULES: &str = include_str!("../../../dashboards/rules.yml");
const RULES_TEST: &str = include_str!("../../../dashboards/rules_test.yml");

/// Fewer than JRubies, so that nobody waits and a master's own time is nearly all of the door's.
const AGENTS: usize = 2;
const RUNS: usize = 12;
/// What the door adds on a machine that is busy with three servers: bodies read before, connections, scheduling.
const ADDED: f64 = 0.150;
/// For scrapes to come and rules to be evaluated.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn prometheus_shows_what_the_masters_themselves_logged(lab: &Lab) -> Result<()> {
    each_rule_is_tested(lab)?;
    let fleet = Fleet::of(lab, Recording::of_a_webserver(lab)?, AGENTS)?;
    fleet.warm_up(lab)?;
    let enroller = Enroller::lay_out(lab)?;
    let sidecar = enroller.serve()?;
    let prometheus = Prometheus::start(lab, &enroller, "prometheus", 9191, &[]);
    let native =
        Prometheus::start(lab, &enroller, "prometheus-native", 9192, &["--enable-feature=native-histograms"]);
    let played =
        prometheus.and_then(|prometheus| Ok((prometheus, native?))).and_then(|(prometheus, native)| {
            let played = play(lab, &fleet, &prometheus, &native);
            prometheus.process.ask_to_end()?;
            native.process.ask_to_end()?;
            prometheus.process.gone()?;
            native.process.gone()?;
            played
        });
    sidecar.ask_to_end()?;
    sidecar.gone()?;
    played
}

fn play(lab: &Lab, fleet: &Fleet, prometheus: &Prometheus, native: &Prometheus) -> Result<()> {
    let door = format!("{{instance=\"{}:{ADMIN_PORT}\"}}", DOOR.address);
    until("both are scraped", LIMIT, || {
        Ok(when(prometheus.value("sum(up)")? > Some(1.5) && native.value("sum(up)")? > Some(1.5)))
    })?;
    be_refused(lab)?;

    // What came before is logged, and scraped.
    Watch::begin(lab)?.end(lab)?;
    let own = || lab.door().metric("stagedoor_request_seconds_count", "");
    let scraped = format!("sum(stagedoor_request_seconds_count{door})");
    until("what came before is scraped", LIMIT, || Ok(when(prometheus.value(&scraped)? == Some(own()?))))?;
    let watch = Watch::begin(lab)?;
    let before = latency(prometheus, &door)?;
    let outcomes = fleet.run(RUNS, &AtomicUsize::new(0));
    none_failed(&outcomes)?;
    let reached = watch.end(lab)?;
    let logged: Vec<Entry> = reached.at_masters().cloned().collect();
    let counted = |classes: &BTreeMap<String, Mean>| classes.get("report").map_or(0.0, |mean| mean.count);
    let (after, _) = until("the last report is scraped", LIMIT, || {
        let after = latency(prometheus, &door)?;
        Ok((counted(&after) - counted(&before) > RUNS as f64 - 0.5).then_some(after))
    })?;
    agree(&before, &after, &logged)?;
    each_has_its_line(lab, &logged)?;

    every_panel_has_data(prometheus)?;
    every_selector_has_data(prometheus)?;
    let quantile = "histogram_quantile(0.5, sum(rate(stagedoor_compile_seconds[1m])))";
    let (half, _) = until("a native histogram has a median", LIMIT, || {
        Ok(native.value(quantile)?.filter(|half| half.is_finite() && *half > 0.0))
    })?;
    saw(&format!("with native histograms half of all catalogs took no longer than {half:.3} s"));
    Ok(())
}

/// Each alert fires where it is to, and is silent where it nearly would.
fn each_rule_is_tested(lab: &Lab) -> Result<()> {
    let folder = lab.root.join("rules");
    make_folder(&folder)?;
    write(&folder.join("rules.yml"), RULES)?;
    write(&folder.join("rules_test.yml"), RULES_TEST)?;
    succeed(Command::new("promtool").args(["test", "rules", "rules_test.yml"]).current_dir(&folder))?;
    let named = |text: &str, key: &str| -> BTreeSet<String> {
        let lines = text.lines().map(|line| line.trim().trim_start_matches("- "));
        lines.filter_map(|line| line.strip_prefix(key)).map(|name| name.trim().to_owned()).collect()
    };
    let (alerts, tested) = (named(RULES, "alert:"), named(RULES_TEST, "alertname:"));
    ensure!(!alerts.is_empty() && alerts == tested, "alerts without a test: {:?}", &alerts - &tested);
    for rule in RULES.split("- alert:").skip(1) {
        ensure!(rule.contains("action:"), "an alert does not say what to do: {rule}");
    }
    saw(&format!("{} alerts have tests, which pass, and say what to do", alerts.len()));
    Ok(())
}

/// What has no series before it happens: a request without a certificate, a handshake that fails, no TLS at all.
fn be_refused(lab: &Lab) -> Result<()> {
    let ca = lab.mom().ca_file();
    let at = format!("{}:{PORT}", DOOR.name);
    let mut catalog = Command::new("curl");
    catalog.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert"]).arg(&ca);
    let answer = succeed(catalog.arg(format!("https://{at}/puppet/v3/catalog/nobody.example.com")))?;
    ensure!(answer == "403", "a request without a certificate was answered {answer}");
    // Whatever becomes of them.
    run(Command::new("curl").args(["--silent", "--max-time", "5"]).arg(format!("http://{at}/")))?;
    let folder = lab.root.join("seen");
    make_folder(&folder)?;
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    let mut request = Command::new("openssl");
    request.args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=evil", "-days", "1", "-keyout",
    ]);
    succeed(request.arg(&key).arg("-out").arg(&certificate))?;
    let mut stranger = Command::new("curl");
    stranger.args(["--silent", "--max-time", "5", "--cacert"]).arg(&ca).arg("--cert").arg(&certificate);
    run(stranger.arg("--key").arg(&key).arg(format!("https://{at}/puppet/v3/node/evil")))?;
    Ok(())
}

/// Requests of one class: how many, and seconds of all together.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    count: f64,
    seconds: f64,
}

/// By class, as Prometheus has it.
fn latency(prometheus: &Prometheus, door: &str) -> Result<BTreeMap<String, Mean>> {
    let mut classes: BTreeMap<String, Mean> = BTreeMap::new();
    for (name, is_count) in [("count", true), ("sum", false)] {
        for sample in prometheus.ask(&format!("stagedoor_request_seconds_{name}{door}"))? {
            let class = sample.pointer("/metric/class").and_then(Value::as_str).context("no class")?;
            let value = number(&sample).context("no value")?;
            let mean = classes.entry(class.to_owned()).or_default();
            *(if is_count { &mut mean.count } else { &mut mean.seconds }) = value;
        }
    }
    Ok(classes)
}

/// Of each class, as many requests as the masters logged, and a mean that the network and the door explain.
fn agree(before: &BTreeMap<String, Mean>, after: &BTreeMap<String, Mean>, logged: &[Entry]) -> Result<()> {
    let classes: BTreeSet<&str> = logged.iter().filter_map(Entry::class).collect();
    ensure!(classes.contains("catalog") && classes.len() >= 4, "only {classes:?} were asked for");
    let mut words = Vec::new();
    for class in classes {
        let of: Vec<&Entry> = logged.iter().filter(|entry| entry.class() == Some(class)).collect();
        let own = of.iter().map(|entry| entry.millis as f64 / 1e3).sum::<f64>() / of.len() as f64;
        let grown = |of: fn(&Mean) -> f64| {
            let at = |classes: &BTreeMap<String, Mean>| classes.get(class).map_or(0.0, of);
            at(after) - at(before)
        };
        let count = grown(|mean| mean.count);
        ensure!(
            (count - of.len() as f64).abs() < 0.5,
            "{class}: the masters logged {} requests, and Prometheus has {count}",
            of.len()
        );
        let seen = grown(|mean| mean.seconds) / count;
        // Puppet Server writes whole milliseconds, and its clock begins when the request has come.
        ensure!(
            seen > own - 0.002 && seen < own * 1.1 + ADDED,
            "{class}: {seen:.4} s on average by Prometheus, {own:.4} s by the masters' own logs"
        );
        words.push(format!("{class} {count} of {:.1}/{:.1} ms", seen * 1e3, own * 1e3));
    }
    saw(&format!("mean by Prometheus / by the masters: {}", words.join(", ")));
    Ok(())
}

/// What a master logged is found in the door's log by its id, as the same request.
fn each_has_its_line(lab: &Lab, logged: &[Entry]) -> Result<()> {
    let lines = lab.door().access_lines()?;
    let word = |line: &Value, key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
    let classes: BTreeMap<String, String> =
        lines.iter().filter_map(|line| Some((word(line, "id")?, word(line, "class")?))).collect();
    for entry in logged {
        let class = classes.get(&entry.request_id).map(String::as_str);
        ensure!(
            class.is_some() && class == entry.class(),
            "{} {} has the id {}, under which the door logged {class:?}",
            entry.method,
            entry.target,
            entry.request_id
        );
    }
    saw(&format!("{} lines of the masters' logs have their line in the door's, by its id", logged.len()));
    Ok(())
}

fn every_panel_has_data(prometheus: &Prometheus) -> Result<()> {
    let mut count = 0;
    for (name, text) in DASHBOARDS {
        let board: Value = serde_json::from_str(text).with_context(|| format!("{name}.json is no JSON"))?;
        for panel in board.get("panels").and_then(Value::as_array).context("no panels")? {
            let title = panel.get("title").and_then(Value::as_str).unwrap_or_default();
            for target in panel.get("targets").and_then(Value::as_array).context("no targets")? {
                let shipped = target.get("expr").and_then(Value::as_str).context("no expression")?;
                let query = shipped.replace("$instance", ".*").replace("$__rate_interval", "1m");
                let what = format!("{name}, {title}: {query}");
                until(&what, LIMIT, || {
                    let samples = prometheus.ask(&query)?;
                    Ok(when(samples.iter().any(|sample| number(sample).is_some())))
                })?;
                count += 1;
            }
        }
    }
    saw(&format!("{count} expressions of panels have data"));
    Ok(())
}

fn every_selector_has_data(prometheus: &Prometheus) -> Result<()> {
    let mut selectors = BTreeSet::new();
    let mut rest = RULES;
    while let Some(at) = rest.find("stagedoor") {
        let from = rest.get(at..).unwrap_or_default();
        let name =
            from.find(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c))).unwrap_or(from.len());
        let mut end = name;
        if from.get(name..).is_some_and(|more| more.starts_with('{')) {
            end += from.get(name..).and_then(|more| more.find('}')).context("a selector without an end")? + 1;
        }
        let selector = from.get(..end).unwrap_or_default().trim_end_matches(':');
        let is_metric = selector.starts_with("stagedoor_") || selector.starts_with("stagedoor:");
        if is_metric {
            selectors.insert(selector.to_owned());
        }
        rest = rest.get(at + end.max("stagedoor".len())..).unwrap_or_default();
    }
    ensure!(selectors.len() > 20, "only {selectors:?} were found in the rules");
    for selector in &selectors {
        until(&format!("{selector} has data"), LIMIT, || Ok(when(!prometheus.ask(selector)?.is_empty())))?;
    }
    let rules = succeed(Command::new("curl").args(["--silent", &prometheus.at("/api/v1/rules")]))?;
    let rules: Value = serde_json::from_str(&rules)?;
    let groups = rules.pointer("/data/groups").and_then(Value::as_array).context("no groups of rules")?;
    for rule in
        groups.iter().flat_map(|group| group.get("rules").and_then(Value::as_array).into_iter().flatten())
    {
        let health = rule.get("health").and_then(Value::as_str);
        ensure!(health != Some("err"), "a rule does not work: {rule}");
    }
    saw(&format!("{} selectors of rules have data", selectors.len()));
    Ok(())
}

fn number(sample: &Value) -> Option<f64> {
    let value = sample.pointer("/value/1")?.as_str()?.parse::<f64>().ok()?;
    (!value.is_nan()).then_some(value)
}

/// Debian's Prometheus with the shipped rules.
struct Prometheus {
    process: Process,
    port: u16,
}

impl Prometheus {
    fn start(lab: &Lab, enroller: &Enroller<'_>, name: &str, port: u16, further: &[&str]) -> Result<Self> {
        let folder: PathBuf = lab.root.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("{}: cannot remove it", folder.display()))?;
        }
        make_folder(&folder)?;
        write(&folder.join("rules.yml"), &RULES.replace("interval: 30s", "interval: 2s"))?;
        let (certificate, key) = enroller.papers();
        write(
            &folder.join("prometheus.yml"),
            &format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 2s}}\nrule_files: [rules.yml]\nscrape_configs:\n\
                 - job_name: stagedoor\n  static_configs: [{{targets: [\"{door}:{ADMIN_PORT}\"]}}]\n\
                 - job_name: stagedoor-enroller\n  scheme: https\n  tls_config: {{ca_file: {ca}, cert_file: {cert}, \
                 key_file: {key}, server_name: {ENROLLER}}}\n  static_configs: [{{targets: [\"{door}:{SERVE_PORT}\"]}}]\n",
                door = DOOR.address,
                ca = lab.mom().ca_file().display(),
                cert = certificate.display(),
                key = key.display(),
            ),
        )?;
        let process = Process::named(&lab.root, name);
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(further);
        process.start(&mut command, None)?;
        Ok(Self { process, port })
    }

    fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What it has for an expression now.
    fn ask(&self, query: &str) -> Result<Vec<Value>> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--get", &self.at("/api/v1/query"), "--data-urlencode"]);
        let answer = run(curl.arg(format!("query={query}")))?;
        // It is not there yet.
        if answer.output.is_empty() {
            return Ok(Vec::new());
        }
        let answer: Value = serde_json::from_str(&answer.output)
            .with_context(|| format!("{query}: Prometheus answered {:.300}", answer.output))?;
        if answer.get("status").and_then(Value::as_str) != Some("success") {
            bail!("{query}: Prometheus answered {answer}");
        }
        let samples = answer.pointer("/data/result").and_then(Value::as_array);
        Ok(samples.cloned().unwrap_or_default())
    }

    /// The value of an expression that has one; none where there is no data.
    fn value(&self, query: &str) -> Result<Option<f64>> {
        Ok(self.ask(query)?.first().and_then(number))
    }
}
